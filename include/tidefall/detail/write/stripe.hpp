// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/write/biased_lock.hpp>
#include <tidefall/detail/write/stripe_lock.hpp>
#include <tidefall/detail/write/total_limit.hpp>
#include <tidefall/results.hpp>
#include <tidefall/table.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

inline constexpr std::size_t no_limit = (std::numeric_limits<std::size_t>::max)();

/// Of a time that was not noted, as a count of nanoseconds.
inline constexpr nanoseconds::rep no_time = (std::numeric_limits<nanoseconds::rep>::max)();

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
    /// Values that may wait here of those that may in all partitions. Grows under any of the locks.
    atomic<std::size_t> leased{no_limit};
    total_limit* total = nullptr;  ///< of the buffer
    /// The same by weight, of tables that have one.
    std::size_t drain_at_weight = no_limit;
    std::size_t capacity_weight = no_limit;
    atomic<std::size_t> waiting_weight{0};  ///< kept where `counts` is true
    /// When a write first found no room since the last swap; never: none did, or nobody listens. Set under a stripe's
    /// lock, reset under all.
    atomic<nanoseconds::rep> full_since{no_time};
    atomic<bool> full_by_total{false};     ///< for want of room in all partitions together
    atomic<std::uint64_t> turned_away{0};  ///< values answered `full` since then, where somebody listens
    /// The first write since the last swap notes its time here, instead of planning a tick.
    bool notes_first_write = false;
    atomic<nanoseconds::rep> first_write{no_time};
    // What follows is of no concern to a write.
    std::size_t threshold = no_limit;  ///< `drain_at` is the smaller of the two
    std::size_t threshold_weight = no_limit;
    std::array<std::optional<fullness>, 2> ended{};
    std::uint64_t told_dropped = 0;

    // Relaxed: it grows and shrinks under locks of the partition, and writers of other stripes may overshoot.
    [[nodiscard]] bool is_leased() const noexcept { return leased.load(std::memory_order_relaxed) != no_limit; }
    /// How many values may wait.
    [[nodiscard]] std::size_t most() const noexcept {
        return (std::min)(capacity, leased.load(std::memory_order_relaxed));
    }
    /// So many values wait, of that weight: true if there is room for one of the other.
    [[nodiscard]] bool has_room_for(std::size_t weight, std::size_t size, std::size_t waiting_now) const noexcept {
        if (capacity_weight == no_limit || size == 0) return true;
        return waiting_now <= capacity_weight && weight <= capacity_weight - waiting_now;
    }
};

/// Tables whose stripes lean to a thread that writes alone. Writes to one that coalesces come by their key, from
/// whatever thread.
template <typename Table>
inline constexpr bool leans = !coalesces<Table>;

/// Tables that can tell how many values may be appended without a look at anything else (`queue_table`).
template <typename Table>
concept has_stretches = leans<Table> && !weighed<Table> && requires(Table & table, Table const& constant) {
    table.begin_stretch(std::size_t{});
    { constant.has_stretch() } -> std::same_as<bool>;
    { constant.has_place() } -> std::same_as<bool>;
};

/// Writes that left a table's size as it was.
template <bool Exist>
struct coalesced_writes {
    std::uint64_t count = 0;
    void add() noexcept { ++count; }
};
template <>
struct coalesced_writes<false> {
    static constexpr std::uint64_t count = 0;
    void add() noexcept {}
};

/// When a stripe leans, and to which threads.
struct lean_state {
    lean_history history;
    lean_numbers numbers;
};
struct no_lean_state {};

/// A part of a partition with a lock of its own. A stripe is 128 bytes from the next one at least: processors fetch
/// cache lines in pairs.
///
/// Invariant: `lock` guards the rest. Once `closed` is true it stays so, and nothing is inserted any more.
template <typename Table>
struct alignas(128) stripe {
    std::conditional_t<leans<Table>, biased_lock, stripe_lock> lock;
    /// A write that finds 1 to so many values here starts no tick and reaches no limit: it inserts, and that is all. 0
    /// once closed.
    std::size_t uneventful = no_limit - 2;
    [[no_unique_address]] coalesced_writes<coalesces<Table>> coalesced;
    Table table;

    bool closed = false;
    stripe_tickets tickets;
    [[no_unique_address]] std::conditional_t<leans<Table>, lean_state, no_lean_state> lean;
    std::uint64_t refused = 0;
    std::uint64_t erased = 0;
    std::uint64_t dropped = 0;  ///< to make room

    stripe_limits* limits = nullptr;  ///< of the partition

    /// For the thread of that number, if it has one.
    void enter([[maybe_unused]] lean_number number = 0) noexcept {
        if constexpr (leans<Table>) {
            if (lock.lock(tickets, number)) [[unlikely]]
                lean.history.ended(table.size());
        } else {
            lock.lock(tickets);
        }
    }
    /// For one who has asked (`stripe_set`).
    void enter_asked() noexcept {
        if constexpr (leans<Table>) {
            if (lock.lock_asked(tickets)) lean.history.ended(table.size());
        } else {
            lock.lock_next(tickets);
        }
    }

    /// False if `look_at_writer` has nothing to look at. The lock is held.
    [[nodiscard]] bool is_of_note(void const* mine, std::size_t before) const noexcept {
        return has_owner_bias && before <= lean_history::look_until && lean.history.is_of_note(mine, before);
    }

    /// A value was written where `before` were, by the thread whose place this is; null: by one that a key brought
    /// here. May have the lock lean to it. The lock is held.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    look_at_writer(thread_places::place* mine, std::size_t before) noexcept {
        if (!lean.history.should_lean(mine, before) || lock.leans() || !process_barrier::is_ready()) return;
        // Not where a limit ends it before it has paid.
        if (uneventful < before + writes_worth_a_barrier) return;
        auto const number = lean.numbers.of_this_thread();
        lean.history.began(table.size());
        if (number == 0) return lean.history.ended(table.size());
        mine->lean = number;
        mine->owned = this;
        lock.lean_to(number);
    }

    /// After a write of the thread that it leans to: gives the table a stretch up to where a write has to look. It
    /// lasts while the lock leans to that thread, since who would change a limit, or the table, takes that away first.
    void give_stretch() noexcept {
        if constexpr (has_stretches<Table>) {
            auto const size = table.size();
            table.begin_stretch(size <= uneventful ? uneventful + 1 - size : 0);
        }
    }

    /// True if a write that finds so many values needs no look. The lock is held.
    [[nodiscard]] bool is_uneventful_at(std::size_t size) const noexcept {
        return size - 1 < uneventful;  // one comparison for both bounds: below 0 comes the largest number
    }

    /// How many values are welcome, each of at most that weight. The lock is held.
    [[nodiscard]] std::size_t room([[maybe_unused]] std::size_t weight) const noexcept {
        if (closed) return 0;
        if constexpr (weighed<Table>) {
            if (!has_room_by_weight(weight)) return 0;
        }
        auto const most = limits->most();
        if (most == no_limit) return no_limit;
        // Relaxed: as in crossed_limit. Writers of other stripes may go over the capacity by one value each.
        if (limits->counts) return limits->waiting.load(std::memory_order_relaxed) < most ? 1 : 0;
        return most - (std::min)(most, table.size());
    }
    [[nodiscard]] bool has_room_by_weight(std::size_t weight) const noexcept requires(weighed<Table>) {
        return limits->has_room_for(weight, waiting(), waiting_weight());
    }

    /// Values in all stripes of the partition. The lock is held.
    [[nodiscard]] std::size_t waiting() const noexcept {
        // Relaxed: as in crossed_limit.
        return limits->counts ? limits->waiting.load(std::memory_order_relaxed) : table.size();
    }
    [[nodiscard]] std::size_t waiting_weight() const noexcept {
        // Relaxed: as in crossed_limit.
        return limits->counts ? limits->waiting_weight.load(std::memory_order_relaxed) : table.weight();
    }

    /// Where nothing but the lease is used up: leases more. False if none is left. The lock is held.
    [[nodiscard]] bool extend_lease() noexcept {
        auto const more = limits->total->lease();
        if (more == 0) return false;
        limits->leased.fetch_add(more, std::memory_order_relaxed);  // as in stripe_limits::is_leased
        look_at_limits();
        return true;
    }
    [[nodiscard]] bool lacks_lease() const noexcept {
        return limits->is_leased() && waiting() < limits->capacity &&
               waiting() >= limits->leased.load(std::memory_order_relaxed);  // as in stripe_limits::is_leased
    }

    /// Which writes need no look, by the limits. The lock is held.
    void look_at_limits() noexcept {
        auto const bound = (std::min)(limits->drain_at, limits->most());
        // Where the stripes count together, or values are weighed, every write looks.
        bool const every = limits->counts || limits->drain_at_weight != no_limit || bound < 2;
        if (!closed) uneventful = every ? 0 : bound - 2;
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
    /// The same of a write that added so much weight.
    [[nodiscard]] bool crossed_weight(std::size_t weight) noexcept {
        // Relaxed: as in crossed_limit.
        auto const before = limits->counts ? limits->waiting_weight.fetch_add(weight, std::memory_order_relaxed)
                                           : table.weight() - weight;
        return before < limits->drain_at_weight && before + weight >= limits->drain_at_weight;
    }

    /// The first value of this stripe was written. True if the control is to plan a tick for it; otherwise the time of
    /// the first value in any stripe is noted. The lock is held.
    template <typename Clock>
    [[nodiscard]] bool note_first_write(Clock const& clock) noexcept {
        if (!limits->notes_first_write) return true;
        // Relaxed: as in note_full.
        auto none = limits->first_write.load(std::memory_order_relaxed);
        if (none == no_time) {
            limits->first_write.compare_exchange_strong(none, nanoseconds(clock.now().time_since_epoch()).count(),
                                                        std::memory_order_relaxed, std::memory_order_relaxed);
        }
        return false;
    }

    /// A write found no room at this time. True for the first since the last swap. The lock is held.
    [[nodiscard]] bool note_full(time_point now) noexcept {
        auto none = no_time;
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
        if (limits->is_leased()) limits->total->note_slack();
    }

    /// Adds what is counted here. The lock is held.
    void count_in(buffer_stats& stats) const noexcept {
        stats.pending += table.size();
        if constexpr (weighed<Table>) stats.pending_weight += table.weight();
        stats.refused += refused;
        stats.coalesced += coalesced.count;
        stats.erased += erased;
        stats.dropped += dropped;
    }

    /// No write is accepted from this instant on. The lock is held.
    void close() noexcept {
        closed = true;
        uneventful = 0;
    }
};

/// Holds a stripe's lock for as long as it lives; as one who asked for it where `Asked` is true.
template <typename Table, bool Asked = false>
class stripe_guard {
public:
    explicit stripe_guard(stripe<Table>& of) noexcept : stripe_(of) { Asked ? of.enter_asked() : of.enter(); }
    ~stripe_guard() { stripe_.lock.unlock(); }
    stripe_guard(stripe_guard const&) = delete;
    stripe_guard& operator=(stripe_guard const&) = delete;

private:
    stripe<Table>& stripe_;
};

}  // namespace tidefall::inline v0::detail
