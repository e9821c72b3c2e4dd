// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// Tables whose memory comes in pieces of one size, which may move from one to another (`queue_table`).
template <typename Table>
concept shares_memory = requires(Table& table, Table const& constant, typename Table::spare_segment piece) {
    { constant.wants_segment(std::size_t{}) } -> std::same_as<bool>;
    { constant.has_places(std::size_t{}) } -> std::same_as<bool>;
    { constant.places_with_next() } -> std::same_as<std::size_t>;
    { table.take_spare() } -> std::same_as<typename Table::spare_segment>;
    table.keep(std::move(piece));
};

/// The memory that no table of a buffer needs at the moment, in its longest pieces. What one partition drained another
/// one may fill, so that all of them together keep what they need at a time, and not each what it once needed; what was
/// used last is used first, while it is in a cache.
///
/// Thread safety: everything may be called by several threads at once, also under the lock of a stripe or the mutex of
/// a partition. It holds its own for moves of pointers, and frees what they point to without it.
template <typename Table>
class spare_memory {
public:
    /// Called before values are written to a table: where it wants a segment for them it gets one, as long as there is
    /// one. Returns how many of `count` values may be written before the next call: those that need no second segment.
    [[nodiscard]] std::size_t provide(Table& table, std::size_t count) noexcept {
        if (table.has_places(count)) [[likely]]
            return count;
        if (table.wants_segment(count)) refill(table);
        return (std::min)(count, table.places_with_next());
    }

    /// A partition has drained these tables, which are empty: what they do not need to begin with comes here. `is_new`:
    /// it has not been here since its last `leave`.
    void gather(std::span<Table> tables, bool is_new) noexcept {
        std::array<piece, pieces_a_lock> some;
        for (std::size_t table = 0; table < tables.size();) {
            std::size_t count = 0;
            while (count < some.size() && (some[count] = tables[table].take_spare()) != nullptr) ++count;
            if (count < some.size()) ++table;
            add(std::span(some).first(count));
        }
        auto const unused = count_drain(is_new);
    }

    /// A partition has been idle for long, and gives up what it has here: after the last one nothing is left.
    void leave() noexcept {
        pieces unused;  // freed after the lock
        lock_guard const lock(mutex_);
        if (--partitions_ > 0) {
            unused = take_unused();
        } else {
            unused.swap(spare_);
            least_ = drains_ = 0;
        }
    }

private:
    using piece = typename Table::spare_segment;
    using pieces = std::vector<piece>;

    static constexpr std::size_t pieces_a_lock = 32;
    static constexpr std::size_t drains_to_judge = 16;

#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    void
    refill(Table& table) noexcept {
        lock_guard const lock(mutex_);
        if (spare_.empty()) return;
        table.keep(std::move(spare_.back()));
        spare_.pop_back();
        least_ = (std::min)(least_, spare_.size());
    }

    /// What there is no memory to note stays with the caller, which frees it.
    void add(std::span<piece> some) noexcept {
        lock_guard const lock(mutex_);
        try {
            for (auto& one : some) spare_.push_back(std::move(one));
        } catch (std::bad_alloc const&) {
        }
    }

    /// Returns what is to be freed.
    [[nodiscard]] pieces count_drain(bool is_new) noexcept {
        lock_guard const lock(mutex_);
        if (is_new) ++partitions_;
        if (++drains_ < drains_to_judge * partitions_) return {};
        return take_unused();
    }

    /// Those that stayed here since the last look, which are the first ones. The mutex is held.
    [[nodiscard]] pieces take_unused() noexcept {
        drains_ = 0;
        auto const end = spare_.begin() + static_cast<std::ptrdiff_t>(least_);
        try {
            pieces unused(std::make_move_iterator(spare_.begin()), std::make_move_iterator(end));
            spare_.erase(spare_.begin(), end);
            least_ = spare_.size();
            return unused;
        } catch (std::bad_alloc const&) {  // they stay until the next look
            return {};
        }
    }

    mutex mutex_;
    pieces spare_;
    std::size_t least_ = 0;   ///< that were here at a time, since the last look
    std::size_t drains_ = 0;  ///< since the last look
    std::size_t partitions_ = 0;
};

/// What the partitions of a buffer share; nothing, where the memory of its tables stays with each.
template <typename Table>
struct separate_memory {
    [[nodiscard]] std::size_t provide(Table&, std::size_t count) noexcept { return count; }
    void gather(std::span<Table>, bool) noexcept {}
    void leave() noexcept {}
};
template <typename Table>
using shared_memory = std::conditional_t<shares_memory<Table>, spare_memory<Table>, separate_memory<Table>>;

}  // namespace tidefall::inline v0::detail
