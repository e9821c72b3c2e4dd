// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/results.hpp>

#include <cstddef>
#include <ranges>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0::detail {

/// True for a range whose items are its own and may be moved out of it: a container given as an rvalue.
template <typename Range>
inline constexpr bool gives_its_items = !std::is_lvalue_reference_v<Range> && !std::ranges::borrowed_range<Range> &&
                                        !std::ranges::view<std::remove_cvref_t<Range>>;

/// How a bulk write hands on an item that its range refers to by `Reference`.
template <typename Range, typename Reference>
using given_item = std::conditional_t<gives_its_items<Range>, std::remove_reference_t<Reference>&&, Reference&&>;

/// Writes item after item; passes over what is stale, and ends where the buffer takes no more. Returns the number
/// accepted.
template <typename Range, typename Write>
std::size_t write_each(Range&& items, Write write) {
    std::size_t accepted = 0;
    for (auto&& item : items) {
        auto const status = write(static_cast<given_item<Range, decltype(item)>>(item));
        if (status == write_status::accepted) {
            ++accepted;
        } else if (status != write_status::stale) {
            break;
        }
    }
    return accepted;
}

}  // namespace tidefall::inline v0::detail
