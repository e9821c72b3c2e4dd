// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/write/stripe_lock.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

inline constexpr std::size_t no_limit = (std::numeric_limits<std::size_t>::max)();

inline constexpr nanoseconds::rep not_full = (std::numeric_limits<nanoseconds::rep>::max)();

/// How a time was in which a partition was full.
struct fullness {
    nanoseconds duration;
    std::uint64_t refused;  ///< values answered `full` meanwhile
};

/// What came of the limits since hooks were told the last time.
struct limit_news {
    std::uint64_t dropped = 0;  ///< to make room
    /// Fullnesses that ended: by the last swap, and by a stop that drops what waits.
    std::array<std::optional<fullness>, 2> ended;
};

/// What holds for the stripes of one partition together. Written under all of their locks, read under any.
struct stripe_limits {
    std::size_t drain_at = no_limit;  ///< the number of values that starts a drain
    std::size_t capacity = no_limit;  ///< the number from which a write is not simply taken
    bool counts = false;              ///< `waiting` is kept: there is a limit, and there are several stripes
    atomic<std::size_t> waiting{0};   ///< values in all stripes
    /// When a write first found no room since the last swap; never: none did, or nobody listens. Set under a stripe's
    /// lock, reset under all.
    atomic<nanoseconds::rep> full_since{not_full};
    atomic<std::uint64_t> turned_away{0};  ///< values answered `full` since then, where somebody listens
    // What follows is of no concern to a write.
    std::size_t threshold = no_limit;  ///< `drain_at` is the smaller of the two
    std::array<std::optional<fullness>, 2> ended{};
    std::uint64_t told_dropped = 0;
};

/// A part of a partition with a lock of its own. A stripe is 128 bytes from the next one at least: processors fetch
/// cache lines in pairs.
///
/// Invariant: `lock` guards the rest. Once `closed` is true it stays so, and nothing is inserted any more.
template <typename Table>
struct alignas(128) stripe {
    stripe_lock lock;
    /// A write that finds 1 to so many values here starts no tick and reaches no limit: it inserts, and that is all. 0
    /// once closed.
    std::size_t uneventful = no_limit - 2;
    std::uint64_t coalesced = 0;
    Table table;

    bool closed = false;
    stripe_tickets tickets;
    std::uint64_t refused = 0;
    std::uint64_t erased = 0;
    std::uint64_t dropped = 0;  ///< to make room

    stripe_limits* limits = nullptr;  ///< of the partition

    void enter() noexcept { lock.lock(tickets); }
    void enter_next() noexcept { lock.lock_next(tickets); }

    /// True if a write that finds so many values needs no look. The lock is held.
    [[nodiscard]] bool is_uneventful_at(std::size_t size) const noexcept {
        return size - 1 < uneventful;  // one comparison for both bounds: below 0 comes the largest number
    }

    /// How many values are welcome. The lock is held.
    [[nodiscard]] std::size_t room() const noexcept {
        if (closed) return 0;
        auto const capacity = limits->capacity;
        if (capacity == no_limit) return no_limit;
        // Relaxed: as in crossed_limit. Writers of other stripes may go over the capacity by one value each.
        if (limits->counts) return limits->waiting.load(std::memory_order_relaxed) < capacity ? 1 : 0;
        return capacity - (std::min)(capacity, table.size());
    }

    /// True if the write that changed the table's size from `before` reached the limit. The lock is held.
    [[nodiscard]] bool crossed_limit(std::size_t before) noexcept {
        std::size_t after = table.size();
        if (limits->counts) {
            auto const grown = after - before;  // modulo 2^64
            // Relaxed: it changes under a lock of the partition only, and is set anew under all of them.
            before = limits->waiting.fetch_add(grown, std::memory_order_relaxed);
            after = before + grown;
        }
        return before < limits->drain_at && after >= limits->drain_at;
    }

    /// A write found no room at this time. True for the first since the last swap. The lock is held.
    [[nodiscard]] bool note_full(time_point now) noexcept {
        auto none = not_full;
        // Relaxed: the locks order it, and of two stripes' writers one is the first.
        return limits->full_since.compare_exchange_strong(none, nanoseconds(now.time_since_epoch()).count(),
                                                          std::memory_order_relaxed, std::memory_order_relaxed);
    }

    /// A write was answered `full`. The lock is held.
    void turn_away(bool observed) noexcept {
        ++refused;
        // Relaxed: as in note_full.
        if (observed) limits->turned_away.fetch_add(1, std::memory_order_relaxed);
    }

    /// Values were taken out of the table, which held `before`. The lock is held.
    void shrunk_from(std::size_t before) noexcept {
        // Relaxed: as in crossed_limit.
        if (limits->counts) limits->waiting.fetch_sub(before - table.size(), std::memory_order_relaxed);
    }

    /// Adds what is counted here. The lock is held.
    void count_in(buffer_stats& stats) const noexcept {
        stats.pending += table.size();
        stats.refused += refused;
        stats.coalesced += coalesced;
        stats.erased += erased;
        stats.dropped += dropped;
    }

    /// No write is accepted from this instant on. The lock is held.
    void close() noexcept {
        closed = true;
        uneventful = 0;
    }
};

/// Holds a stripe's lock for as long as it lives; before those who have not waited for it yet where `Next` is true.
template <typename Table, bool Next = false>
class stripe_guard {
public:
    explicit stripe_guard(stripe<Table>& of) noexcept : stripe_(of) { Next ? of.enter_next() : of.enter(); }
    ~stripe_guard() { stripe_.lock.unlock(); }
    stripe_guard(stripe_guard const&) = delete;
    stripe_guard& operator=(stripe_guard const&) = delete;

private:
    stripe<Table>& stripe_;
};

/// The stripes of one partition, as the engine handles them: all at once. Where a lock is held it takes a ticket before
/// it would sleep, and so has the lock after the turns of the holder and of those whose tickets are older.
template <typename Table>
class stripe_set {
public:
    explicit stripe_set(std::span<stripe<Table>> stripes) noexcept : stripes_(stripes) {
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
            if (total > 0) std::ranges::swap(stripes_[i].table, spare[i]);
            if (close) stripes_[i].close();
        }
        if (total > 0) limits_.waiting.store(0, std::memory_order_relaxed);  // as in crossed_limit
        if (total > 0 || close) end_fullness(now);
        return total;
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

    /// Changes the number of values that starts a drain, and the number that may wait, as far as `update` names them.
    /// Returns which of the two is reached now.
    std::optional<drain_trigger> change_limits(options_update const& update) noexcept {
        if (!update.drain_threshold && !update.capacity) return std::nullopt;
        all_locked const locked(*this);
        if (update.drain_threshold) limits_.threshold = update.drain_threshold->value_or(no_limit);
        if (update.capacity) limits_.capacity = update.capacity->value_or(no_limit);
        std::size_t const total = count();
        limits_.drain_at = (std::min)(limits_.threshold, limits_.capacity);
        limits_.counts = stripes_.size() > 1 && limits_.drain_at != no_limit;
        limits_.waiting.store(total, std::memory_order_relaxed);  // as in crossed_limit
        for (auto& one : stripes_) {
            // Where the stripes count together, every write looks.
            if (!one.closed) one.uneventful = limits_.counts || limits_.drain_at < 2 ? 0 : limits_.drain_at - 2;
        }
        if (total >= limits_.capacity) return drain_trigger::capacity;
        if (total >= limits_.threshold) return drain_trigger::threshold;
        return std::nullopt;
    }

    [[nodiscard]] bool has_room() const noexcept { return size() < capacity(); }

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
        for (auto& one : stripes_) {
            next_guard const locked(one);
            total += one.table.size();
        }
        return total;
    }

    /// Adds what the stripes count.
    void count_in(buffer_stats& stats) const noexcept {
        for (auto& one : stripes_) {
            next_guard const locked(one);
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
        for (auto& one : stripes_) {
            next_guard const locked(one);
            run = one.table.take(no_limit);
            if (!run.empty()) break;
        }
        return run;
    }

    /// Frees the memory of tables that are empty.
    void free_memory() noexcept {
        for (auto& one : stripes_) {
            Table old;  // freed after the lock
            next_guard const locked(one);
            if (one.table.size() == 0) std::ranges::swap(one.table, old);
        }
    }

private:
    using next_guard = stripe_guard<Table, true>;

    /// Holds every lock, taken in the order of the stripes.
    class all_locked {
    public:
        explicit all_locked(stripe_set const& set) noexcept : set_(set) {
            for (auto& one : set_.stripes_) one.enter_next();
        }
        ~all_locked() {
            for (auto& one : set_.stripes_) one.lock.unlock();
        }
        all_locked(all_locked const&) = delete;
        all_locked& operator=(all_locked const&) = delete;

    private:
        stripe_set const& set_;
    };

    // All locks are held in these.

    /// Nobody finds the partition full from now on, until the next one does.
    void end_fullness(time_point now) noexcept {
        // Relaxed: as in note_full.
        auto const since = limits_.full_since.exchange(not_full, std::memory_order_relaxed);
        auto const refused = limits_.turned_away.exchange(0, std::memory_order_relaxed);
        if (since == not_full) return;
        // A write may have found it full while this thread waited for the locks, after `now`.
        auto const duration = (std::max)(now - time_point(nanoseconds(since)), nanoseconds::zero());
        limits_.ended[limits_.ended[0] ? 1 : 0] = {duration, refused};
    }

    [[nodiscard]] std::size_t count() const noexcept {
        std::size_t total = 0;
        for (auto const& one : stripes_) total += one.table.size();
        return total;
    }

    [[nodiscard]] std::size_t capacity() const noexcept {
        next_guard const locked(stripes_.front());
        return limits_.capacity;
    }

    std::span<stripe<Table>> const stripes_;
    stripe_limits limits_;
};

}  // namespace tidefall::inline v0::detail
