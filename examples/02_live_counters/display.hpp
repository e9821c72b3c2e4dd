// SPDX-License-Identifier: MIT
#pragma once

#include "../support/format.hpp"
#include "../support/output.hpp"
#include "../support/sqlite.hpp"
#include "../support/ticker.hpp"
#include "counters.hpp"
#include "database.hpp"
#include "statistics.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace access_log {

/// The paths with the most requests, a line each, the first one the heading.
inline std::vector<std::string> top_paths_table(connection const& from, std::size_t most) {
    std::vector<std::string> lines;
    auto const add = [&lines](auto const& requests, auto const& errors, auto const& bytes, auto const& path) {
        std::ostringstream line;
        line << std::setw(11) << requests << std::setw(11) << errors << std::setw(12) << bytes << "  " << path;
        lines.push_back(line.str());
    };
    add("requests", "errors", "bytes", "path");
    for_top_paths(from, static_cast<std::int64_t>(most), [&](std::string const& path, request_sums const& sums) {
        add(grouped(static_cast<std::uint64_t>(sums.requests)), grouped(static_cast<std::uint64_t>(sums.errors)),
            human_bytes(static_cast<std::uint64_t>(sums.bytes)), path.empty() ? "(not HTTP)" : printable(path));
    });
    return lines;
}

/// Shows on standard output what the database holds, as often as it changes but one to ten times a second, from a
/// thread of its own, as long as it lives: on a terminal as a table that is redrawn in its place, elsewhere as a line
/// each time.
class display {
public:
    display(char const* program, connection const& of, counters const& reading, std::size_t top_paths,
            std::chrono::milliseconds every)
        : program_(program), of_(of), reading_(reading), top_paths_(top_paths) {
        using namespace std::chrono_literals;
        shown_.emplace(std::clamp<std::chrono::milliseconds>(every, 100ms, 1000ms), [this] { show(); });
    }

    display(display const&) = delete;
    display& operator=(display const&) = delete;

    ~display() {
        shown_.reset();
        if (drawn_ > 0) write(to_first_line() + clear_below);
    }

private:
    static constexpr char const* clear_line = "\x1b[2K";
    static constexpr char const* clear_below = "\x1b[J";

    /// A pipe that nobody reads any more does not end the counting: the database is what counts. It is told at once,
    /// as the end may be far, and the report will fail then.
    void write(std::string const& text) {
        try {
            if (!broken_) output::write(text);
        } catch (output::error const& error) {
            broken_ = true;
            std::cerr << program_ << ": " << error.what() << "; the counting goes on" << std::endl;
        }
    }

    void show() {
        if (broken_) return;
        try {
            auto const sums = sums_in(of_);
            if (terminal_)
                draw(sums);
            else
                write(progress(sums) + '\n');
        } catch (database_error const&) {
            // What could not be read now is read the next time, or by the report, which tells the error.
        }
    }

    std::string progress(request_sums const& sums) {
        auto const now = std::chrono::steady_clock::now();
        auto const lines = reading_.lines();
        auto const seconds = std::chrono::duration<double>(now - last_shown_).count();
        auto const rate = static_cast<std::uint64_t>(static_cast<double>(lines - last_lines_) / seconds);
        last_shown_ = now;
        last_lines_ = lines;
        return counted(lines, "line", "lines") + ", " + grouped(rate) +
               "/s; stored: " + counted(static_cast<std::uint64_t>(sums.requests), "request", "requests") + ", " +
               counted(static_cast<std::uint64_t>(sums.errors), "error", "errors") + ", " +
               human_bytes(static_cast<std::uint64_t>(sums.bytes));
    }

    void draw(request_sums const& sums) {
        winsize window = {};
        ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
        // A line that wraps, or one line too many, would scroll, and the next table miss the place of this one.
        std::size_t const width = window.ws_col > 0 ? window.ws_col : 80;
        std::size_t const height = window.ws_row > 4 ? window.ws_row : 24;
        auto lines = top_paths_table(of_, std::min(top_paths_, height - 4));
        lines.insert(lines.begin(), {progress(sums), ""});
        auto text = to_first_line();
        for (auto const& line : lines) text += clear_line + line.substr(0, width) + '\n';
        write(text + clear_below);
        drawn_ = lines.size();
    }

    [[nodiscard]] std::string to_first_line() const {
        return drawn_ == 0 ? std::string() : "\x1b[" + std::to_string(drawn_) + 'A';
    }

    char const* const program_;
    connection const& of_;
    counters const& reading_;
    std::size_t const top_paths_;
    bool const terminal_ = ::isatty(STDOUT_FILENO) == 1;
    bool broken_ = false;    ///< standard output takes no more
    std::size_t drawn_ = 0;  ///< lines of the table that is on the terminal
    std::uint64_t last_lines_ = 0;
    std::chrono::steady_clock::time_point last_shown_ = std::chrono::steady_clock::now();
    std::optional<ticker> shown_ = {};
};

}  // namespace access_log
