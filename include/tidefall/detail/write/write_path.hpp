// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/write/biased_lock.hpp>
#include <tidefall/detail/write/eventful_writes.hpp>
#include <tidefall/detail/write/router.hpp>
#include <tidefall/detail/write/stripe.hpp>
#include <tidefall/detail/write/writer_places.hpp>
#include <tidefall/results.hpp>
#include <tidefall/table.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// From a stripe to what a write leaves in its table: under the lock it inserts. Where that is not all, the rest is
/// done by `eventful_writes`.
///
/// The lock is taken in `write_at`, and released by it or by the function of `eventful_writes` that ends its work.
template <typename Table>
class write_path {
public:
    write_path(std::shared_ptr<buffer_core<Table>> core, router const& routes,
               std::unique_ptr<eventful_writes<Table>> eventful) noexcept
        : stripes_(core->stripes.get()),
          home_(core->home),
          routes_(routes),
          core_(std::move(core)),
          eventful_(std::move(eventful)) {}

    [[nodiscard]] router const& routes() const noexcept { return routes_; }

    struct write_result {
        write_status status;
        std::size_t count;
    };

    /// A write of one value by the stripe that the calling thread keeps to, where nothing is to be done but to
    /// construct it in its place, which `f(Table&)` does: in a stretch of the table, without a lock, where the stripe
    /// leans to the thread, and else by the word, where that is free. False otherwise: nothing has happened.
    ///
    /// It calls nothing of the engine, so that no register has to be saved for it: an exchange waits until every store
    /// before it is done.
    template <typename F>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline bool
    write_in_place(F& f) requires(has_stretches<Table>) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return false;
        auto* const mine = routes_.first_look();
        if (mine == nullptr) [[unlikely]]
            return false;
        if constexpr (has_owner_bias) {
            if (mine->owned != nullptr) [[likely]] {
                owned_stripe const own(*mine);
                if (own.is_left()) [[unlikely]]
                    return false;
                auto& stripe = own.get();
                if (!stripe.table.has_stretch()) [[unlikely]]
                    return false;
                locked(f, stripe.table);
                return true;
            }
        }
        auto& stripe = stripes_[mine->stripe];
        if (!stripe.lock.try_lock()) [[unlikely]]
            return false;
        leaving const leaves{stripe.lock};
        auto const before = stripe.table.size();
        if (!stripe.is_uneventful_at(before) || !stripe.table.has_place() || stripe.is_of_note(mine, before))
            [[unlikely]]
            return false;
        locked(f, stripe.table);
        return true;
    }

    /// A write by the stripe that the calling thread keeps to.
    template <typename F, typename ChangesOnly>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline write_result
    write_own(std::size_t most, F& f, ChangesOnly& changes_only, std::size_t weight = 0) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return {write_status::stopped, 0};
        auto* mine = routes_.first_look();
        if constexpr (leans<Table> && has_owner_bias) {
            if (mine != nullptr && mine->owned != nullptr) {
                write_result result;
                if (write_as_owner(*mine, most, f, result)) [[likely]]
                    return result;
            }
        }
        std::size_t to;
        if (mine != nullptr) [[likely]] {
            to = mine->stripe;
        } else {
            to = routes_.by_thread();
            mine = routes_.first_look();
        }
        // `f` may write to other buffers, which must not take the place that is handed on here: a first look has none
        // that they take.
        return write_at(stripes_[to], mine, most, f, changes_only, weight);
    }

    /// A write by a stripe that something else than the thread has picked.
    template <typename F, typename ChangesOnly>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline write_result
    write_some(std::size_t to, std::size_t most, F& f, ChangesOnly& changes_only, std::size_t weight = 0) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return {write_status::stopped, 0};
        return write_at(stripes_[to], nullptr, most, f, changes_only, weight);
    }

    /// Runs `f(Table const&)` under the lock of that stripe; not at all once the buffer stopped.
    template <typename F>
    void read(std::size_t from, F& f) const {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return;
        auto& stripe = stripes_[from];
        stripe_guard const guard(stripe);
        if (!stripe.closed) locked(f, std::as_const(stripe.table));
    }

    /// Runs `f(Table&)`, which takes values out of the table, under the lock of that stripe; not at all once the buffer
    /// stopped. Returns how many were taken.
    template <typename F>
    std::size_t remove(std::size_t from, F& f) {
        assert_outside_locks();
        if (home_.left()) [[unlikely]]
            return 0;
        auto& stripe = stripes_[from];
        std::size_t removed = 0;
        bool made_room = false;
        {
            stripe_guard const guard(stripe);
            if (stripe.closed) return 0;
            std::size_t const before = stripe.table.size();
            locked(f, stripe.table);
            removed = before - stripe.table.size();
            stripe.erased += removed;
            stripe.shrunk_from(before);
            made_room = removed > 0 && stripe.limits->most() != no_limit;
        }
        if (made_room) core_->changed();  // a writer may wait for it
        return removed;
    }

    /// In debug builds: what runs under a lock of this buffer has not called it.
    void assert_outside_locks() const noexcept {
        assert(!inside_lock::of(core_->this_thread, core_.get()) &&
               "tidefall: code that runs under a lock of a buffer must not call that buffer");
    }

private:
    /// `mine` is the place of the calling thread if the stripe is its own and one look finds it, and null otherwise.
    ///
    /// Only values and stripes go to functions that are not inlined: what `f` captures stays in registers.
    template <typename F, typename ChangesOnly>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline write_result
    write_at(stripe<Table>& stripe, [[maybe_unused]] thread_places::place* mine, std::size_t most, F& f,
             ChangesOnly& changes_only, std::size_t weight) {
        if constexpr (leans<Table>) {
            stripe.enter(mine != nullptr ? mine->lean : 0);
        } else {
            stripe.enter();
        }
        std::size_t before = stripe.table.size();
        bool const uneventful = stripe.is_uneventful_at(before);
        std::size_t count = most;
        if (uneventful) [[likely]] {
            count = (std::min)(most, stripe.uneventful + 1 - before);
        } else {
            for (blocked_write blocked{.writer = &state_of_this_thread};
                 (count = (std::min)(most, stripe.room(weight))) == 0;) {
                if (would_only_change(stripe, changes_only)) {
                    count = 1;
                    break;
                }
                auto const next = eventful_->at_limit(stripe, blocked, weight);
                if (next == overflow_step::refuse_full) return {write_status::full, 0};
                if (next == overflow_step::refuse_stopped) return {write_status::stopped, 0};
                if (next == overflow_step::make_room_after) {
                    count = 1;
                    break;
                }
            }
            before = stripe.table.size();
        }
        count = core_->memory.provide(stripe.table, count);
        write_status status;
        try {
            auto counted = [&](Table& table) { return f(table, count); };
            status = locked(counted, stripe.table);
        } catch (...) {
            eventful_->unlock_and_look(stripe, before, weight);  // what a bulk write had inserted stays
            throw;
        }
        if (status != write_status::accepted) [[unlikely]] {
            ++stripe.refused;
        } else if (coalesces<Table> && stripe.table.size() == before) [[unlikely]] {
            stripe.coalesced.add();
        }
        if constexpr (leans<Table> && has_owner_bias) {
            if (stripe.is_of_note(mine, before)) [[unlikely]]
                stripe.look_at_writer(mine, before);
            if (mine != nullptr && uneventful && stripe.lock.leans_to(mine->lean)) stripe.give_stretch();
        }
        if (uneventful) [[likely]] {
            stripe.lock.unlock();
        } else {
            eventful_->unlock_and_look(stripe, before, weight);
        }
        return {status, count};
    }

    /// Leaves a lock's word at its end.
    struct leaving {
        biased_lock& lock;
        ~leaving() { lock.unlock(); }
    };

    /// The stripe that leans to a thread, by its place, if it still does: then the thread is in the section for as long
    /// as this lives. Once it does not lean to it any more, the thread does not try again before it leans to it anew.
    class owned_stripe {
    public:
        explicit owned_stripe(thread_places::place& mine) noexcept {
            auto* const owned = static_cast<stripe<Table>*>(mine.owned);
            number_ = mine.lean;
            if (owned->lock.enter_by_lean(number_)) [[likely]] {
                stripe_ = owned;
            } else {
                mine.owned = nullptr;
            }
        }
        ~owned_stripe() {
            if (stripe_ != nullptr) stripe_->lock.leave(number_);
        }
        owned_stripe(owned_stripe const&) = delete;
        owned_stripe& operator=(owned_stripe const&) = delete;

        [[nodiscard]] bool is_left() const noexcept { return stripe_ == nullptr; }
        [[nodiscard]] stripe<Table>& get() const noexcept { return *stripe_; }

    private:
        stripe<Table>* stripe_ = nullptr;
        lean_number number_ = 0;
    };

    /// A write where the stripe leans to the thread whose place that is, and no limit is near. False otherwise: nothing
    /// has happened. `result` is what came of it.
    template <typename F>
#if defined(__GNUC__)
    [[gnu::always_inline]]
#endif
    inline bool
    write_as_owner(thread_places::place& mine, std::size_t most, F& f, write_result& result) {
        owned_stripe const own(mine);
        if (own.is_left()) [[unlikely]]
            return false;
        auto& stripe = own.get();
        std::size_t const before = stripe.table.size();
        if (!stripe.is_uneventful_at(before)) [[unlikely]]
            return false;
        result.count = core_->memory.provide(stripe.table, (std::min)(most, stripe.uneventful + 1 - before));
        auto counted = [&](Table& table) { return f(table, result.count); };
        result.status = locked(counted, stripe.table);
        if (result.status != write_status::accepted) [[unlikely]]
            ++stripe.refused;
        stripe.give_stretch();
        return true;
    }

    /// Runs `f(table)`, where a stripe's lock is held.
    template <typename F, typename T>
    decltype(auto) locked(F& f, T& table) const {
#if !defined(NDEBUG)
        inside_lock const here(core_->this_thread, core_.get());
#endif
        return f(table);
    }

    /// The stripe's lock is held; what `changes_only` throws releases it.
    template <typename ChangesOnly>
    bool would_only_change(stripe<Table>& stripe, ChangesOnly& changes_only) const {
        if (stripe.closed) return false;
        try {
            return locked(changes_only, std::as_const(stripe.table));
        } catch (...) {
            stripe.lock.unlock();
            throw;
        }
    }

    // Invariant: nothing here changes.
    stripe<Table>* stripes_;  ///< core_'s: a write finds its stripe with one look-up
    home_process home_;
    router routes_;
    std::shared_ptr<buffer_core<Table>> core_;
    std::unique_ptr<eventful_writes<Table>> eventful_;
};

}  // namespace tidefall::inline v0::detail
