// SPDX-License-Identifier: MIT
//
// The table of a hash_map, which a processor in table mode receives, and its entries.
#pragma once

#include <tidefall/detail/tables/flat_table.hpp>
#include <tidefall/results.hpp>
#include <tidefall/tags.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// What a hash map holds for a key and hands to the processor.
template <typename K, typename V, typename Version = std::uint64_t>
struct entry {
    K key{};
    V value{};
    Version version{};          ///< that of the last `put_newer`; `Version{}` after `put`
    std::uint64_t updates = 0;  ///< how often `put_newer` replaced the value, since the key came or the last `put`
};

/// The same for what has no default constructor: then the entry has none either.
template <typename K, typename V, typename Version>
    requires(!std::is_void_v<Version> && (!std::is_default_constructible_v<K> || !std::is_default_constructible_v<V>))
struct entry<K, V, Version> {
    K key;
    V value;
    Version version{};
    std::uint64_t updates = 0;
};

/// Where `Version` is void: a map without `put_newer`, whose entries are half as large where keys and values are
/// numbers.
template <typename K, typename V>
struct entry<K, V, void> {
    K key{};
    V value{};
};
template <typename K, typename V>
    requires(!std::is_default_constructible_v<K> || !std::is_default_constructible_v<V>)
struct entry<K, V, void> {
    K key;
    V value;
};

namespace detail {

/// What an entry without a version is written with.
struct no_version {};
template <typename Version>
using version_or_none = std::conditional_t<std::is_void_v<Version>, no_version, Version>;

/// True for a type by which entries may be looked up because hash and equality both take it beside `K`.
template <typename Q, typename K, typename Hash, typename KeyEqual>
concept transparent_key = requires(Q const& key, K const& held) {
    typename Hash::is_transparent;
    typename KeyEqual::is_transparent;
    static_cast<std::size_t>(Hash{}(key));
    static_cast<bool>(KeyEqual{}(held, key));
};

/// False where `Hash` cannot be called with a key.
template <typename Hash, typename K>
concept hashes = requires(K const& key) {
    static_cast<std::uint64_t>(Hash{}(key));
};

/// False where `KeyEqual` cannot be called with two keys.
template <typename KeyEqual, typename K>
concept equates = requires(K const& a, K const& b) {
    static_cast<bool>(KeyEqual{}(a, b));
};

/// The hash of an entry that lies in a table: only where it is neither the user's code nor able to throw.
template <typename Hash>
struct hash_of_entry {
    template <typename Entry>
    [[nodiscard]] std::uint64_t operator()(Entry const& of) const noexcept {
        return mixed_hash_by<Hash>(of.key);
    }
};
template <typename K, typename Hash>
using hash_in_place =
    std::conditional_t<std::is_same_v<Hash, std::hash<K>> && (std::is_arithmetic_v<K> || std::is_pointer_v<K>),
                       hash_of_entry<Hash>, void>;

/// What a write took the place of. It outlives the lock, so that its destructor runs without.
template <typename T>
class displaced {
public:
    /// Puts `with` where `value` is.
    void replace(T& value, T&& with) noexcept {
        if constexpr (!std::is_trivially_destructible_v<T>) old_.emplace(std::move(value));
        std::destroy_at(std::addressof(value));
        std::construct_at(std::addressof(value), std::move(with));
    }

private:
    std::optional<T> old_;
};

}  // namespace detail

/// The entries of one drained partition of a hash map, in no order: what a processor in table mode receives and owns.
/// A movable forward range of `entry<K, V, Version>`.
///
/// Entries lie flat in the slots of an open-addressed table, about 39 bytes each for a key and a value of 8 bytes just
/// before the table grows to twice its size, 77 after; 20 and 40 where `Version` is void. A hash that is the user's
/// code is kept beside its entry, 8 bytes more. Its memory is kept for the next filling, and freed where less than a
/// quarter was needed lately.
///
/// Thread safety: none; in a buffer the lock of its stripe guards it.
template <typename K, typename V, typename Hash = std::hash<K>, typename KeyEqual = std::equal_to<K>,
          typename Version = std::uint64_t>
class hash_map_table {
    using version = detail::version_or_none<Version>;

    static_assert(std::is_object_v<K> && !std::is_const_v<K> && std::is_object_v<V> && !std::is_const_v<V>,
                  "a hash map holds keys and values, not references or constants");
    static_assert(std::is_move_constructible_v<K> && std::is_move_constructible_v<V> &&
                      std::is_move_constructible_v<version>,
                  "a hash map's keys, values and versions are moved: give them a move or a copy constructor, or hold "
                  "them by std::unique_ptr");
    static_assert(!std::is_same_v<Hash, std::hash<K>> || detail::hashes<Hash, K>,
                  "there is no std::hash of the key: specialise std::hash<K>, or give the map a Hash of its own, "
                  "hash_map<K, V, Hash>");
    static_assert(!(std::is_move_constructible_v<K> && std::is_move_constructible_v<V> &&
                    std::is_move_constructible_v<version>) ||
                      (std::is_nothrow_move_constructible_v<K> && std::is_nothrow_move_constructible_v<V> &&
                       std::is_nothrow_move_constructible_v<version>),
                  "moves of a hash map's keys, values and versions must not throw");
    static_assert(std::is_nothrow_destructible_v<K> && std::is_nothrow_destructible_v<V> &&
                      std::is_nothrow_destructible_v<version>,
                  "destructors of a hash map's keys, values and versions must not throw");
    static_assert(std::is_default_constructible_v<Hash> && std::is_default_constructible_v<KeyEqual> &&
                      !std::is_pointer_v<Hash> && !std::is_pointer_v<KeyEqual>,
                  "the hash function and the equality of a hash map must be default-constructible, and no pointers");
    static_assert(std::is_same_v<Hash, std::hash<K>> || detail::hashes<Hash, K>,
                  "the hash function must be callable as Hash{}(key), and give a std::size_t");
    // Of two keys without an == that of std::equal_to tells by itself.
    static_assert(detail::equates<KeyEqual, K>, "the equality must be callable as KeyEqual{}(a, b), and give a bool");
    static_assert(std::is_default_constructible_v<version>, "versions must be default-constructible");
    static_assert(!std::is_floating_point_v<Version>, "versions must be totally ordered: floating point is not");
    static_assert(!std::is_floating_point_v<K> ||
                      (!std::is_same_v<Hash, std::hash<K>> && !std::is_same_v<KeyEqual, std::equal_to<K>> &&
                       !std::is_same_v<KeyEqual, std::equal_to<>>),
                  "floating-point keys need a hash and an equality of their own: NaN equals nothing, 0.0 equals -0.0");

    using entries = detail::flat_table<entry<K, V, Version>, detail::hash_in_place<K, Hash>>;

    template <typename Q>
    static constexpr bool looks_up = std::is_same_v<Q, K> || detail::transparent_key<Q, K, Hash, KeyEqual>;

public:
    using key_type = K;
    using mapped_type = V;
    using value_type = entry<K, V, Version>;
    using iterator = typename entries::iterator;
    using const_iterator = typename entries::const_iterator;

    hash_map_table() noexcept = default;

    friend void swap(hash_map_table& a, hash_map_table& b) noexcept { a.entries_.swap(b.entries_); }

    [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    [[nodiscard]] iterator begin() noexcept { return entries_.begin(); }
    [[nodiscard]] iterator end() noexcept { return entries_.end(); }
    [[nodiscard]] const_iterator begin() const noexcept { return entries_.begin(); }
    [[nodiscard]] const_iterator end() const noexcept { return entries_.end(); }

    /// The entry of a key, or `end()`. Expected O(1). `key` is a `K`, or any type that hash and equality take where
    /// both are transparent.
    [[nodiscard]] iterator find(K const& key) { return find_by(*this, key); }
    [[nodiscard]] const_iterator find(K const& key) const { return find_by(*this, key); }
    template <detail::transparent_key<K, Hash, KeyEqual> Q>
    [[nodiscard]] iterator find(Q const& key) {
        return find_by(*this, key);
    }
    template <detail::transparent_key<K, Hash, KeyEqual> Q>
    [[nodiscard]] const_iterator find(Q const& key) const {
        return find_by(*this, key);
    }

    // What the map's writes ask, with the hash of the key and under the lock of a stripe.

    /// The entry of a key; null if there is none.
    template <typename Q>
    [[nodiscard]] value_type const* held(std::uint64_t hash, Q const& key) const {
        auto const at = place_of(hash, key);
        return at.exists() ? std::addressof(entries_[at]) : nullptr;
    }

    /// What a `put` displaces, and what an `erase` takes out or an `update` does not insert after all: for its caller
    /// to destroy after the lock.
    struct displaced {
        detail::displaced<V> value;
        detail::displaced<hash_map_table::version> version;
    };
    using removed = std::optional<value_type>;

    /// Stores `value` under the key with the version `none`, over whatever was there.
    template <typename Key>
    write_status put(std::uint64_t hash, Key&& key, V&& value, version&& none, displaced& old) {
        if (auto const at = place_of(hash, key); at.exists()) {
            auto& held = entries_[at];
            old.value.replace(held.value, std::move(value));
            if constexpr (has_versions) {
                old.version.replace(held.version, std::move(none));
                held.updates = 0;
            }
        } else {
            insert(hash, std::forward<Key>(key), std::move(value), std::move(none));
        }
        return write_status::accepted;
    }

    /// The same if `newer` is greater than the one that is held; otherwise `stale`, and nothing has changed.
    template <typename Key>
    write_status put_newer(std::uint64_t hash, Key&& key, V&& value, version&& newer, displaced& old) {
        if (auto const at = place_of(hash, key); at.exists()) {
            auto& held = entries_[at];
            if (!static_cast<bool>(std::as_const(held.version) < std::as_const(newer))) return write_status::stale;
            old.value.replace(held.value, std::move(value));
            old.version.replace(held.version, std::move(newer));
            ++held.updates;
        } else {
            insert(hash, std::forward<Key>(key), std::move(value), std::move(newer));
        }
        return write_status::accepted;
    }

    /// Calls `change(V&)` with the value of the key; a new key starts from `first()`, and goes to `refused` if `change`
    /// throws.
    template <typename Key, typename First, typename Change>
    write_status update(std::uint64_t hash, Key&& key, First&& first, Change&& change, removed& refused) {
        if (auto const at = place_of(hash, key); at.exists()) {
            change(entries_[at].value);
        } else {
            entries_.insert(
                hash,
                [&] {
                    if constexpr (std::is_nothrow_invocable_v<First> &&
                                  std::is_nothrow_default_constructible_v<version>) {
                        return make(std::forward<Key>(key), std::forward<First>(first), version{});
                    } else {
                        // Key last: g++ 11 forgets the members of an aggregate that were made before one that throws.
                        V value(std::forward<First>(first)());
                        version none{};
                        return make(std::forward<Key>(key), taken{value}, std::move(none));
                    }
                },
                [&](value_type& made) {
                    try {
                        change(made.value);
                    } catch (...) {
                        refused.emplace(std::move(made));
                        throw;
                    }
                });
        }
        return write_status::accepted;
    }

    template <typename Q>
    void erase(std::uint64_t hash, Q const& key, removed& out) {
        if (auto const at = place_of(hash, key); at.exists()) out.emplace(entries_.erase(at));
    }

    // What the engine asks of a table; see the concept `table`.

    std::span<value_type> take(std::size_t most) noexcept { return entries_.take(most); }
    void clear() noexcept { entries_.clear(); }
    void shrink_to_fit() noexcept { entries_.shrink_to_fit(); }
    void reserve(std::size_t size) { entries_.reserve(size); }
    void absorb(hash_map_table&& other) { entries_.absorb(std::move(other.entries_)); }

private:
    template <typename Self, typename Q>
    static auto find_by(Self& self, Q const& key) {
        auto const at = self.place_of(detail::mixed_hash_by<Hash>(key), key);
        return at.exists() ? self.entries_.iterator_to(at) : self.end();
    }

    template <typename Q>
    [[nodiscard]] typename entries::place place_of(std::uint64_t hash, Q const& key) const {
        static_assert(looks_up<Q>);
        return entries_.find(
            hash, [&key](value_type const& candidate) { return static_cast<bool>(KeyEqual{}(candidate.key, key)); });
    }

    template <typename Key>
    void insert(std::uint64_t hash, Key&& key, V&& value, version&& first) {
        entries_.insert(
            hash, [&] { return make(std::forward<Key>(key), taken{value}, std::move(first)); },
            [](value_type&) noexcept {});
    }

    /// Moves a value into an entry.
    struct taken {
        V& value;
        V operator()() noexcept { return std::move(value); }
    };

    /// The value is what `from()` returns, made in its place.
    template <typename Key, typename From>
    static value_type make(Key&& key, From&& from, [[maybe_unused]] version&& first) {
        if constexpr (has_versions) {
            return {K(std::forward<Key>(key)), std::forward<From>(from)(), std::move(first), 0};
        } else {
            return {K(std::forward<Key>(key)), std::forward<From>(from)()};
        }
    }

    static constexpr bool has_versions = !std::is_void_v<Version>;

    entries entries_;
};

}  // namespace tidefall::inline v0
