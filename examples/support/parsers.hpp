// SPDX-License-Identifier: MIT
#pragma once

#include "channel.hpp"
#include "input.hpp"
#include "layout.hpp"
#include "record.hpp"
#include "stop_request.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <string_view>
#include <utility>
#include <vector>

namespace access_log {

/// Threads that parse blocks of lines. Blocks wait in a channel; each thread takes the next one, so the records of one
/// block come in order and those of several blocks in any.
class parsers {
public:
    /// Receives the records of a block, on the thread that parsed it; on several at once.
    using receiver = std::function<void(std::vector<record>)>;

    parsers(std::size_t threads, log_layout layout, stop_request& stop, receiver receive)
        : layout_(layout), stop_(stop), receive_(std::move(receive)), blocks_(2 * threads) {
        for (std::size_t i = 0; i < threads; ++i) {
            threads_.push_back(std::async(std::launch::async, [this] { parse_blocks(); }));
        }
    }

    parsers(parsers const&) = delete;
    parsers& operator=(parsers const&) = delete;

    /// Takes a block to be parsed, and waits while enough blocks wait for that. False once the threads have ended.
    bool feed(block lines) { return blocks_.push(std::move(lines)); }

    /// Waits until all that was fed has been parsed and received, or a thread failed. The destructor does it too.
    void wait() {
        blocks_.close();
        for (auto& one : threads_) one.wait();
    }

    /// Throws the first error of the threads, once, after `wait`.
    void throw_error() {
        for (auto& one : threads_) one.get();
    }

    /// Lines that were parsed, blank ones too.
    [[nodiscard]] std::uint64_t lines() const { return lines_.load(); }

private:
    void parse_blocks() {
        try {
            while (auto lines = blocks_.pop()) receive_(parse(*lines));
        } catch (...) {
            // The reader must not wait for a thread that is gone.
            blocks_.close();
            stop_.ask();
            throw;
        }
    }

    std::vector<record> parse(block const& lines) {
        std::vector<record> records;
        if (lines.too_long) {
            records.push_back({lines.input, lines.first_line, malformed{"the line is longer than 64 KiB"}});
            lines_.fetch_add(1);
            return records;
        }
        std::string_view rest = lines.text;
        auto number = lines.first_line;
        for (; !rest.empty(); ++number) {
            auto const line = rest.substr(0, rest.find('\n'));
            rest.remove_prefix(std::min(line.size() + 1, rest.size()));
            // Blank lines are no records, and nothing to complain about.
            if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
            records.push_back({lines.input, number, parse_line(line, layout_)});
        }
        lines_.fetch_add(number - lines.first_line);
        return records;
    }

    log_layout const layout_;
    stop_request& stop_;
    receiver const receive_;
    std::atomic<std::uint64_t> lines_ = 0;
    // They go in the reverse order: the channel closes, then the threads end.
    channel<block> blocks_;
    std::vector<std::future<void>> threads_ = {};  ///< a future of std::async waits for its thread when it goes
    closing_channel<block> const closing_{blocks_};
};

}  // namespace access_log
