// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <algorithm>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// The waiters of a stripe's lock that have waited for long: apart from the lock, which lies beside what its holder
/// touches.
struct stripe_tickets {
    atomic<std::uint32_t> taken{0};
    atomic<std::uint32_t> served{0};  ///< the one that is next, or comes next
};

/// A lock for sections of a few nanoseconds: one atomic exchange to enter, one load and one store to leave. A whole
/// word and not a byte: there are processors (AMD Zen 3) on which a locked operation on a byte takes nearly twice as
/// long.
///
/// A waiter spins for about as long as a holder takes, then sleeps in short bounded spells: a holder that lost its
/// processor does not have its waiters burn the time that it needs to come back, and where many wait, few are awake.
/// Not recursive.
///
/// Fair enough: who has waited for a few spells takes a ticket, and whoever's ticket is served gets the lock from the
/// next holder that leaves it, whatever the others do. So a writer that comes back at once, for one long turn after
/// another, steps back for a waiter. Between two tickets the lock is open to all: a queue in which each has to be woken
/// for its turn would leave the lock idle most of the time. Who stands further back sleeps for longer before the next
/// look at the tickets, since looking is what many waiters take from the processors; but not a holder that many wait
/// for.
class stripe_lock {
public:
    void lock(stripe_tickets& tickets) noexcept {
        // Acquires [stripe]: sees all that the last holder wrote.
        if (auto const was = word_.exchange(locked, std::memory_order_acquire); was != open) [[unlikely]]
            wait(was, spells_until_ticket, tickets, longest_sleep);
    }

    /// Takes it if it is open to all; waits for nothing.
    bool try_lock() noexcept {
        // Acquires [stripe], as above.
        auto const was = word_.exchange(locked, std::memory_order_acquire);
        if (was == open) [[likely]]
            return true;
        // As in wait: releases [stripe].
        if (was == reserved) word_.store(reserved, std::memory_order_release);
        return false;
    }

    /// The same for a holder that many wait for, such as a swap: it takes a ticket before it would sleep.
    void lock_next(stripe_tickets& tickets) noexcept {
        // Acquires [stripe].
        if (auto const was = word_.exchange(locked, std::memory_order_acquire); was != open) [[unlikely]]
            wait(was, 0, tickets, 1);
    }

#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    void
    unlock() noexcept {
        // Relaxed: a ticket that is served a moment too late is served at the next unlock.
        // Releases [stripe].
        word_.store(leaves_as_.load(std::memory_order_relaxed), std::memory_order_release);
    }

private:
    static constexpr std::uint32_t open = 0;
    static constexpr std::uint32_t locked = 1;
    static constexpr std::uint32_t reserved = 2;  ///< free, for the ticket that is served

    static constexpr int spins = 32;
    static constexpr int spells_until_ticket = 2;
    static constexpr std::chrono::microseconds spell{20};
    static constexpr std::uint32_t spells_a_ticket = 4;
    static constexpr std::uint32_t longest_sleep = 100;  ///< spells

#if defined(__GNUC__)
    [[gnu::noinline, gnu::cold]]
#endif
    void
    wait(std::uint32_t was, int spells, stripe_tickets& tickets, std::uint32_t longest) noexcept {
        // What was taken is another's: it is put back. Releases [stripe], which the exchange acquired.
        if (was == reserved) word_.store(reserved, std::memory_order_release);
        for (int round = 0; round < spins + spells; ++round) {
            if (enter(open)) return;
            pause(round);
        }
        // Relaxed: a number of one's own; the order of the lock's holders is that of [stripe] and [ticket].
        auto const ticket = tickets.taken.fetch_add(1, std::memory_order_relaxed);
        for (int round = 0;; ++round) {
            // Acquires [ticket]: what the one before left behind in leaves_as_ is overwritten, not the other way round.
            auto const before = ticket - tickets.served.load(std::memory_order_acquire);
            if (before == 0) break;
            pause(round, (std::min)(1 + (before - 1) * spells_a_ticket, longest));
        }
        leaves_as_.store(reserved, std::memory_order_relaxed);
        for (int round = 0; !enter(reserved); ++round) pause(round);
        leaves_as_.store(open, std::memory_order_relaxed);
        // Releases [ticket].
        tickets.served.store(ticket + 1, std::memory_order_release);
    }

    /// Takes the lock if it is open, or, where that is asked for, reserved.
    bool enter(std::uint32_t as) noexcept {
        // Relaxed: only a hint that an exchange may succeed; the exchange below synchronises.
        auto const seen = word_.load(std::memory_order_relaxed);
        if (seen == locked || (seen == reserved && as != reserved)) return false;
        // Acquires [stripe].
        auto const was = word_.exchange(locked, std::memory_order_acquire);
        if (was == open || was == as) return true;
        // As in wait: releases [stripe].
        if (was == reserved) word_.store(reserved, std::memory_order_release);
        return false;
    }

    static void pause(int round, std::uint32_t spells = 1) noexcept {
        if (round < spins) {
            spin_hint();
        } else {
            sleep_for(spell * spells);
        }
    }

    atomic<std::uint32_t> word_{open};
    atomic<std::uint32_t> leaves_as_{open};  ///< what an unlock makes of the word
};

}  // namespace tidefall::inline v0::detail
