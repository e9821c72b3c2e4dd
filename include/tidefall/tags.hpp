// SPDX-License-Identifier: MIT
//
// Tags that follow the values of a write: where they go and how they sort. In any order, each at most once.
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {
namespace detail {

/// How a tag holds what it was given: small values by copy (bit-fields too), everything else by reference.
template <typename K>
using tag_storage =
    std::conditional_t<std::is_trivially_copyable_v<K> && !std::is_array_v<K> && sizeof(K) <= 16, K, K const&>;

}  // namespace detail

/// Routes a write by the hash of `key`, any type that std::hash knows; a character array or pointer is hashed as a
/// string. Holds a large key by reference, for the call that it is written in.
template <typename K>
struct partition_key {
    K key;
};
template <typename K>
partition_key(K const&) -> partition_key<detail::tag_storage<K>>;

/// Routes each value of a bulk write by the hash of `f(value)`; `f` may be a pointer to a member.
template <typename F>
struct partition_by {
    F f;
};
template <typename F>
partition_by(F) -> partition_by<F>;

/// The sort key of a write to a queue `sorted_by_key`.
template <typename K>
struct sort_key {
    K key;
};
template <typename K>
sort_key(K const&) -> sort_key<detail::tag_storage<K>>;

/// The sort key of each value of a bulk write: `f(value)`.
template <typename F>
struct sort_key_by {
    F f;
};
template <typename F>
sort_key_by(F) -> sort_key_by<F>;

namespace detail {

template <template <typename> typename Tag, typename T>
inline constexpr bool is_tag = false;
template <template <typename> typename Tag, typename K>
inline constexpr bool is_tag<Tag, Tag<K>> = true;

template <typename T>
inline constexpr bool is_single_tag = is_tag<partition_key, T> || is_tag<sort_key, T>;
template <typename T>
inline constexpr bool is_bulk_tag = is_single_tag<T> || is_tag<partition_by, T> || is_tag<sort_key_by, T>;

template <typename... Args>
inline constexpr bool starts_with_tag = false;
template <typename First, typename... Rest>
inline constexpr bool starts_with_tag<First, Rest...> = is_single_tag<std::remove_cvref_t<First>>;

template <template <typename> typename Tag, typename... Ts>
inline constexpr std::size_t count_of = (std::size_t{0} + ... + std::size_t{is_tag<Tag, Ts>});

/// No tag twice, and no two that say the same thing in two ways.
template <typename... Tags>
inline constexpr bool at_most_once = count_of<partition_key, Tags...> + count_of<partition_by, Tags...> <= 1 &&
                                     count_of<sort_key, Tags...> + count_of<sort_key_by, Tags...> <= 1;

template <typename... Tags>
concept single_write_tags = (is_single_tag<Tags> && ...) && at_most_once<Tags...>;
template <typename... Tags>
concept bulk_write_tags = (is_bulk_tag<Tags> && ...) && at_most_once<Tags...>;

/// The tag of this kind among several; there is one.
template <template <typename> typename Tag, typename First, typename... Rest>
[[nodiscard]] constexpr auto const& tag_in(First const& first, Rest const&... rest) noexcept {
    if constexpr (is_tag<Tag, First>)
        return first;
    else
        return tag_in<Tag>(rest...);
}

/// False where one of the tags has an `f` that cannot be called with an `Item`.
template <typename Item, typename Tag>
inline constexpr bool takes_item = true;
template <typename Item, typename F>
inline constexpr bool takes_item<Item, partition_by<F>> = std::is_invocable_v<F const&, Item const&>;
template <typename Item, typename F>
inline constexpr bool takes_item<Item, sort_key_by<F>> = std::is_invocable_v<F const&, Item const&>;

/// Spreads the bits of a hash, of which std::hash of an integer is the integer: both halves of a product with an odd
/// number, or, where there is no product of 128 bits, the finaliser of splitmix64.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t bits) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using wide = unsigned __int128;
    auto const product = static_cast<wide>(bits ^ 0x2d358dccaa6c78a5U) * 0x9e3779b97f4a7c15U;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
    bits ^= bits >> 30;
    bits *= 0xbf58476d1ce4e5b9U;
    bits ^= bits >> 27;
    bits *= 0x94d049bb133111ebU;
    return bits ^ (bits >> 31);
#endif
}

template <typename T>
inline constexpr bool is_character =
    std::is_same_v<T, char> || std::is_same_v<T, wchar_t> || std::is_same_v<T, char8_t> ||
    std::is_same_v<T, char16_t> || std::is_same_v<T, char32_t>;

/// The hash of a key, mixed. A `std::size_t` of 32 bits holds a half of a longer integer, and std::hash gives that
/// half: there the integer itself is mixed, so that keys of any stride spread.
template <typename Hash, typename Q>
[[nodiscard]] std::uint64_t mixed_hash_by(Q const& key) {
    if constexpr (std::is_same_v<Hash, std::hash<Q>> && std::is_integral_v<Q> && sizeof(Q) > sizeof(std::size_t) &&
                  sizeof(Q) == sizeof(std::uint64_t)) {
        return mix(static_cast<std::uint64_t>(key));
    } else {
        return mix(static_cast<std::uint64_t>(Hash{}(key)));
    }
}

/// True for a character array or pointer, which is hashed as a string.
template <typename K>
inline constexpr bool is_c_string =
    std::is_pointer_v<std::decay_t<K>>&& is_character<std::remove_cv_t<std::remove_pointer_t<std::decay_t<K>>>>;

/// True for what routes a write: what is hashed as a string, or has a std::hash.
template <typename K>
inline constexpr bool is_hashed = is_c_string<K> || std::is_invocable_r_v<std::size_t, std::hash<K>, K const&>;

template <typename K>
[[nodiscard]] std::uint64_t mixed_hash(K const& key) {
    static_assert(is_hashed<K>,
                  "what routes a write, a partition_key or the result of partition_by, needs a std::hash: give a part "
                  "that has one, such as a number or a string, or specialise std::hash");
    if constexpr (is_c_string<K>) {
        using element = std::remove_cv_t<std::remove_pointer_t<std::decay_t<K>>>;
        std::basic_string_view<element> text;
        if constexpr (std::is_array_v<K>) {
            text = std::basic_string_view<element>(key, std::extent_v<K>);
            text = text.substr(0, text.find(element{}));
        } else {
            text = std::basic_string_view<element>(key);
        }
        return mixed_hash_by<std::hash<std::basic_string_view<element>>>(text);
    } else if constexpr (is_hashed<K>) {
        return mixed_hash_by<std::hash<K>>(key);
    } else {
        return 0;
    }
}

}  // namespace detail
}  // namespace tidefall::inline v0
