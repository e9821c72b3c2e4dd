// SPDX-License-Identifier: MIT
#pragma once

#include "input.hpp"
#include "stop_request.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iterator>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <string_view>

namespace access_log {

/// A made-up log in Combined Log Format, block by block as `input_file` reads one. The same seed makes the same log,
/// with any standard library. Each 250th line is malformed, in turns in one of four ways.
class sample_log {
public:
    sample_log(std::uint64_t lines, std::uint64_t seed, stop_request const& stop)
        : lines_(lines), random_(seed), stop_(stop) {}

    /// The next block; none at the end and when a stop is asked for.
    std::optional<block> next() {
        if (made_ == lines_ || stop_.asked()) return std::nullopt;
        block some{.first_line = made_ + 1};
        while (made_ < lines_ && some.text.size() < block_size - longest_line) {
            ++made_;
            some.text += made_ % 250 == 0 ? malformed_line() : line();
            some.text += '\n';
        }
        return some;
    }

private:
    static constexpr std::size_t longest_line = 512;

    /// From 0 to `end` - 1. The standard's distributions differ between libraries.
    std::uint64_t below(std::uint64_t end) { return random_() % end; }

    template <typename Texts>
    std::string_view one_of(Texts const& texts) {
        // The smaller of two makes the first ones popular, as in real logs.
        auto const index = std::min(below(std::size(texts)), below(std::size(texts)));
        return texts[static_cast<std::size_t>(index)];
    }

    std::string client() {
        std::ostringstream text;
        if (below(10) == 0)
            text << "2001:db8::" << std::hex << below(4'096);
        else
            text << "192.0.2." << below(256);
        return text.str();
    }

    std::string time() {
        using namespace std::chrono;
        static constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        now_ += seconds{static_cast<seconds::rep>(below(3))};
        auto const today = floor<days>(now_);
        year_month_day const date{today};
        hh_mm_ss const clock{now_ - today};
        std::ostringstream text;
        text << std::setfill('0') << std::setw(2) << static_cast<unsigned>(date.day()) << '/'
             << months[static_cast<unsigned>(date.month()) - 1] << '/' << static_cast<int>(date.year()) << ':'
             << std::setw(2) << clock.hours().count() << ':' << std::setw(2) << clock.minutes().count() << ':'
             << std::setw(2) << clock.seconds().count() << " +0000";
        return text.str();
    }

    std::string line() {
        static constexpr std::array<std::string_view, 10> paths{
            "/",           "/index.html",     "/favicon.ico", "/style.css", "/search?q=queue",
            "/robots.txt", "/img/header.png", "/feed.xml",    "/login",     "/download/tidefall.tar.gz"};
        static constexpr std::array<std::string_view, 8> statuses{"200", "200", "200", "304",
                                                                  "404", "301", "206", "500"};
        static constexpr std::array<std::string_view, 4> referrers{"-", "https://example.org/",
                                                                   "https://example.org/search?q=\\\"tide\\\"", ""};
        static constexpr std::array<std::string_view, 4> agents{
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://example.org/bot)", "curl/8.9.1",
            "an agent with \\\"quotes\\\""};
        std::ostringstream text;
        text << client() << " - " << (below(20) == 0 ? "alice" : "-") << " [" << time() << "] ";
        // Connections that sent nothing in time, or no HTTP.
        if (below(100) == 0) return text.str() + "\"-\" 408 - \"-\" \"-\"";
        if (below(200) == 0) return text.str() + "\"\\x16\\x03\\x01\" 400 226 \"-\" \"-\"";
        auto const status = one_of(statuses);
        text << '"' << (below(10) == 0 ? "POST " : "GET ") << one_of(paths) << " HTTP/1.1\" " << status << ' ';
        if (status == "304")
            text << '-';
        else
            text << 200 + below(50'000);
        text << " \"" << one_of(referrers) << "\" \"" << one_of(agents) << '"';
        return text.str();
    }

    std::string malformed_line() {
        std::ostringstream text;  // unlike +, << makes its operands in a known order
        switch (made_ / 250 % 4) {
            case 1: text << line() << '"' << line(); break;  // two lines that were written into each other
            case 2: text << client() << " - - [32/Jan/2025:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\""; break;
            case 3: text << client() << " - - [" << time() << "] \"GET /cut/off"; break;
            default: text << client() << " - - [" << time() << "] \"GET / HTTP/1.1\" OK 1 \"-\" \"-\"";
        }
        return text.str();
    }

    std::uint64_t const lines_;
    std::uint64_t made_ = 0;
    std::mt19937_64 random_;
    std::chrono::sys_seconds now_ = std::chrono::sys_days{std::chrono::year{2025} / 1 / 1};
    stop_request const& stop_;
};

}  // namespace access_log
