// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tidefall::inline v0::detail {

/// A number that a `size_t` can hold. A cast alone is one too many where that is the same type as `std::uint64_t`.
template <typename Number = std::uint64_t>
[[nodiscard]] constexpr std::size_t to_size(Number number) noexcept {
    if constexpr (std::is_same_v<Number, std::size_t>) {
        return number;
    } else {
        return static_cast<std::size_t>(number);
    }
}

}  // namespace tidefall::inline v0::detail
