// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace tidefall::inline v0::detail {

/// Leaves memory as a thread on another processor that is to write there soon finds it best: written, and not read
/// alone. What lay there was read by this thread, and has been destroyed.
///
/// A cache line that this processor has only read stays in the caches of both, and a later write to it waits until this
/// one has let go of it. Writes become visible in their order, so each such wait holds up all writes behind it. A line
/// that was written here last is in this cache alone, and comes as a whole, ahead of the write. So one byte of each
/// line is written, while they are here.
template <typename V>
void leave_written(std::span<V> memory) noexcept {
    constexpr std::uintptr_t line = 64;
    if (memory.empty()) return;
    auto* const first = reinterpret_cast<std::byte volatile*>(memory.data());
    *first = std::byte{};
    for (auto at = line - reinterpret_cast<std::uintptr_t>(first) % line; at < memory.size_bytes(); at += line) {
        first[at] = std::byte{};
    }
}

/// Destroys values that lie where another thread is to write soon.
template <typename V>
void destroy_to_reuse(std::span<V> values) noexcept {
    std::destroy(values.begin(), values.end());
    leave_written(values);
}

}  // namespace tidefall::inline v0::detail
