// SPDX-License-Identifier: MIT
//
// What the text of an option says, whatever the locale.
#pragma once

#include <tidefall/version.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0::detail {

constexpr bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

/// Takes the number that `text` begins with. False if there is none, or one above `most`, which is at least 9.
template <std::unsigned_integral Number>
constexpr bool take_number(std::string_view& text, Number most, Number& into) noexcept {
    if (text.empty() || !is_digit(text.front())) return false;
    into = 0;
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
        auto const digit = static_cast<Number>(text.front() - '0');
        if (into > (most - digit) / 10) return false;
        into = into * 10 + digit;
    }
    return true;
}

/// Takes the digits after a decimal point, as a part of `unit`. False where that is finer than a nanosecond.
constexpr bool take_fraction(std::string_view& text, std::uint64_t unit, std::uint64_t& into) noexcept {
    if (text.empty() || !is_digit(text.front())) return false;
    into = 0;
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
        auto const digit = static_cast<std::uint64_t>(text.front() - '0');
        if (unit % 10 == 0) {
            unit /= 10;
            into += digit * unit;
        } else if (digit != 0) {
            return false;
        }
    }
    return true;
}

/// How many nanoseconds a unit has; 0 for what is no unit.
constexpr std::uint64_t nanoseconds_in(std::string_view unit) noexcept {
    if (unit == "ns") return 1;
    if (unit == "us") return 1'000;
    if (unit == "ms") return 1'000'000;
    if (unit == "s") return 1'000'000'000;
    if (unit == "m") return 60'000'000'000;
    if (unit == "h") return 3'600'000'000'000;
    return 0;
}

// Each reads the whole of a text, and is false of one that says no such value.

/// `never`, or a number with a unit, such as 500ms or 1.5s. May be negative: the range is another's business.
constexpr bool read_text(std::string_view text, std::chrono::nanoseconds& into) noexcept {
    if (text == "never") {
        into = (std::chrono::nanoseconds::max)();
        return true;
    }
    bool const negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    auto const unit = nanoseconds_in(text.substr((std::min)(text.find_first_not_of(".0123456789"), text.size())));
    if (unit == 0) return false;
    constexpr auto most = static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)());
    std::uint64_t whole = 0;
    std::uint64_t fraction = 0;
    if (!take_number(text, most / unit, whole)) return false;
    if (text.front() == '.') {
        text.remove_prefix(1);
        if (!take_fraction(text, unit, fraction)) return false;
    }
    if (nanoseconds_in(text) != unit || fraction > most - whole * unit) return false;
    auto const count = static_cast<std::int64_t>(whole * unit + fraction);
    into = std::chrono::nanoseconds(negative ? -count : count);
    return true;
}

constexpr bool read_number(std::string_view text, std::size_t& into) noexcept {
    std::size_t number = 0;
    if (!take_number(text, (std::numeric_limits<std::size_t>::max)(), number) || !text.empty()) return false;
    into = number;
    return true;
}

/// A number, or `all`, the largest.
constexpr bool read_text(std::string_view text, std::size_t& into) noexcept {
    if (text != "all") return read_number(text, into);
    into = (std::numeric_limits<std::size_t>::max)();
    return true;
}

/// A number, or `none`.
constexpr bool read_text(std::string_view text, std::optional<std::size_t>& into) noexcept {
    if (text == "none") {
        into.reset();
        return true;
    }
    std::size_t number = 0;
    if (!read_number(text, number)) return false;
    into = number;
    return true;
}

inline bool read_text(std::string_view text, std::string& into) {
    into = text;
    return true;
}

/// A text with so many edits is another one spelled wrong.
inline constexpr std::size_t most_edits = 2;

/// How many edits, each of one character put in, taken out or replaced, make one text of the other; some number above
/// `most_edits` where their lengths say so already. `b` is the name of an option, shorter than 64 characters.
constexpr std::size_t edits_between(std::string_view a, std::string_view b) noexcept {
    if (a.size() > b.size() + most_edits || b.size() > a.size() + most_edits) return most_edits + 1;
    // A row of the table of Levenshtein: what it takes from the beginning of `a` to each beginning of `b`.
    std::array<std::size_t, 64> row{};
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 0; i < a.size(); ++i) {
        auto diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            auto const replaced = diagonal + (a[i] == b[j] ? 0U : 1U);
            diagonal = row[j + 1];
            row[j + 1] = (std::min)({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row[b.size()];
}

}  // namespace tidefall::inline v0::detail
