// SPDX-License-Identifier: MIT
//
// What a table has to offer, for those who put one of their own on the engine: see `buffer.hpp`.
#pragma once

#include <tidefall/version.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

namespace tidefall::inline v0 {

/// The storage of one stripe. A table knows nothing of threads: the engine calls it under the stripe's lock, or owns
/// it alone once it is drained. Default construction must not allocate: it happens where nothing may fail.
///
/// - `value_type`: what a processor receives in a span.
/// - `size()`: values that were written and not taken. Called with every write: keep it to a load or two.
/// - `take(most)`: hands out the next values, side by side, at least one and at most `most`, in place; empty only if
///   none is left. The caller destroys them, and may write where they lay; the memory stays until `clear`, and nothing
///   is inserted before that. The engine gathers short runs.
/// - `clear()`: destroys what was not taken, and keeps the memory for the next filling.
/// - `shrink_to_fit()`: frees the memory. The table is empty.
///
/// Optional:
/// - `coalesces`: a constant, false if each accepted write adds a value; then no write looks whether it did.
/// - `prepare()`: called once per drain before the first `take`, without a lock; may throw, which fails the drain.
/// - `delivered_table` and `deliver()`: what table mode hands over instead of the table itself; may throw, but must
///   leave what it did not hand over to be taken.
/// - `front()`, `pop_front()` and `pop_back()`: the oldest value, and without the newest; needed for
///   `overflow_policy::drop_oldest`, with one stripe.
/// - `absorb(Table&&)`: appends another table; needed for table mode where a partition has several stripes. May throw,
///   and must then have changed neither. Before the first one `reserve(size)` is called, where there is one, with the
///   number of values in all.
/// - `weight()`, `weight_of(value)` (static), `add_weight(n)`, `take_weight(n)`: the weight of the values that were
///   written; needed for the limits by weight. The write calls `add_weight` (`buffer::write_weighed`), the engine the
///   rest.
template <typename T>
concept table = std::is_nothrow_default_constructible_v<T> && std::is_nothrow_move_constructible_v<T> &&
    std::is_nothrow_swappable_v<T> && std::is_nothrow_destructible_v<T> &&
    requires(T& drained, T const& constant, std::size_t most) {
    typename T::value_type;
    { constant.size() }
    noexcept->std::same_as<std::size_t>;
    { drained.take(most) }
    noexcept->std::same_as<std::span<typename T::value_type>>;
    { drained.clear() }
    noexcept;
    { drained.shrink_to_fit() }
    noexcept;
};

namespace detail {

template <typename T>
concept says_whether_it_coalesces = requires {
    { T::coalesces } -> std::convertible_to<bool>;
};

/// True for a table in which an accepted write may leave the size as it was.
template <typename T>
inline constexpr bool coalesces = true;
template <says_whether_it_coalesces T>
inline constexpr bool coalesces<T> = T::coalesces;

/// True for a table whose oldest value can be taken out to make room.
template <typename T>
concept has_oldest = requires(T& full) {
    full.front();
    full.pop_front();
    full.pop_back();
};

/// True for a table that knows what its values weigh.
template <typename T>
concept weighed = requires(T& one, typename T::value_type const& value) {
    { one.weight() }
    noexcept->std::same_as<std::size_t>;
    { T::weight_of(value) } -> std::same_as<std::size_t>;
    one.add_weight(std::size_t{});
    one.take_weight(std::size_t{});
};

}  // namespace detail
}  // namespace tidefall::inline v0
