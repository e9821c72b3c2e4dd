// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/partition_set.hpp>
#include <tidefall/detail/write/eventful_writes.hpp>
#include <tidefall/detail/write/router.hpp>
#include <tidefall/detail/write/waiting_turn.hpp>
#include <tidefall/options.hpp>
#include <tidefall/partition.hpp>
#include <tidefall/table.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// What a write does at the limits of its partition and of all, and at the first value: it waits for room, plans a
/// tick, starts a drain, or makes room by dropping the oldest value.
///
/// The write (`write_path`) holds the stripe's lock. What is called `unlock_and…` releases it; so does `at_limit` where
/// the write is refused.
template <typename Table>
class write_limits final : public eventful_writes<Table> {
public:
    using value_type = typename Table::value_type;

    write_limits(std::shared_ptr<buffer_core<Table>> core, std::shared_ptr<partition_set<Table> const> partitions,
                 router const& routes, overflow_policy overflow) noexcept
        : routes_(routes), overflow_(overflow), core_(std::move(core)), partitions_(std::move(partitions)) {}

    overflow_step at_limit(stripe<Table>& stripe, blocked_write& write, std::size_t weight) override {
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
        waiting_turn const turn(core_->this_thread, write.writer, core_);
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

    void unlock_and_look(stripe<Table>& stripe, std::size_t before, std::size_t weight) override {
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

private:
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

    std::size_t index_of(stripe<Table> const& one) const noexcept {
        return routes_.partition_of(static_cast<std::size_t>(std::addressof(one) - core_->stripes.get()));
    }
    partition<Table>& partition_of(stripe<Table> const& one) const noexcept { return *(*partitions_)[index_of(one)]; }

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
        // Side by side only where a move of those that are there already cannot fail.
        constexpr bool side_by_side = std::is_nothrow_move_constructible_v<value_type>;
        std::conditional_t<side_by_side, std::vector<value_type>, std::list<value_type>> oldest;
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
            if constexpr (side_by_side) {
                one->return_oldest(oldest);
            } else {
                for (auto& value : oldest) one->return_oldest(std::span(std::addressof(value), 1));
            }
        }
        if (error) std::rethrow_exception(error);
    }

    [[nodiscard]] bool drops_oldest() const noexcept { return overflow_ == overflow_policy::drop_oldest; }

    // Invariant: nothing here changes.
    router const routes_;
    overflow_policy const overflow_;
    std::shared_ptr<buffer_core<Table>> const core_;
    std::shared_ptr<partition_set<Table> const> const partitions_;
};

}  // namespace tidefall::inline v0::detail
