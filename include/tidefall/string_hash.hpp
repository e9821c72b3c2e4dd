// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <functional>
#include <string_view>

namespace tidefall::inline v0 {

/// A hash of text, whatever holds it: with `std::equal_to<>` a map of strings is asked, and written to, by what
/// converts to a `std::string_view`, and makes a string of that for a new key alone.
///
///     tidefall::hash_map<std::string, int, tidefall::string_hash, std::equal_to<>> counts(…);
///     counts.update("user-1", [](int& n) { ++n; });
struct string_hash {
    using is_transparent = void;
    [[nodiscard]] std::size_t operator()(std::string_view text) const noexcept {
        return std::hash<std::string_view>{}(text);
    }
};

}  // namespace tidefall::inline v0
