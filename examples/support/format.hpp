// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <ostream>
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

/// 1 as 1 batch, 1234 as 1,234 batches.
inline std::string counted(std::uint64_t number, char const* one, char const* several) {
    return grouped(number) + ' ' + (number == 1 ? one : several);
}

/// 2747282505 as 2.6 GiB.
inline std::string human_bytes(std::uint64_t bytes) {
    if (bytes == 1) return "1 byte";
    constexpr std::string_view units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    auto size = static_cast<double>(bytes);
    for (; size >= 1024; size /= 1024) ++unit;
    std::ostringstream text;
    text << std::fixed << std::setprecision(unit == 0 ? 0 : 1) << size << ' ' << units[unit];
    return text.str();
}

/// Seconds since 1970 as 2015-05-20 21:05:59.
inline std::string utc_text(std::int64_t seconds) {
    using namespace std::chrono;
    sys_seconds const time{std::chrono::seconds(seconds)};
    year_month_day const date{floor<days>(time)};
    hh_mm_ss const clock{time - floor<days>(time)};
    std::ostringstream text;
    text << std::setfill('0') << static_cast<int>(date.year()) << '-' << std::setw(2)
         << static_cast<unsigned>(date.month()) << '-' << std::setw(2) << static_cast<unsigned>(date.day()) << ' '
         << std::setw(2) << clock.hours().count() << ':' << std::setw(2) << clock.minutes().count() << ':'
         << std::setw(2) << clock.seconds().count();
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

/// The beginning of a line of a report.
inline std::ostream& label(std::ostream& out, char const* name) {
    return out << std::left << std::setw(16) << name << std::right;
}

inline void write_malformed_line(std::ostream& out, std::string_view input, std::uint64_t line,
                                 std::string_view reason) {
    out << "  " << printable(input) << ':' << line << ": " << reason << '\n';
}

}  // namespace access_log
