// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstdint>

namespace tidefall::inline v0::detail {

/// A lock for sections of a few nanoseconds: one atomic exchange to enter, one plain store to leave. A whole word and
/// not a byte: there are processors (AMD Zen 3) on which a locked operation on a byte takes nearly twice as long.
///
/// A waiter spins a little, then yields, then sleeps in short bounded spells, so a holder that lost its processor
/// does not have its waiters burn the time that it needs to come back. Not recursive, not fair.
class stripe_lock {
public:
    void lock() noexcept {
        // Acquires [stripe]: sees all that the last holder wrote.
        if (word_.exchange(locked, std::memory_order_acquire) != open) [[unlikely]]
            wait();
    }

    // Releases [stripe].
    void unlock() noexcept { word_.store(open, std::memory_order_release); }

private:
    static constexpr std::uint32_t open = 0;
    static constexpr std::uint32_t locked = 1;
    static constexpr int spins = 64;
    static constexpr int yields = 16;
    static constexpr std::chrono::microseconds first_sleep{20};
    static constexpr std::chrono::microseconds longest_sleep{640};

#if defined(__GNUC__)
    [[gnu::noinline, gnu::cold]]
#endif
    void
    wait() noexcept {
        auto spell = first_sleep;
        for (int round = 0;; ++round) {
            // Relaxed: only a hint that an exchange may succeed; the exchange below synchronises.
            if (word_.load(std::memory_order_relaxed) == open) {
                // Acquires [stripe].
                if (word_.exchange(locked, std::memory_order_acquire) == open) return;
            }
            if (round < spins) {
                spin_hint();
            } else if (round < spins + yields) {
                yield();
            } else {
                sleep_for(spell);
                if (spell < longest_sleep) spell *= 2;
            }
        }
    }

    atomic<std::uint32_t> word_{open};
};

/// Holds a stripe's lock for as long as it lives.
class stripe_guard {
public:
    explicit stripe_guard(stripe_lock& lock) noexcept : lock_(lock) { lock_.lock(); }
    ~stripe_guard() { lock_.unlock(); }
    stripe_guard(stripe_guard const&) = delete;
    stripe_guard& operator=(stripe_guard const&) = delete;

private:
    stripe_lock& lock_;
};

}  // namespace tidefall::inline v0::detail
