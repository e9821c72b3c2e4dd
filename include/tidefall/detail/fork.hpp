// SPDX-License-Identifier: MIT
//
// What a buffer has to know of fork: the child has one thread, and whatever another one held at that instant stays
// locked for ever. So in a child nothing of the parent's is locked, joined or destroyed.
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace tidefall::inline v0::detail {

/// How many forks lie between this process and the first that asked.
inline constinit atomic<std::uint32_t> forks{0};
inline constinit atomic<bool> forks_are_counted{false};

/// Which process of a line of children something belongs to.
class home_process {
public:
    home_process() noexcept {
#if defined(__unix__) || defined(__APPLE__)
        // Relaxed: two handlers would count each fork twice, which is no harm.
        if (!forks_are_counted.exchange(true, std::memory_order_relaxed)) {
            pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
        }
#endif
        number_ = forks.load(std::memory_order_relaxed);
    }

    /// True in a child of the process that this was made in. Relaxed: the child's only thread wrote it.
    [[nodiscard]] bool left() const noexcept {
        return forks.load(std::memory_order_relaxed) != number_;
    }

private:
    std::uint32_t number_;
};

/// Takes a value, or a share of it, where nobody will destroy it.
template <typename T>
void leave_forever(T&& value) noexcept {
    using taken = std::remove_cvref_t<T>;
    alignas(taken) std::byte grave[sizeof(taken)];
    ::new (static_cast<void*>(grave)) taken(std::forward<T>(value));
}

}  // namespace tidefall::inline v0::detail
