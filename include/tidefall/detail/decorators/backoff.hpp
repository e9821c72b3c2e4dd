// SPDX-License-Identifier: MIT
//
// How long to wait between attempts.
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/sync.hpp>

#include <cstdint>

namespace tidefall::inline v0::detail {

/// Evenly distributed numbers, 0 or more and less than 1, for jitter alone: a counter, well mixed. Any number of
/// threads may draw at once.
class jitter_source {
public:
    jitter_source() noexcept
        : state_(static_cast<std::uint64_t>(monotonic_clock::now().time_since_epoch().count()) ^
                 reinterpret_cast<std::uintptr_t>(this)) {}

    [[nodiscard]] double draw() noexcept {
        // Relaxed: a number of its own for each draw is all that is wanted.
        auto mixed = state_.fetch_add(0x9E3779B97F4A7C15U, std::memory_order_relaxed);
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
        mixed ^= mixed >> 31;
        return static_cast<double>(mixed >> 11) * 0x1.0p-53;
    }

private:
    atomic<std::uint64_t> state_;
};

/// As a duration that is neither below 0 nor above `most`.
[[nodiscard]] inline nanoseconds to_delay(double count, nanoseconds most) noexcept {
    if (!(count > 0)) return nanoseconds::zero();
    if (count >= static_cast<double>(most.count())) return most;
    return nanoseconds(static_cast<nanoseconds::rep>(count));
}

}  // namespace tidefall::inline v0::detail
