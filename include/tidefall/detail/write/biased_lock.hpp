// SPDX-License-Identifier: MIT
//
// A stripe's lock that leans to the one thread that keeps writing there. This header alone knows how.
//
// A lock whose word is exchanged costs an atomic operation a write, which is most of a push. Where one thread writes
// alone, it need not: it says by a plain store that it is inside, and looks whether the lock still leans to it; whoever
// else comes has the lock lean to nobody, issues a barrier of the whole process, and waits until the owner is not
// inside.
//
// The states, which are the values of `leans_to_`, and who changes it:
//
//   0         Nobody. Whoever has the word is in the section.
//             -> a number: the thread whose number that is, which has the word.
//   number    The owner enters by its own way, or by the word. Nobody else does.
//             -> 0: whoever has the word, and did not say that it is the owner; that thread then waits until the owner
//             is not inside.
//             -> number | wanted: the asker, without the word.
//   number | wanted
//             Somebody asked for the section. The owner enters by the word alone; it may still be inside by its own
//             way.
//             -> 0: whoever has the word, as above.
//
// A thread has a number of its own in a lock, and a flag by that number, which says that it is inside by its own way.
// It has both for as long as it lives, since it may be on its way in, stopped between its store to the flag and its
// look, for as long as the system likes: where the lock leans to another thread meanwhile, a flag that they shared
// would be set and reset by the one while the other is inside. A lock has three numbers, and gives one to another
// thread once the system says that its thread has ended. A thread that gets none takes the word, as everybody does
// elsewhere.
//
// Why a barrier of the process is enough. The owner, in its program's order:   (1) its flag = 1   (2) reads leans_to_.
// The other, in its own:   (3) leans_to_ = 0   (4) the barrier   (5) reads the flag.   The compiler keeps (1) before
// (2) by a fence for it alone. The barrier of (4) falls somewhere into the owner's instructions, at a place P that the
// processor respects: what stands before P is done, and is seen by the other after (4); what stands behind P has not
// begun, and sees what the other did before (4).
//
//   - P is behind (1): (5) sees that the owner is inside, or that it has left again; the other waits.
//   - P is before (1), and so before (2), which then sees (3): the owner does not go in.
//
// Nothing in that depends on the order in which a processor shows its stores, so it holds on x86-64, which lets (2)
// pass (1), and on AArch64, which lets nearly everything pass. A thread that does not run at (4) passed a barrier when
// it lost its processor, and passes one before it runs again.
//
// What is written in the section: the owner leaves by a release of its flag, which (5) acquires, so the other sees all
// of it. The owner need not acquire what others wrote: a lock leans to it only after it had the word itself, and nobody
// has written since then, or `leans_to_` would not have its number any more; it has it again only once the owner had
// the word again.
//
// One asker at a time (`stripe_set` sees to it): what it marks as wanted it marks before its one barrier for all locks,
// so a lock that still has that mark when it has the word needs no other. A lock that leans anew has no mark.
//
// tests/models/biased_lock.pml is this protocol for a model checker, and the ways to break it.
#pragma once

#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/write/process_barrier.hpp>
#include <tidefall/detail/write/stripe_lock.hpp>

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// Which thread it is in a lock: 1 and up. 0: it has no number there.
using lean_number = std::uint32_t;

class biased_lock {
public:
    static constexpr lean_number numbers = 3;

    // ---- for a thread that had the lock lean to it

    /// True if the lock still leans to the thread, whose number that is: then it is in the section, and leaves it by
    /// `leave`.
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    bool
    enter_by_lean(lean_number number) noexcept {
        auto& inside = inside_[number];
        assert(inside.load(std::memory_order_relaxed) == 0 &&
               "tidefall: a write inside of another one to the same buffer, on the same thread: in a signal handler?");
        // Relaxed, both: see above.
        inside.store(1, std::memory_order_relaxed);                          // (1)
        std::atomic_signal_fence(std::memory_order_seq_cst);                 // for the compiler
        if (leans_to_.load(std::memory_order_relaxed) == number) [[likely]]  // (2)
            return true;
        leave(number);
        return false;
    }

    void leave(lean_number number) noexcept {
        // Releases [inside].
        inside_[number].store(0, std::memory_order_release);
    }

    // ---- for everybody

    /// Takes the word, and the section from the owner if that is another one than the thread of that number. True if it
    /// was taken from an owner: then the lock leans to nobody.
    bool lock(stripe_tickets& tickets, lean_number number = 0) noexcept {
        word_.lock(tickets);
        // Relaxed, here and below: changed by who has the word, but for the mark.
        auto const held = leans_to_.load(std::memory_order_relaxed);
        if (held == 0 || (held & ~wanted) == number) [[likely]]
            return false;
        take_from(held & ~wanted, true);
        return true;
    }

    /// True if the word was open to all and the lock leans to nobody: then the caller has the word, and the section.
    bool try_lock() noexcept {
        if (!word_.try_lock()) return false;
        if (leans_to_.load(std::memory_order_relaxed) == 0) [[likely]]
            return true;
        word_.unlock();
        return false;
    }

    void unlock() noexcept {
        word_.unlock();
    }

    /// Without the word: marks the section as wanted. True if the lock leans to somebody: then the asker issues a
    /// barrier of the process before it comes for the word by `lock_asked`.
    bool ask() noexcept {
        auto held = leans_to_.load(std::memory_order_relaxed);
        while (held != 0) {
            if (leans_to_.compare_exchange_weak(held, held | wanted, std::memory_order_relaxed,
                                                std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }

    /// As `lock`, by the one who asked; it comes before those who have not waited yet.
    bool lock_asked(stripe_tickets& tickets) noexcept {
        word_.lock_next(tickets);
        auto const held = leans_to_.load(std::memory_order_relaxed);
        if (held == 0) [[likely]]
            return false;
        take_from(held & ~wanted, (held & wanted) == 0);
        return true;
    }

    /// By the thread of that number, which has the word, where `process_barrier` is ready and the lock leans to nobody.
    void lean_to(lean_number number) noexcept {
        assert(!leans());
        leans_to_.store(number, std::memory_order_relaxed);
    }

    /// With the word.
    [[nodiscard]] bool leans() const noexcept {
        return leans_to_.load(std::memory_order_relaxed) != 0;
    }
    [[nodiscard]] bool leans_to(lean_number number) const noexcept {
        return number != 0 && leans_to_.load(std::memory_order_relaxed) == number;
    }

private:
    static constexpr lean_number wanted = lean_number{1} << 31;

    static constexpr int spins = 32;
    static constexpr std::chrono::microseconds spell{20};

#if defined(__GNUC__)
    [[gnu::noinline, gnu::cold]]
#endif
    void
    take_from(lean_number owner, bool needs_barrier) noexcept {
        leans_to_.store(0, std::memory_order_relaxed);  // (3)
        if (needs_barrier) process_barrier::issue();    // (4)
        auto const& inside = inside_[owner];
        // Acquires [inside]: all that the owner wrote. It is inside for the few nanoseconds of a write, unless it lost
        // its processor there.
        for (int round = 0; inside.load(std::memory_order_acquire) != 0; ++round) {  // (5)
            if (round < spins) {
                spin_hint();
            } else {
                sleep_for(spell);
            }
        }
    }

    stripe_lock word_;
    atomic<lean_number> leans_to_{0};
    std::array<atomic<std::uint8_t>, numbers + 1> inside_{};  ///< by number; of 0 it is not used
};

/// The threads that have a number in a lock. The lock guards it.
class lean_numbers {
public:
    /// The number of the calling thread, which gets one if it has none; 0 if there is none to be had.
    [[nodiscard]] lean_number of_this_thread() noexcept {
        auto const me = system_thread::current();
        if (me == system_thread::none) return 0;
        for (lean_number number = 1; number <= biased_lock::numbers; ++number) {
            // What this thread does in another module, it is inside of nothing now; who had its id before has ended.
            if (threads_[number] == me) return number;
        }
        for (lean_number number = 1; number <= biased_lock::numbers; ++number) {
            auto& its = threads_[number];
            if (its != system_thread::none && !system_thread::has_ended(its)) continue;
            its = me;
            return number;
        }
        return 0;
    }

private:
    std::array<system_thread::id, biased_lock::numbers + 1> threads_{};  ///< by number
};

/// When a lock leans, and to whom: late, and not again soon where it did not pay. The lock guards it.
///
/// A filling is what is written from one swap to the next. A lean costs one barrier, at its end.
class lean_history {
public:
    /// A filling whose first so many values are of one thread is taken to be that thread's as a whole.
    static constexpr std::size_t lean_after = writes_worth_a_barrier / 4;
    /// Beyond twice as many nobody looks any more, so that a stripe of many writers pays nothing for it.
    static constexpr std::size_t look_until = 2 * lean_after;

    /// False if `should_lean` says no and notes nothing: most often, so that a short filling costs next to nothing.
    [[nodiscard]] bool is_of_note(void const* who, std::size_t before) const noexcept {
        return before == 0 || (writer_ != nullptr && (writer_ != who || before >= lean_after));
    }

    /// A value was written where `before` were; `who` is what tells threads apart, null for one whose own stripe this
    /// is not. True if the lock is to lean to that thread.
    [[nodiscard]] bool should_lean(void const* who, std::size_t before) noexcept {
        if (before == 0) {
            writer_ = fillings_to_pass_ == 0 ? who : nullptr;
        } else if (writer_ != who) {
            writer_ = nullptr;
        }
        return writer_ != nullptr && before >= lean_after;
    }

    /// A lean begins where there are so many values.
    void began(std::size_t size) noexcept {
        writer_ = nullptr;
        began_at_ = size;
    }

    /// A lean ended where there are so many values.
    void ended(std::size_t size) noexcept {
        if (size >= began_at_ + writes_worth_a_barrier) {
            to_pass_next_ = least_to_pass;
            return;
        }
        fillings_to_pass_ = to_pass_next_;
        if (to_pass_next_ < most_to_pass) to_pass_next_ *= 4;
    }

    void filling_ended() noexcept {
        writer_ = nullptr;
        if (fillings_to_pass_ > 0) --fillings_to_pass_;
    }

private:
    static constexpr std::uint32_t least_to_pass = 4;
    static constexpr std::uint32_t most_to_pass = 4'096;

    void const* writer_ = nullptr;  ///< of all values of this filling; null: there are several, or it is not to be told
    std::size_t began_at_ = 0;
    std::uint32_t fillings_to_pass_ = 0;  ///< without a lean
    std::uint32_t to_pass_next_ = least_to_pass;
};

}  // namespace tidefall::inline v0::detail
