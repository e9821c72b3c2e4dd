// SPDX-License-Identifier: MIT
//
// hash_map<K, V>: many threads write, same-key writes coalesce, one callable receives the entries in batches.
//
//     tidefall::hash_map<std::string, profile> profiles(
//         {.name = "profiles", .processing_interval = 1s},
//         [&](std::span<tidefall::entry<std::string, profile>> batch) { store.upsert(batch); });
//
//     profiles.put("user-1", p);                                    // the last write wins
//     profiles.put_newer("user-1", p, 42);                          // the newest version wins
//     profiles.update("user-1", [](profile& q) { ++q.visits; });    // every change counts
//     profiles.stop();                                              // drains; the destructor does it too
#pragma once

#include <tidefall/buffer.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/write/bulk_write.hpp>
#include <tidefall/hash_map_table.hpp>
#include <tidefall/string_hash.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {
namespace detail {

/// The last version that a `put_newer` without one drew. On a cache line of its own: many threads draw.
struct alignas(64) version_source {
    atomic<std::uint64_t> last{0};
};
inline constinit version_source versions{};

/// A version greater than all that were drawn before, in the whole process.
[[nodiscard]] inline std::uint64_t next_version() noexcept {
    // Relaxed: the order of one variable's changes is all that is wanted.
    return versions.last.fetch_add(1, std::memory_order_relaxed) + 1;
}

/// True where `To` may silently be made from what is given; not an integer from a floating-point number.
template <typename Given, typename To>
inline constexpr bool converts_to = std::is_convertible_v<Given, To> &&
                                    !(std::is_floating_point_v<std::remove_cvref_t<Given>> && std::is_integral_v<To>);

template <typename T>
concept any_tag = is_bulk_tag<std::remove_cvref_t<T>>;
template <typename T>
concept no_tag = !any_tag<T>;

/// True for what `update` may call with a `V`.
template <typename F, typename V>
concept changes = std::invocable<F&, V&>;

/// Whether `F` has one call operator whose parameter is exactly a `Parameter`, which it answers with an `R`. The
/// parameter `auto&&` is exactly a `V&` and no `V`; `auto` is both.
template <typename F, typename R, typename Parameter>
inline constexpr bool has_call_with = requires {
    static_cast<R (F::*)(Parameter) const>(&F::operator());
}
|| requires {
    static_cast<R (F::*)(Parameter)>(&F::operator());
}
|| requires {
    static_cast<R (*)(Parameter)>(&F::operator());
};

/// False for a function that `update` could call, and that could not change the value: one that takes it by value or
/// as a constant. It could be called with an rvalue, where a `V&` could not. (What takes an rvalue is asked, and not
/// what takes a constant: that would compile the body of a generic lambda with one.) Some functions can do both: an
/// `auto&&`, one of several overloads, and a member function.
template <typename F, typename V>
constexpr bool changes_in_place() {
    using function = std::remove_cvref_t<F>;
    if constexpr (std::is_member_pointer_v<function>) {
        return !std::is_invocable_v<function, V const&>;
    } else {
        using result = std::invoke_result_t<F&, V&>;
        if constexpr (has_call_with<function, result, V&> && !has_call_with<function, result, V>) {
            return true;
        } else {
            return !std::is_invocable_v<F&, V>;
        }
    }
}

/// A part of an item that was taken apart, to be moved from where the item may be.
template <typename Item, typename Part>
decltype(auto) part_of(std::remove_reference_t<Part>& part) noexcept {
    return static_cast<std::conditional_t<std::is_lvalue_reference_v<Item>, Part&, Part&&>>(part);
}

/// Calls `f` with the members `key` and `value` of an item, or with its two parts (pairs, tuples, plain structs), as
/// rvalues where the item is one.
template <typename Item, typename F>
decltype(auto) with_key_and_value(Item&& item, F&& f) {
    if constexpr (requires { item.key, item.value; }) {
        return f(std::forward<Item>(item).key, std::forward<Item>(item).value);
    } else {
        auto&& [key, value] = item;
        return f(part_of<Item, decltype(key)>(key), part_of<Item, decltype(value)>(value));
    }
}

/// The same with `version`, or a third part.
template <typename Item, typename F>
decltype(auto) with_key_value_and_version(Item&& item, F&& f) {
    if constexpr (requires { item.key, item.value, item.version; }) {
        return f(std::forward<Item>(item).key, std::forward<Item>(item).value, std::forward<Item>(item).version);
    } else {
        auto&& [key, value, third] = item;
        return f(part_of<Item, decltype(key)>(key), part_of<Item, decltype(value)>(value),
                 part_of<Item, decltype(third)>(third));
    }
}

}  // namespace detail

/// Accumulates the state of keys and delivers one entry a key and tick. Use it where only the last state, the newest
/// version or a sum matters; where every write must arrive by itself, take a `queue`.
///
/// What coalescing means: between two ticks all writes to one key leave one `entry`, and the processor sees that entry
/// alone, in no particular order among the keys. A write that changed an entry already there is counted in
/// `stats().coalesced`. Each tick begins with an empty table: a later tick may deliver the same key again, `update`
/// starts from a new value again, and versions are compared with those of the same tick only. So a sink adds up what
/// `update` accumulated, and compares versions itself where older ones must never win.
///
/// `K`, `V` and `Version` are moved without throwing and never assigned; they need not be copyable, nor `V`
/// default-constructible where `update` is given a first value. `Hash` and `KeyEqual` are default-constructed for
/// each use. `Version` is any default-constructible type with a total order, not floating point; or void, for a map
/// without `put_newer`, whose entries have neither `version` nor `updates` and need less memory. Keys that an adversary
/// chooses need a `Hash` that he cannot foresee: entries of equal hash stay correct, but each costs a look at all
/// before it.
///
/// A key is a `K` or what converts to one; where `Hash` and `KeyEqual` are both transparent, it is looked up as it is,
/// and made into a `K` only if it is new, under the lock. A value is a `V` or what converts to one, a version likewise;
/// integers convert as by a cast. Every call takes a `partition_key` as its last argument, which routes it instead of
/// the key's hash, all keys of one such tag to one lock: then every call on that key must take the same one.
///
/// A write takes one spinning lock and waits for nothing else, but at a capacity with `overflow_policy::block`. A
/// partition that is full takes what only changes a key that it holds. It allocates only where a table grows past what
/// it held lately, and moves its entries then. What a copy, hash, equality or an allocation throws reaches the writer,
/// and nothing has changed. Loss, threads, stop: see `buffer`.
template <typename K, typename V, typename Hash = std::hash<K>, typename KeyEqual = std::equal_to<K>,
          typename Version = std::uint64_t>
class hash_map : public buffer<hash_map_table<K, V, Hash, KeyEqual, Version>> {
    using table = hash_map_table<K, V, Hash, KeyEqual, Version>;
    using base = buffer<table>;

public:
    using key_type = K;
    using mapped_type = V;
    using version_type = Version;
    using typename base::value_type;

    /// As `buffer` says; `value_type` is `entry<K, V, Version>`. In table mode the processor receives a
    /// `hash_map_table`, with all entries of the partition and `find`.
    template <typename Processor, typename Undelivered = discard_undelivered>
    explicit hash_map(options how, Processor&& process, Undelivered&& undelivered = {})
        : base(std::move(how), std::forward<Processor>(process), std::forward<Undelivered>(undelivered),
               base::many_stripes) {}

    /// Stores a value over whatever the key held, with version `Version{}` and `updates` 0. Answers `accepted`,
    /// `full` or `stopped`; in the latter cases rvalues are untouched.
    template <typename Key = K, typename Value = V, typename... Tags>
    write_status put(Key&& key, Value&& value, Tags const&... tags) {
        auto&& made = as_value(std::forward<Value>(value));
        detail::version_or_none<Version> none{};
        typename table::displaced old;
        return store(
            std::forward<Key>(key),
            [&](table& into, std::uint64_t hash, auto&& by) {
                return into.put(hash, std::forward<decltype(by)>(by), std::move(made), std::move(none), old);
            },
            tags...);
    }

    /// Stores a value if the key is new, or if `newer` is greater than the version it holds; then `updates` grows by 1.
    /// Otherwise answers `stale`, and rvalues are untouched.
    template <typename Key = K, typename Value = V, detail::no_tag Given = detail::version_or_none<Version>,
              typename... Tags>
    write_status put_newer(Key&& key, Value&& value, Given&& newer, Tags const&... tags) {
        static_assert(!std::is_void_v<Version>, "put_newer needs a map with versions: the one of this map is void");
        static_assert(detail::converts_to<Given, detail::version_or_none<Version>>,
                      "the version cannot be made into the map's version type");
        auto&& made = as_value(std::forward<Value>(value));
        auto&& its_version = as<detail::version_or_none<Version>>(std::forward<Given>(newer));
        typename table::displaced old;
        return store(
            std::forward<Key>(key),
            [&](table& into, std::uint64_t hash, auto&& by) {
                return into.put_newer(hash, std::forward<decltype(by)>(by), std::move(made), std::move(its_version),
                                      old);
            },
            tags...);
    }

    /// The same with a version greater than all that were drawn in the process before (by its shared object, where the
    /// library's symbols are hidden): of two calls, of which one returned before the other began, the later wins. Not
    /// meant to be mixed with explicit versions on one key.
    template <typename Key = K, typename Value = V, detail::any_tag... Tags>
    write_status put_newer(Key&& key, Value&& value, Tags const&... tags) {
        static_assert(std::is_integral_v<Version> && sizeof(detail::version_or_none<Version>) == 8,
                      "put_newer without a version needs a map whose version type is an integer of 64 bits");
        return put_newer(std::forward<Key>(key), std::forward<Value>(value),
                         static_cast<Version>(detail::next_version()), tags...);
    }

    /// Changes the value of a key in its place: calls `change(V&)`. A new key starts from `V{}`, or from `first` in the
    /// second form. Version and `updates` stay, and are `Version{}` and 0 for a new key. What `change` returns is
    /// discarded. One that takes its argument by value or as a constant could change a copy at most, and does not
    /// compile.
    ///
    /// `change` runs under a spinning lock: it must be short and must not call this buffer, which debug builds assert.
    /// If it throws, a key that was there keeps what it wrote, a new key is not inserted (`key` and `first` may have
    /// been moved from), and nothing is counted.
    template <typename Key = K, detail::changes<V> Change, detail::any_tag... Tags>
    write_status update(Key&& key, Change&& change, Tags const&... tags) {
        static_assert(detail::changes_in_place<Change, V>(),
                      "update changes the value in its place: its function must take a V&; this one could change a "
                      "copy at most");
        static_assert(!detail::changes_in_place<Change, V>() || std::is_default_constructible_v<V>,
                      "update(key, f) starts a new key from V{}, and this V has no default constructor: say what a new "
                      "key starts from, as in update(key, first, f)");
        if constexpr (detail::changes_in_place<Change, V>() && std::is_default_constructible_v<V>) {
            return change_or_insert(
                std::forward<Key>(key), []() noexcept(noexcept(V())) { return V(); }, change, tags...);
        } else {
            return write_status::stopped;
        }
    }
    /// The same, where a new key starts from `first`.
    template <typename Key = K, typename First = V, detail::changes<V> Change, detail::any_tag... Tags>
    write_status update(Key&& key, First&& first, Change&& change, Tags const&... tags) {
        static_assert(detail::changes_in_place<Change, V>(),
                      "update changes the value in its place: its function must take a V&; this one could change a "
                      "copy at most");
        static_assert(detail::converts_to<First, V>, "the first value cannot be made into the map's value type");
        if constexpr (detail::changes_in_place<Change, V>() && detail::converts_to<First, V>) {
            auto const begin = [&]() noexcept(noexcept(static_cast<V>(std::forward<First>(first)))) {
                return static_cast<V>(std::forward<First>(first));
            };
            return change_or_insert(std::forward<Key>(key), begin, change, tags...);
        } else {
            return write_status::stopped;
        }
    }

    /// Puts the pairs of a range: a map, or any range of pair-likes or of structs with `key` and `value`. Goes up to
    /// the first that is answered `full` or `stopped`, returns how many were accepted. Copies from an lvalue or a view,
    /// moves from a container given as an rvalue. `tags`: `partition_key`, or `partition_by{f}` with `f(pair)`, or
    /// `f(key)` where that does not compile. If anything throws, the pairs before it stay.
    template <std::ranges::input_range Range, typename... Tags>
    std::size_t put_all(Range&& pairs, Tags const&... tags) {
        static_assert(std::is_class_v<std::ranges::range_value_t<Range>>,
                      "put_all takes a range of pairs, or of structs with a key and a value");
        require_bulk_tags<Tags...>();
        return detail::write_each(std::forward<Range>(pairs), [&](auto&& pair) {
            return detail::with_key_and_value(std::forward<decltype(pair)>(pair), [&](auto&& key, auto&& value) {
                return with_routing(pair, key, tags..., [&](auto const&... routing) {
                    return put(std::forward<decltype(key)>(key), std::forward<decltype(value)>(value), routing...);
                });
            });
        });
    }

    /// The same with `put_newer` for a range of `{key, value, version}`: tuples, or structs, of those names or of three
    /// members. What is stale is passed over, and counted in `stats().refused`.
    template <std::ranges::input_range Range, typename... Tags>
    std::size_t put_all_newer(Range&& triples, Tags const&... tags) {
        static_assert(std::is_class_v<std::ranges::range_value_t<Range>>,
                      "put_all_newer takes a range of tuples, or of structs with a key, a value and a version");
        require_bulk_tags<Tags...>();
        return detail::write_each(std::forward<Range>(triples), [&](auto&& triple) {
            return detail::with_key_value_and_version(
                std::forward<decltype(triple)>(triple), [&](auto&& key, auto&& value, auto&& newer) {
                    return with_routing(triple, key, tags..., [&](auto const&... routing) {
                        return put_newer(std::forward<decltype(key)>(key), std::forward<decltype(value)>(value),
                                         std::forward<decltype(newer)>(newer), routing...);
                    });
                });
        });
    }

    /// A copy of what the key holds in the write table, made under the lock. Nothing once the value was swapped out
    /// to be processed, and after stop.
    template <typename Key = K, typename... Tags>
    std::optional<V> get(Key const& key, Tags const&... tags) const {
        static_assert(std::is_copy_constructible_v<V>, "get copies the value");
        std::optional<V> found;
        look(
            key, [&](value_type const& held) { found.emplace(held.value); }, tags...);
        return found;
    }

    /// The same, or `fallback`.
    template <typename Key = K, typename Fallback = V, typename... Tags>
    V get_or(Key const& key, Fallback&& fallback, Tags const&... tags) const {
        static_assert(detail::converts_to<Fallback, V>, "the fallback cannot be made into the map's value type");
        if (auto found = get(key, tags...)) return std::move(*found);
        return static_cast<V>(std::forward<Fallback>(fallback));
    }

    /// True if `get` would find something.
    template <typename Key = K, typename... Tags>
    bool contains(Key const& key, Tags const&... tags) const {
        bool found = false;
        look(
            key, [&](value_type const&) { found = true; }, tags...);
        return found;
    }

    /// Takes an entry out of the write table, and destroys it. True if there was one.
    template <typename Key = K, typename... Tags>
    bool erase(Key const& key, Tags const&... tags) {
        auto const& by = as_key(key);
        auto const hash = hash_of(by);
        typename table::removed out;
        return this->remove(route_of(hash, tags...), [&](table& from) { from.erase(hash, by, out); }) > 0;
    }

    /// Takes an entry out of the write table, and gives it to the caller. It counts as erased. Nothing where `get`
    /// would find nothing.
    template <typename Key = K, typename... Tags>
    std::optional<value_type> extract(Key const& key, Tags const&... tags) {
        auto const& by = as_key(key);
        auto const hash = hash_of(by);
        typename table::removed out;
        this->remove(route_of(hash, tags...), [&](table& from) { from.erase(hash, by, out); });
        return out;
    }

    /// Calls `f(entry const&)` for each entry that waits, stripe by stripe, under the lock of its stripe: `f` must be
    /// short and must not call this buffer, which debug builds assert. In no order; entries that are written, or
    /// swapped out, meanwhile are seen or not. What `f` throws ends it and passes. Nothing after stop.
    template <typename F>
    void visit(F&& f) const {
        static_assert(std::is_invocable_v<F&, value_type const&>, "visit calls f(entry const&)");
        this->read_all([&](table const& from) {
            for (value_type const& one : from) static_cast<void>(std::invoke(f, one));
        });
    }

    /// The index of the partition that a key goes to.
    template <typename Key = K, typename... Tags>
    std::size_t partition_of(Key const& key, Tags const&... tags) const {
        auto const& by = as_key(key);
        return this->partition_at(route_of(hash_of(by), tags...));
    }

private:
    template <typename Q>
    static constexpr bool looked_up_as_it_is =
        std::is_same_v<std::remove_cvref_t<Q>, K> || detail::transparent_key<std::remove_cvref_t<Q>, K, Hash, KeyEqual>;

    /// What was given if it is a `T` rvalue, otherwise a `T` made from it.
    template <typename T, typename Given>
    static decltype(auto) as(Given&& given) {
        if constexpr (std::is_same_v<Given&&, T&&>) {
            return std::forward<Given>(given);
        } else {
            return static_cast<T>(std::forward<Given>(given));
        }
    }

    template <typename Value>
    static decltype(auto) as_value(Value&& value) {
        static_assert(detail::converts_to<Value, V>, "the value cannot be made into the map's value type");
        return as<V>(std::forward<Value>(value));
    }

    /// What was given if the table can be asked for it, otherwise a `K` made from it.
    template <typename Key>
    static decltype(auto) as_key(Key&& key) {
        if constexpr (looked_up_as_it_is<Key>) {
            return std::forward<Key>(key);
        } else {
            static_assert(detail::converts_to<Key, K>,
                          "the key is no map key: it cannot be made into one, nor do hash and equality take it as "
                          "transparent ones would");
            return static_cast<K>(std::forward<Key>(key));
        }
    }

    template <typename Q>
    static std::uint64_t hash_of(Q const& key) {
        return detail::mixed_hash_by<Hash>(key);
    }

    template <typename... Tags>
    route route_of(std::uint64_t hash, Tags const&... tags) const {
        static_assert(detail::single_write_tags<Tags...> && detail::count_of<sort_key, Tags...> == 0,
                      "the one tag that a hash map takes is partition_key, last");
        if constexpr (sizeof...(Tags) == 1) {
            return this->route_by(detail::tag_in<partition_key>(tags...).key);
        } else {
            return this->route_by_hash(hash);
        }
    }

    /// Runs `write(table, hash, key)` under the lock that the key's hash, or the tag, picks.
    template <typename Key, typename Write, typename... Tags>
    write_status store(Key&& key, Write write, Tags const&... tags) {
        auto&& by = as_key(std::forward<Key>(key));
        static_assert(std::is_constructible_v<K, decltype(by)>, "the key cannot be made into the map's key type");
        auto const hash = hash_of(by);
        // A full partition takes a write that only changes what it holds.
        return this->write(
            route_of(hash, tags...), [&](table& into) { return write(into, hash, std::forward<decltype(by)>(by)); },
            [&](table const& in) { return holds<std::remove_cvref_t<decltype(by)>>(in, hash, by); });
    }

    /// Apart, and with the key by value where that is cheap, so that a put keeps it in a register.
    template <typename Q>
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    static bool
    holds(table const& in, std::uint64_t hash,
          std::conditional_t<std::is_trivially_copyable_v<Q> && !std::is_array_v<Q> && sizeof(Q) <= sizeof(void*), Q,
                             Q const&>
              key) {
        return in.held(hash, key) != nullptr;
    }

    template <typename Key, typename First, typename Change, typename... Tags>
    write_status change_or_insert(Key&& key, First first, Change& change, Tags const&... tags) {
        using result = std::remove_cv_t<std::invoke_result_t<Change&, V&>>;
        constexpr bool keeps = std::is_object_v<result> && std::is_move_constructible_v<result> &&
                               !std::is_trivially_destructible_v<result>;
        // Both are destroyed after the lock.
        [[maybe_unused]] std::conditional_t<keeps, std::optional<result>, int> returned{};
        typename table::removed refused;
        auto const run = [&](V& value) {
            if constexpr (keeps) {
                returned.emplace(std::invoke(change, value));
            } else {
                static_cast<void>(std::invoke(change, value));
            }
        };
        return store(
            std::forward<Key>(key),
            [&](table& into, std::uint64_t hash, auto&& by) {
                return into.update(hash, std::forward<decltype(by)>(by), first, run, refused);
            },
            tags...);
    }

    template <typename Key, typename Seen, typename... Tags>
    void look(Key const& key, Seen seen, Tags const&... tags) const {
        auto const& by = as_key(key);
        auto const hash = hash_of(by);
        this->read(route_of(hash, tags...), [&](table const& in) {
            if (auto const* const held = in.held(hash, by)) seen(*held);
        });
    }

    template <typename... Tags>
    static constexpr void require_bulk_tags() {
        static_assert(detail::bulk_write_tags<Tags...> && sizeof...(Tags) <= 1 &&
                          detail::count_of<sort_key, Tags...> + detail::count_of<sort_key_by, Tags...> == 0,
                      "after the range comes one tag at most: partition_key or partition_by");
    }

    /// Calls `write` with the tag that routes this item of a bulk write, if there is one.
    template <typename Item, typename Key, typename Write>
    static decltype(auto) with_routing(Item const&, Key const&, Write write) {
        return write();
    }
    template <typename Item, typename Key, typename Tag, typename Write>
    static decltype(auto) with_routing(Item const& item, Key const& key, Tag const& tag, Write write) {
        if constexpr (detail::is_tag<partition_by, Tag>) {
            constexpr bool by_item = detail::takes_item<Item, Tag>;
            static_assert(by_item || detail::takes_item<Key, Tag>,
                          "the f of partition_by{f} must be callable with one of the range's pairs, or with its key");
            if constexpr (by_item) {
                return write(partition_key{std::invoke(tag.f, item)});
            } else if constexpr (detail::takes_item<Key, Tag>) {
                return write(partition_key{std::invoke(tag.f, key)});
            } else {
                return write();
            }
        } else {
            return write(tag);
        }
    }
};

}  // namespace tidefall::inline v0
