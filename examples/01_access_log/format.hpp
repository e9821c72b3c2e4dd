// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <sstream>
#include <string>
#include <string_view>

namespace access_log {

/// 1234567 as 1,234,567.
inline std::string grouped(std::uint64_t number) {
    std::string text = std::to_string(number);
    for (std::size_t end = text.size(); end > 3; end -= 3) text.insert(end - 3, 1, ',');
    return text;
}

/// 2747282505 as 2.6 GiB.
inline std::string human_bytes(std::uint64_t bytes) {
    constexpr std::string_view units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    auto size = static_cast<double>(bytes);
    for (; size >= 1024; size /= 1024) ++unit;
    std::ostringstream text;
    text << std::fixed << std::setprecision(unit == 0 ? 0 : 1) << size << ' ' << units[unit];
    return text.str();
}

/// Text of a log, fit for a terminal: control characters would be commands to it.
inline std::string printable(std::string_view text, std::size_t at_most = 90) {
    std::string result(text.substr(0, at_most));
    for (char& c : result) {
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
    }
    return text.size() > at_most ? result + "..." : result;
}

}  // namespace access_log
