// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

namespace tidefall::inline v0::detail {

/// A lock of one byte for sections of a few nanoseconds: one atomic exchange to enter, one plain store to leave.
///
/// A waiter spins a little, then yields, then sleeps in short bounded spells, so a holder that lost its processor
/// does not have its waiters burn the time that it needs to come back. Not recursive, not fair.
class stripe_lock {
public:
    void lock() noexcept {
        // Acquires [stripe]: sees all that the last holder wrote.
        if (locked_.exchange(true, std::memory_order_acquire)) [[unlikely]] wait();
    }

    // Releases [stripe].
    void unlock() noexcept { locked_.store(false, std::memory_order_release); }

private:
    static constexpr int spins = 64;
    static constexpr int yields = 16;
    static constexpr std::chrono::microseconds first_sleep{20};
    static constexpr std::chrono::microseconds longest_sleep{640};

#if defined(__GNUC__)
    [[gnu::noinline, gnu::cold]]
#endif
    void wait() noexcept {
        auto spell = first_sleep;
        for (int round = 0;; ++round) {
            // Relaxed: only a hint that an exchange may succeed; the exchange below synchronises.
            if (!locked_.load(std::memory_order_relaxed)) {
                // Acquires [stripe].
                if (!locked_.exchange(true, std::memory_order_acquire)) return;
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

    atomic<bool> locked_{false};
};

}  // namespace tidefall::inline v0::detail
