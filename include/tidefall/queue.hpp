// SPDX-License-Identifier: MIT
//
// queue<T>: many threads push, one callable receives every item in batches, in insertion order within a partition.
//
//     tidefall::queue<event> events(
//         {.name = "events", .processing_interval = 1s, .processing_batch_size = 512},
//         [&](std::span<event> batch) { sink.write(batch); });   // may run for several partitions at once
//
//     events.push(event{1, "signed_in"});
//     events.stop();   // drains; the destructor does it too
#pragma once

#include <tidefall/buffer.hpp>
#include <tidefall/detail/tables/sorted_table.hpp>
#include <tidefall/detail/tables/weighed_table.hpp>
#include <tidefall/detail/write/bulk_write.hpp>
#include <tidefall/queue_table.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// The default order: an item whose push returned before another's began comes first, over all producers, across
/// ticks and through the final drain, within a partition.
struct insertion_order {};

/// Each producer's items in its order, producers in any: every partition is striped by thread, so writers do not meet
/// even where there are many more of them than partitions.
struct producer_order {};

/// Items sorted by `std::invoke(Projection, item)`: stably, at the drain, each drain for itself. Any comparator is
/// safe: one that contradicts itself gives some order, one that throws fails the drained table, of which
/// `undelivered` receives every value.
template <auto Projection, typename Compare = std::less<>>
struct sorted_by {};

/// The same by a key that every write carries: `push(item, sort_key{k})`, `push_range(items, sort_key_by{f})`.
template <typename Key, typename Compare = std::less<>>
struct sorted_by_key {};

/// Values have no weight, the default: a queue knows how many there are, and no more.
struct unweighed {};

/// Each value weighs `std::invoke(Weight, item)`, a `std::size_t` such as its bytes: for the limits by weight of
/// `options`. It is asked by the writer, before any lock is taken, and again at the drain, and must give the same both
/// times; what it throws reaches the writer, or fails the drain. With `overflow_policy::drop_oldest` it is asked under
/// the lock too.
template <auto Weight>
struct weighed_by {};

namespace detail {

template <typename Table, typename Weight>
struct with_weight;  // no such weight
template <typename Table>
struct with_weight<Table, unweighed> {
    using type = Table;
};
template <typename Table, auto Weight>
struct with_weight<Table, weighed_by<Weight>> {
    static_assert(std::is_invocable_r_v<std::size_t, decltype(Weight), typename Table::value_type const&>,
                  "the weight of weighed_by<Weight> must be callable with one of the queue's items and give a number");
    using type = weighed_table<Table, Weight>;
};

template <typename T, typename Order>
struct queue_order;  // no such order

template <typename T>
struct queue_order<T, insertion_order> {
    using key_type = no_key;
    using table = queue_table<T>;
};

template <typename T>
struct queue_order<T, producer_order> {
    using key_type = no_key;
    using table = queue_table<T>;
};

template <typename T, auto Projection, typename Compare>
struct queue_order<T, sorted_by<Projection, Compare>> {
    using key_type = no_key;
    using table = sorted_table<T, queue_order>;
    static bool less(T const& a, no_key const&, T const& b, no_key const&) {
        return static_cast<bool>(std::invoke(Compare{}, std::invoke(Projection, a), std::invoke(Projection, b)));
    }
};

template <typename T, typename Key, typename Compare>
struct queue_order<T, sorted_by_key<Key, Compare>> {
    using key_type = Key;
    using table = sorted_table<T, queue_order>;
    static bool less(T const&, Key const& a, T const&, Key const& b) {
        return static_cast<bool>(std::invoke(Compare{}, a, b));
    }
};

/// A number that becomes whatever arithmetic type is asked for.
template <typename N>
struct number {
    N value;
    template <typename To>
        requires std::is_arithmetic_v<To>
    constexpr operator To() const noexcept {  // NOLINT(google-explicit-constructor)
        return static_cast<To>(value);
    }
};

template <typename Argument>
constexpr decltype(auto) any_number(Argument&& argument) noexcept {
    if constexpr (std::is_arithmetic_v<std::remove_cvref_t<Argument>>) {
        return number<std::remove_cvref_t<Argument>>{argument};
    } else {
        return std::forward<Argument>(argument);
    }
}

}  // namespace detail

/// Accumulates items and delivers every one of them, in batches. Use it for events, spans, log records: whatever
/// must all arrive. Where only the last state of a key matters, a map that coalesces does less work.
///
/// `T` is any object type that can be moved (it is never assigned); moves may throw. An item is moved at most twice
/// before the processor sees it: into the table, and once more where a batch has to be gathered.
///
/// Each writing thread keeps to one partition, so one producer's items keep their order; `partition_key` and
/// `partition_by` route by a hash instead. Loss, duplication, threads: see `buffer`.
///
/// A write takes one spinning lock, or none where its thread writes there alone, and waits for nothing else, but at a
/// capacity with `overflow_policy::block`. Who comes where another thread wrote alone has it give way first, by a call
/// of the system, membarrier, of some 15 microseconds; once in a process it may be 10 milliseconds, where that is
/// refused. It allocates only where the table grows past what it ever held lately. A throw in a copy, a projection or
/// an allocation reaches the writer and leaves the queue as it was.
template <typename T, typename Order = insertion_order, typename Weight = unweighed>
class queue : public buffer<typename detail::with_weight<typename detail::queue_order<T, Order>::table, Weight>::type> {
    using order = detail::queue_order<T, Order>;
    using table = typename detail::with_weight<typename order::table, Weight>::type;
    using key = typename order::key_type;
    static constexpr bool keyed = !std::is_same_v<key, detail::no_key>;
    static constexpr bool striped = std::is_same_v<Order, producer_order>;

public:
    /// As `buffer` says. In table mode the processor receives a `queue_table<T>`, whatever the order.
    template <typename Processor, typename Undelivered = discard_undelivered>
    explicit queue(options how, Processor&& process, Undelivered&& undelivered = {})
        : buffer<table>(std::move(how), std::forward<Processor>(process), std::forward<Undelivered>(undelivered),
                        striped ? queue::many_stripes : 1) {}

    /// Adds one item. `tags`: `partition_key`, and `sort_key` in a queue sorted by key. Answers `accepted`,
    /// `full` or `stopped`; in the latter cases an rvalue is untouched. Blocks only where the partition is full and
    /// `overflow` says so.
    template <typename... Tags>
    write_status push(T&& item, Tags const&... tags) {
        require_single_tags<Tags...>();
        return insert(std::move(item), tags...);
    }

    /// The same with a copy of the item, made before the lock is taken, unless it is trivially copyable or moves may
    /// throw.
    template <typename... Tags>
        requires std::copy_constructible<T> write_status push(T const& item, Tags const&... tags) {
            require_single_tags<Tags...>();
            return insert_copy(item, tags...);
        }

    /// Adds an item made from `args`, by parentheses or, for an aggregate, braces. Tags come first.
    template <typename... Args>
    write_status emplace(Args&&... args) {
        return emplace_after(std::tuple<>(), std::forward<Args>(args)...);
    }

    /// Adds the items of a range, in its order, up to the first that is answered `full` or `stopped`; returns how many
    /// were accepted. `tags` as in `push`, and `partition_by`, `sort_key_by`. Copies from an lvalue or a view, moves
    /// from a container given as an rvalue; what was not accepted is untouched. Items of other producers may come
    /// between. If a copy throws, the items before it stay.
    template <std::ranges::input_range Range, typename... Tags>
    std::size_t push_range(Range&& items, Tags const&... tags) {
        static_assert(detail::bulk_write_tags<Tags...>,
                      "push_range takes the tags partition_key or partition_by, and sort_key or sort_key_by");
        require_sort_key<detail::count_of<sort_key, Tags...> + detail::count_of<sort_key_by, Tags...>>();
        using reference = std::ranges::range_reference_t<Range>;
        using given = detail::given_item<Range, reference>;
        static_assert(std::constructible_from<T, given>, "the range's items cannot be made into the queue's");
        constexpr bool fits = (detail::takes_item<T, Tags> && ...);
        static_assert(fits,
                      "the f of partition_by{f} and of sort_key_by{f} must be callable with one of the queue's items, "
                      "as f(T const&)");
        if constexpr (!std::constructible_from<T, given> || !fits) {
            return 0;
        } else if constexpr (!keyed && !detail::weighed<table> && detail::count_of<partition_by, Tags...> == 0 &&
                             std::ranges::sized_range<Range> && std::ranges::contiguous_range<Range> &&
                             std::is_same_v<std::remove_cvref_t<reference>, T>) {
            return push_side_by_side<std::is_same_v<given, T&&>>(std::ranges::data(items), std::ranges::size(items),
                                                                 tags...);
        } else {
            typename queue::write_sequence const writes(*this);
            return detail::write_each(std::forward<Range>(items), [&](auto&& item) {
                if (writes.is_gone()) [[unlikely]]
                    return write_status::stopped;
                return push_one_of(std::forward<decltype(item)>(item), tags...);
            });
        }
    }

    /// The index of the partition that `partition_key{by}` leads to.
    template <typename K>
    std::size_t partition_of(K const& by) const {
        return this->partition_at(this->route_by(by));
    }

private:
    /// So many values at most go in under one lock.
    static constexpr std::size_t chunk = 256;

    template <typename... Tags>
    static constexpr void require_single_tags() {
        static_assert(detail::single_write_tags<Tags...>,
                      "after the item come tags: partition_key and, in a queue sorted by key, sort_key");
        require_sort_key<detail::count_of<sort_key, Tags...>>();
    }

    template <std::size_t Given>
    static constexpr void require_sort_key() {
        static_assert(!keyed || Given == 1, "every write to a queue sorted by key carries a sort key");
        static_assert(keyed || Given == 0, "only a queue sorted by key takes a sort key");
    }

    template <typename... Tags>
    auto route_for([[maybe_unused]] T const& item, Tags const&... tags) const {
        if constexpr (detail::count_of<partition_by, Tags...> == 1) {
            return in_order(this->route_by(std::invoke(detail::tag_in<partition_by>(tags...).f, item)));
        } else if constexpr (detail::count_of<partition_key, Tags...> == 1) {
            return in_order(this->route_by(detail::tag_in<partition_key>(tags...).key));
        } else {
            return this->route_by_thread();
        }
    }

    /// A striped partition has a producer's items in its own stripe, whatever brought them to the partition.
    route in_order(route to) const noexcept {
        if constexpr (striped) {
            return this->own_stripe_of(to);
        } else {
            return to;
        }
    }

    template <typename... Tags>
    static key key_for([[maybe_unused]] T const& item, Tags const&... tags) {
        if constexpr (detail::count_of<sort_key, Tags...> == 1) {
            return make_key(detail::tag_in<sort_key>(tags...).key);
        } else {
            return make_key(std::invoke(detail::tag_in<sort_key_by>(tags...).f, item));
        }
    }

    template <typename Given>
    static key make_key(Given&& given) {
        static_assert(std::is_convertible_v<Given, key> || std::is_constructible_v<key, Given>,
                      "the sort key cannot be made into the queue's key type");
        return static_cast<key>(std::forward<Given>(given));
    }

    /// The copy is made before the lock is taken, unless it is no user's code or the move behind it may throw.
    template <typename... Tags>
    write_status insert_copy(T const& item, Tags const&... tags) {
        if constexpr (std::is_trivially_copyable_v<T> || !std::is_nothrow_move_constructible_v<T>) {
            return insert(item, tags...);
        } else {
            return insert(T(item), tags...);
        }
    }

    /// Copies or moves `item` into its place under the lock, or by the stripe's owner.
    template <typename Item, typename... Tags>
    write_status insert(Item&& item, Tags const&... tags) {
        if constexpr (!keyed && detail::has_stretches<table> && sizeof...(Tags) == 0) {
            if (this->write_in_place([&](table& into) { into.emplace_in_stretch(std::forward<Item>(item)); }))
                [[likely]]
                return write_status::accepted;
            return insert_by_lock<as_argument<Item>>(std::forward<Item>(item));
        } else {
            return insert_with_look(std::forward<Item>(item), tags...);
        }
    }

    /// Not inlined, so that what is left in the caller is short. A small item stays in registers.
    template <typename Item>
    using as_argument =
        std::conditional_t<std::is_trivially_copyable_v<T> && sizeof(T) <= 2 * sizeof(void*), T, Item&&>;
    template <typename Item>
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    write_status
    insert_by_lock(Item item) {
        return insert_with_look(static_cast<Item&&>(item));
    }

    template <typename Item, typename... Tags>
    write_status insert_with_look(Item&& item, Tags const&... tags) {
        auto const to = route_for(item, tags...);
        if constexpr (keyed) {
            key sorts_by = key_for(item, tags...);
            return insert_into(to, item, [&](table& into) {
                into.emplace_keyed(std::move(sorts_by), std::forward<Item>(item));
                return write_status::accepted;
            });
        } else {
            return insert_into(to, item, [&](table& into) {
                into.emplace_back(std::forward<Item>(item));
                return write_status::accepted;
            });
        }
    }

    template <typename Route, typename F>
    write_status insert_into(Route to, [[maybe_unused]] T const& item, F f) {
        if constexpr (detail::weighed<table>) {
            auto const weight = table::weight_of(item);
            return this->write_weighed(to, weight, [&](table& into) {
                auto const status = f(into);
                into.add_weight(weight);
                return status;
            });
        } else {
            return this->write(to, f);
        }
    }

    template <typename... Tags, typename... Args>
    write_status emplace_after(std::tuple<Tags const&...> tags, Args&&... args) {
        if constexpr (detail::starts_with_tag<Args...>) {
            return peel_tag(tags, std::forward<Args>(args)...);
        } else {
            require_single_tags<Tags...>();
            return std::apply([&](Tags const&... each) { return insert(make(std::forward<Args>(args)...), each...); },
                              tags);
        }
    }

    template <typename... Tags, typename Tag, typename... Rest>
    write_status peel_tag(std::tuple<Tags const&...> tags, Tag const& tag, Rest&&... rest) {
        return emplace_after(std::tuple_cat(tags, std::tuple<Tag const&>(tag)), std::forward<Rest>(rest)...);
    }

#if defined(__GNUC__)
    // What a number may lose on its way into a `T` is its writer's concern, as with a container's `emplace`.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wfloat-conversion"
#endif
    template <typename... Args>
    static T make(Args&&... args) {
        if constexpr (std::is_constructible_v<T, Args...>) {
            return T(std::forward<Args>(args)...);
        } else if constexpr (requires { T{std::forward<Args>(args)...}; }) {
            return T{std::forward<Args>(args)...};
        } else {
            // Braces refuse a number that may not fit, where parentheses would take it.
            return T{detail::any_number(std::forward<Args>(args))...};
        }
    }
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

    template <typename Item, typename... Tags>
    write_status push_one_of(Item&& item, Tags const&... tags) {
        if constexpr (!std::is_same_v<std::remove_cvref_t<Item>, T>) {
            return insert(make(std::forward<Item>(item)), tags...);
        } else if constexpr (std::is_same_v<Item&&, T&&>) {
            return insert(std::move(item), tags...);
        } else {
            return insert_copy(item, tags...);
        }
    }

    template <bool Move, typename Item, typename... Tags>
    std::size_t push_side_by_side(Item* items, std::size_t count, Tags const&... tags) {
        std::size_t accepted = 0;
        if (count == 0) return accepted;
        auto const to = route_for(*items, tags...);
        typename queue::write_sequence const writes(*this);
        while (accepted < count && !writes.is_gone()) {
            auto const written =
                this->write_up_to((std::min)(count - accepted, chunk), to, [&](table& into, std::size_t n) {
                    if constexpr (Move && !(std::is_trivially_copyable_v<T> && std::is_copy_constructible_v<T>)) {
                        append(into, std::make_move_iterator(items + accepted), n);
                    } else {
                        append(into, items + accepted, n);
                    }
                    return write_status::accepted;
                });
            if (written == 0) break;
            accepted += written;
        }
        return accepted;
    }

    template <typename Iterator>
    static void append(table& into, Iterator from, std::size_t count) {
        if constexpr (requires { into.append(from, count); }) {
            into.append(from, count);
        } else {
            for (; count > 0; static_cast<void>(--count), ++from) into.emplace_back(*from);
        }
    }
};

}  // namespace tidefall::inline v0
