// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/write/process_barrier.hpp>
#include <tidefall/detail/write/stripe.hpp>
#include <tidefall/detail/write/total_limit.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// The stripes of one partition, as the engine handles them: all at once. It asks the owners of stripes that lean to
/// one before it takes a lock. Where a lock is held it takes a ticket before it would sleep, and so has the lock after
/// the turns of the holder and of those whose tickets are older.
template <typename Table>
class stripe_set {
public:
    stripe_set(std::span<stripe<Table>> stripes, total_limit& total) noexcept : stripes_(stripes) {
        limits_.total = &total;
        for (auto& one : stripes_) one.limits = &limits_;
    }
    stripe_set(stripe_set const&) = delete;
    stripe_set& operator=(stripe_set const&) = delete;

    [[nodiscard]] std::size_t stripes() const noexcept { return stripes_.size(); }

    /// Exchanges the tables with `spare` (empty ones, one a stripe) and returns how many values they hold; if none,
    /// nothing is exchanged. With `close`, no write is accepted from this instant on.
    std::size_t swap_tables(std::span<Table> spare, bool close, time_point now) noexcept {
        all_locked const locked(*this);
        std::size_t const total = count();
        for (std::size_t i = 0; i < stripes_.size(); ++i) {
            if (total > 0) {
                std::ranges::swap(stripes_[i].table, spare[i]);
                if constexpr (leans<Table>) stripes_[i].lean.history.filling_ended();
            }
            if (close) stripes_[i].close();
        }
        if (total > 0) forget_waiting();
        if (total > 0 || close) end_fullness(now);
        limits_.notes_first_write = total > 0 && !close;
        // Relaxed: as in stripe::note_full.
        limits_.first_write.store(no_time, std::memory_order_relaxed);
        return total;
    }

    /// When the first value since the last swap was written, where writes note it; if none was, they do not any more.
    std::optional<time_point> first_write() noexcept {
        // Relaxed: as in stripe::note_full. Once noted it stays until the next swap, so a look without the locks is
        // good for a yes, and leaves owners where they are.
        if (auto const first = limits_.first_write.load(std::memory_order_relaxed); first != no_time)
            return time_point(nanoseconds(first));
        all_locked const locked(*this);
        auto const first = limits_.first_write.load(std::memory_order_relaxed);
        if (first != no_time) return time_point(nanoseconds(first));
        limits_.notes_first_write = false;
        return std::nullopt;
    }

    /// Nothing will be swapped any more. Returns how many values wait.
    std::size_t expire(time_point now) noexcept {
        all_locked const locked(*this);
        end_fullness(now);
        return count();
    }

    void close() noexcept {
        all_locked const locked(*this);
        for (auto& one : stripes_) one.close();
    }

    /// Changes the limits, as far as `update` names them; with `leases_anew`, as those of all partitions together begin
    /// or end. Returns which of them is reached now.
    std::optional<drain_trigger> change_limits(options_update const& update, bool leases_anew) noexcept {
        all_locked const locked(*this);
        if (update.drain_threshold) limits_.threshold = update.drain_threshold->value_or(no_limit);
        if (update.capacity) limits_.capacity = update.capacity->value_or(no_limit);
        if (update.drain_threshold_weight) limits_.threshold_weight = update.drain_threshold_weight->value_or(no_limit);
        if (update.capacity_weight) limits_.capacity_weight = update.capacity_weight->value_or(no_limit);
        std::size_t const total = count();
        std::size_t const weight = weight_of_all();
        // Relaxed: as in stripe_limits::is_leased.
        if (leases_anew) {
            bool const is_limited = limits_.total->exists();
            limits_.total->charge(total);  // which counts for nothing where there is no limit
            limits_.leased.store(is_limited ? total : no_limit, std::memory_order_relaxed);
        }
        limits_.drain_at = (std::min)(limits_.threshold, limits_.capacity);
        limits_.drain_at_weight = (std::min)(limits_.threshold_weight, limits_.capacity_weight);
        limits_.counts = stripes_.size() > 1 &&
                         (limits_.drain_at != no_limit || limits_.drain_at_weight != no_limit || limits_.is_leased());
        // Relaxed: as in crossed_limit.
        limits_.waiting.store(total, std::memory_order_relaxed);
        limits_.waiting_weight.store(weight, std::memory_order_relaxed);
        for (auto& one : stripes_) one.look_at_limits();
        if (total >= limits_.capacity || weight >= limits_.capacity_weight) return drain_trigger::capacity;
        if (total >= limits_.threshold || weight >= limits_.threshold_weight) return drain_trigger::threshold;
        return std::nullopt;
    }

    /// Gives back what was leased and is not used.
    void give_back_slack() noexcept {
        all_locked const locked(*this);
        if (!limits_.is_leased()) return;
        auto const used = count();
        auto const had = limits_.leased.exchange(used, std::memory_order_relaxed);  // as in stripe_limits::is_leased
        limits_.total->give_back(had - used);  // modulo 2^64: more may be used than was leased
        for (auto& one : stripes_) one.look_at_limits();
    }

    /// Of writes of that weight.
    [[nodiscard]] bool has_room(std::size_t weight) const noexcept {
        std::size_t waiting = 0;
        std::size_t waiting_weight = 0;
        asker const asked(*this);
        for (auto& one : stripes_) {
            asked_guard const locked(one);
            waiting += one.table.size();
            if constexpr (weighed<Table>) waiting_weight += one.table.weight();
        }
        asked_guard const locked(stripes_.front());
        bool const is_welcome =
            waiting < limits_.most() || (waiting < limits_.capacity && !limits_.total->is_reached());
        return is_welcome && limits_.has_room_for(weight, waiting, waiting_weight);
    }

    /// There is room in all partitions together again: who found none here hears of it.
    void end_fullness_by_total(time_point now) noexcept {
        all_locked const locked(*this);
        if (limits_.full_by_total.load(std::memory_order_relaxed)) end_fullness(now);
    }

    /// What hooks were not told of yet.
    [[nodiscard]] limit_news take_news() noexcept {
        all_locked const locked(*this);
        limit_news news;
        std::uint64_t dropped = 0;
        for (auto const& one : stripes_) dropped += one.dropped;
        news.dropped = dropped - std::exchange(limits_.told_dropped, dropped);
        news.ended.swap(limits_.ended);
        return news;
    }

    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t total = 0;
        asker const asked(*this);
        for (auto& one : stripes_) {
            asked_guard const locked(one);
            total += one.table.size();
        }
        return total;
    }

    /// Adds what the stripes count.
    void count_in(buffer_stats& stats) const noexcept {
        asker const asked(*this);
        for (auto& one : stripes_) {
            asked_guard const locked(one);
            one.count_in(stats);
        }
    }

    /// The same where there is no other thread, whatever a lost one held.
    void count_alone_in(buffer_stats& stats) const noexcept {
        for (auto const& one : stripes_) one.count_in(stats);
    }

    /// Takes values out of closed stripes, to be destroyed by the caller; empty if none is left.
    [[nodiscard]] auto take_closed() noexcept {
        auto run = std::span<typename Table::value_type>();
        asker const asked(*this);
        for (auto& one : stripes_) {
            asked_guard const locked(one);
            run = one.table.take(no_limit);
            if (!run.empty()) break;
        }
        return run;
    }

    /// Frees the memory of tables that are empty.
    void free_memory() noexcept {
        for (auto& one : stripes_) {
            Table old;  // freed after the locks: keys may be of the user's types
            asker const asked(*this);
            asked_guard const locked(one);
            if (one.table.size() == 0) std::ranges::swap(one.table, old);
        }
    }

private:
    using asked_guard = stripe_guard<Table, true>;

    /// Before any lock is taken: has the owners of all stripes that lean to one give way, by one barrier for all of
    /// them, while writers go on. The one asker of this partition for as long as it lives.
    class asker {
    public:
        explicit asker(stripe_set const& set) noexcept : alone_(set.asking_) {
            if constexpr (leans<Table>) {
                bool any_leans = false;
                for (auto& one : set.stripes_) any_leans = one.lock.ask() || any_leans;
                if (any_leans) process_barrier::issue();
            }
        }
        ~asker() {}  // an object of this type is used
        asker(asker const&) = delete;
        asker& operator=(asker const&) = delete;

    private:
        struct no_lock {
            explicit no_lock(mutex&) noexcept {}
        };
        std::conditional_t<leans<Table>, lock_guard, no_lock> alone_;
    };

    /// Holds every lock, taken in the order of the stripes.
    class all_locked {
    public:
        explicit all_locked(stripe_set const& set) noexcept : set_(set), asked_(set) {
            for (auto& one : set_.stripes_) one.enter_asked();
        }
        ~all_locked() {
            for (auto& one : set_.stripes_) one.lock.unlock();
        }
        all_locked(all_locked const&) = delete;
        all_locked& operator=(all_locked const&) = delete;

    private:
        stripe_set const& set_;
        asker asked_;
    };

    // All locks are held in these.

    /// Nobody finds the partition full from now on, until the next one does.
    void end_fullness(time_point now) noexcept {
        // Relaxed: as in note_full.
        limits_.full_by_total.store(false, std::memory_order_relaxed);
        auto const since = limits_.full_since.exchange(no_time, std::memory_order_relaxed);
        auto const refused = limits_.turned_away.exchange(0, std::memory_order_relaxed);
        if (since == no_time) return;
        // A write may have found it full while this thread waited for the locks, after `now`.
        auto const duration = (std::max)(now - time_point(nanoseconds(since)), nanoseconds::zero());
        limits_.ended[limits_.ended[0] ? 1 : 0] = {duration, refused};
    }

    [[nodiscard]] std::size_t count() const noexcept {
        std::size_t total = 0;
        for (auto const& one : stripes_) total += one.table.size();
        return total;
    }

    [[nodiscard]] std::size_t weight_of_all() const noexcept {
        std::size_t total = 0;
        if constexpr (weighed<Table>) {
            for (auto const& one : stripes_) total += one.table.weight();
        }
        return total;
    }

    /// Nothing waits: what was leased for it goes back.
    void forget_waiting() noexcept {
        // Relaxed: as in crossed_limit.
        limits_.waiting.store(0, std::memory_order_relaxed);
        limits_.waiting_weight.store(0, std::memory_order_relaxed);
        if (!limits_.is_leased()) return;
        // Relaxed: as in stripe_limits::is_leased.
        limits_.total->give_back(limits_.leased.exchange(0, std::memory_order_relaxed));
        for (auto& one : stripes_) one.look_at_limits();
    }

    std::span<stripe<Table>> const stripes_;
    stripe_limits limits_;
    mutable mutex asking_;  ///< held by the one asker; taken before the lock of a stripe
};

}  // namespace tidefall::inline v0::detail
