// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tidefall::inline v0::detail {

/// Sorts stably, and stays within its memory whatever `less` answers: every index is bounded by the loop and not by a
/// comparison, which std::sort and std::stable_sort do not promise. An order that contradicts itself gives some
/// permutation. `spare` is as long as `items`; nothing is allocated. If `less` throws, `items` holds any mixture.
template <typename Item, typename Less>
void stable_sort(std::vector<Item>& items, std::vector<Item>& spare, Less less) {
    constexpr std::size_t short_run = 16;
    std::size_t const count = items.size();
    for (std::size_t low = 0; low < count; low += short_run) {
        std::size_t const high = (std::min)(low + short_run, count);
        for (std::size_t i = low + 1; i < high; ++i) {
            Item const item = items[i];
            std::size_t at = i;
            for (; at > low && less(item, items[at - 1]); --at) items[at] = items[at - 1];
            items[at] = item;
        }
    }
    for (std::size_t width = short_run; width < count; width *= 2) {
        for (std::size_t low = 0; low < count; low += 2 * width) {
            std::size_t const middle = (std::min)(low + width, count);
            std::size_t const high = (std::min)(middle + width, count);
            std::size_t left = low;
            std::size_t right = middle;
            for (std::size_t at = low; at < high; ++at) {
                bool const take_right = right < high && (left == middle || less(items[right], items[left]));
                spare[at] = take_right ? items[right++] : items[left++];
            }
        }
        items.swap(spare);
    }
}

}  // namespace tidefall::inline v0::detail
