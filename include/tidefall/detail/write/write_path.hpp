// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/partition_set.hpp>
#include <tidefall/detail/write/router.hpp>
#include <tidefall/detail/write/stripes.hpp>
#include <tidefall/detail/write/waiting_turn.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/table.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// From a stripe to what a write leaves in its table: under the lock it inserts, and where that is not all it waits for
/// room, plans a tick, starts a drain, or makes room by dropping the oldest value.
///
/// The lock is taken in `write_at`, and released by it or by the function that ends its work: `refuse_stopped`,
/// `unlock_and_look`, `unlock_and_drop_oldest`, as their names and comments say.
template <typename Table>
class write_path {
public:
    using value_type = typename Table::value_type;

    write_path(std::shared_ptr<buffer_core<Table>> core, std::shared_ptr<partition_set<Table> const> partitions,
               router const& routes, options const& how) noexcept
        : stripes_(core->stripes.get()),
          home_(core->home),
          routes_(routes),
          overflow_(how.overflow),
          core_(std::move(core)),
          partitions_(std::move(partitions)) {}

    [[nodiscard]] router const& routes() const noexcept { return routes_; }
    [[nodiscard]] bool drops_oldest() const noexcept { return overflow_ == overflow_policy::drop_oldest; }

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
            for (blocked_write blocked; (count = (std::min)(most, stripe.room(weight))) == 0;) {
                if (would_only_change(stripe, changes_only)) {
                    count = 1;
                    break;
                }
                auto const next = at_limit(stripe, blocked, weight);
                if (next == overflow_step::refuse_full) return {write_status::full, 0};
                if (next == overflow_step::refuse_stopped) return {write_status::stopped, 0};
                if (next == overflow_step::make_room_after) {
                    count = 1;
                    break;
                }
            }
            before = stripe.table.size();
        }
        core_->memory.provide(stripe.table, count);
        write_status status;
        try {
            auto counted = [&](Table& table) { return f(table, count); };
            status = locked(counted, stripe.table);
        } catch (...) {
            unlock_and_look(stripe, before, weight);  // what a bulk write had inserted stays
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
            unlock_and_look(stripe, before, weight);
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
        result.count = (std::min)(most, stripe.uneventful + 1 - before);
        core_->memory.provide(stripe.table, result.count);
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

    enum class overflow_step : std::uint8_t { look_again, refuse_full, refuse_stopped, make_room_after };

    /// Of a write that waits for room.
    struct blocked_write {
        std::optional<time_point> since;
        bool in_time = true;
        bool has_asked = false;  ///< for a drain
    };

    /// What a write does that found its stripe closed, or its partition full. The stripe's lock is held; refusing
    /// releases it, looking again comes after a wait.
    ///
    /// Code of the user's that runs here, a hook or, without threads, the processor, may destroy the buffer: then the
    /// write is refused, and nothing but what is kept here is looked at.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    overflow_step
    at_limit(stripe<Table>& stripe, blocked_write& write, std::size_t weight) {
        if (stripe.closed) return refuse_stopped(stripe);
        bool by_total = false;
        if (has_room_but_for_lease(stripe, weight)) {
            if (stripe.extend_lease()) return overflow_step::look_again;
            if (stripe.limits->total->take_slack()) {
                auto const all = partitions_;
                stripe.lock.unlock();
                all->give_back_slack();
                return enter_again(stripe);
            }
            by_total = true;
        }
        bool const observed = core_->observed();
        if (observed && by_total) {
            // Relaxed: the locks order it.
            stripe.limits->full_by_total.store(true, std::memory_order_relaxed);
            stripe.limits->total->note_full();
        }
        if (observed && stripe.note_full(core_->schedule->now())) {
            auto const one = (*partitions_)[index_of(stripe)];
            stripe.lock.unlock();
            one->tell_full();
            return enter_again(stripe);
        }
        if (!std::exchange(write.has_asked, true) && finds_drains_wanting(stripe, by_total)) {
            auto const all = partitions_;
            auto const index = index_of(stripe);
            stripe.lock.unlock();
            by_total ? all->start_drains() : (*all)[index]->start_drain(drain_trigger::capacity);
            return enter_again(stripe);
        }
        bool const has_oldest_here = !by_total || stripe.table.size() > 0;
        if (drops_oldest() && has_oldest_here && !inside_drop::of(core_->this_thread, core_.get())) {
            return overflow_step::make_room_after;
        }
        if (overflow_ != overflow_policy::block || !write.in_time) {
            stripe.turn_away(observed);
            stripe.lock.unlock();
            return overflow_step::refuse_full;
        }
        auto const all = partitions_;
        auto const one = (*all)[index_of(stripe)];
        stripe.lock.unlock();
        waiting_turn const turn(core_->this_thread, core_);
        if (!turn.is_granted()) {
            write.in_time = false;
            return enter_again(stripe);
        }
        if (!write.since) write.since = core_->schedule->now();
        if (by_total && core_->schedule->manual()) all->begin_drains();
        write.in_time = one->wait_for_room(*write.since, weight, turn.call());
        write.has_asked = false;  // others may have taken the room
        return enter_again(stripe);
    }

    /// The stripe's lock is held.
    static bool has_room_but_for_lease(stripe<Table> const& stripe, [[maybe_unused]] std::size_t weight) noexcept {
        if constexpr (weighed<Table>) {
            if (!stripe.has_room_by_weight(weight)) return false;
        }
        return stripe.lacks_lease();
    }

    /// True where a write that finds no room has to start drains, since none was begun by a write that reached the
    /// limit: one of them would have found more room than it took. The stripe's lock is held.
    static bool finds_drains_wanting(stripe<Table> const& stripe, bool by_total) noexcept {
        if (by_total) return stripe.limits->total->asks_for_drains();
        return stripe.limits->capacity_weight != no_limit;
    }

    static overflow_step enter_again(stripe<Table>& stripe) noexcept {
        stripe.enter();
        return stripe.closed ? refuse_stopped(stripe) : overflow_step::look_again;
    }

    /// The stripe's lock is held, and released.
    static overflow_step refuse_stopped(stripe<Table>& stripe) noexcept {
        ++stripe.refused;
        stripe.lock.unlock();
        return overflow_step::refuse_stopped;
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

    std::size_t index_of(stripe<Table> const& one) const noexcept {
        return routes_.partition_of(static_cast<std::size_t>(std::addressof(one) - stripes_));
    }
    partition<Table>& partition_of(stripe<Table> const& one) const noexcept {
        return *(*partitions_)[index_of(one)];
    }

    /// The end of a write that may have to plan a tick, start a drain, or make room for what it inserted: then the
    /// oldest value goes to `undelivered` on this thread. What moving that throws takes the insertion back. The
    /// stripe's lock is held; releases it.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    unlock_and_look(stripe<Table>& stripe, std::size_t before, std::size_t weight) {
        std::size_t const after = stripe.table.size();
        bool const plans_tick = before == 0 && after > 0 && stripe.note_first_write(*core_->schedule);
        bool crossed = stripe.crossed_limit(before);
        bool full = stripe.limits->drain_at == stripe.limits->capacity;
        if constexpr (has_oldest<Table>) {
            if (drops_oldest() && after > before && is_over(stripe, before)) {
                return unlock_and_drop_oldest(stripe, weight);
            }
        }
        if constexpr (weighed<Table>) {
            if (after > before && stripe.crossed_weight(weight) && !std::exchange(crossed, true)) {
                full = stripe.limits->drain_at_weight == stripe.limits->capacity_weight;
            }
        }
        bool const leased = stripe.limits->is_leased();
        stripe.lock.unlock();
        auto& partition = partition_of(stripe);
        if (plans_tick) {
            partition.control_.value_waits();
            core_->schedule->tell_if_earlier();
        }
        if (crossed) partition.start_drain(full ? drain_trigger::capacity : drain_trigger::threshold);
        if (leased && core_->total.is_reached() && core_->total.asks_for_drains()) partitions_->start_drains();
    }

    /// There were so many values before the last one. The stripe's lock is held.
    static bool is_over(stripe<Table> const& stripe, std::size_t before) noexcept {
        if constexpr (weighed<Table>) {
            if (is_too_heavy(stripe)) return true;
        }
        return before >= stripe.limits->most();
    }

    /// The stripe's lock is held.
    static bool is_too_heavy(stripe<Table> const& stripe) noexcept {
        return stripe.table.weight() > stripe.limits->capacity_weight && stripe.table.size() > 1;
    }

    void unlock_and_drop_oldest(stripe<Table>& from, [[maybe_unused]] std::size_t weight) {
        if constexpr (weighed<Table>) {
            return unlock_and_drop_by_weight(from, weight);
        } else {
            std::optional<value_type> oldest;
            try {
                oldest.emplace(std::move(from.table.front()));
            } catch (...) {
                from.table.pop_back();
                from.lock.unlock();
                throw;
            }
            from.table.pop_front();
            ++from.dropped;
            from.lock.unlock();
            auto const one = (*partitions_)[index_of(from)];  // `undelivered` may destroy the buffer
            inside_drop const here(core_->this_thread, core_.get());
            one->return_oldest(std::span(std::addressof(*oldest), 1));
        }
    }

    /// Drops as many as make room for what was inserted, which is of that weight.
    void unlock_and_drop_by_weight(stripe<Table>& from, std::size_t weight) {
        std::vector<value_type> oldest;
        auto& table = from.table;
        std::exception_ptr error;
        try {
            while (table.size() > 1 && (table.size() > from.limits->most() || is_too_heavy(from))) {
                auto const its = Table::weight_of(table.front());
                oldest.push_back(std::move(table.front()));
                table.pop_front();
                table.take_weight(its);
                ++from.dropped;
            }
        } catch (...) {  // those that went are dropped all the same
            table.pop_back();
            table.take_weight(weight);
            error = std::current_exception();
        }
        from.lock.unlock();
        auto const one = (*partitions_)[index_of(from)];
        {
            inside_drop const here(core_->this_thread, core_.get());
            one->return_oldest(oldest);
        }
        if (error) std::rethrow_exception(error);
    }

    // Invariant: nothing here changes.
    stripe<Table>* stripes_;  ///< core_'s: a write finds its stripe with one look-up
    home_process home_;
    router routes_;
    overflow_policy overflow_;
    std::shared_ptr<buffer_core<Table>> core_;
    std::shared_ptr<partition_set<Table> const> partitions_;
};

}  // namespace tidefall::inline v0::detail
