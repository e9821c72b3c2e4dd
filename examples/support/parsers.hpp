// SPDX-License-Identifier: MIT
#pragma once

#include "block_workers.hpp"
#include "input.hpp"
#include "layout.hpp"
#include "record.hpp"
#include "stop_request.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

namespace access_log {

/// Threads that parse blocks of lines. The records of one block come in order and those of several blocks in any.
class parsers {
public:
    /// Receives the records of a block, on the thread that parsed it; on several at once.
    using receiver = std::function<void(std::vector<record>)>;

    parsers(std::size_t threads, log_layout layout, stop_request& stop, receiver receive)
        : layout_(layout),
          receive_(std::move(receive)),
          workers_(threads, stop, [this](block const& lines) { receive_(parse(lines)); }) {}

    /// Takes a block to be parsed, and waits while enough blocks wait for that. False once the threads have ended.
    bool feed(block lines) { return workers_.feed(std::move(lines)); }

    /// Waits until all that was fed has been parsed and received, or a thread failed. The destructor does it too.
    void wait() { workers_.wait(); }

    /// Throws the first error of the threads, once, after `wait`.
    void throw_error() { workers_.throw_error(); }

    /// Lines that were parsed, blank ones too.
    [[nodiscard]] std::uint64_t lines() const { return lines_.load(); }

private:
    std::vector<record> parse(block const& lines) {
        std::vector<record> records;
        if (lines.too_long) {
            records.push_back({lines.input, lines.first_line, malformed{"the line is longer than 64 KiB"}});
            lines_.fetch_add(1);
            return records;
        }
        lines_.fetch_add(for_each_line(lines, [&](std::uint64_t number, std::string_view line) {
            records.push_back({lines.input, number, parse_line(line, layout_)});
        }));
        return records;
    }

    log_layout const layout_;
    receiver const receive_;
    std::atomic<std::uint64_t> lines_ = 0;
    block_workers workers_;  // last: its threads use the others
};

}  // namespace access_log
