// SPDX-License-Identifier: MIT
#pragma once

#include "channel.hpp"
#include "input.hpp"
#include "stop_request.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <string_view>
#include <utility>
#include <vector>

namespace access_log {

/// Calls `each(number, line)` for the lines of a block that are not blank, and returns how many there are with those
/// that are. A block that is too long for its line has no text: of that one the caller knows.
template <typename Each>
std::uint64_t for_each_line(block const& lines, Each&& each) {
    std::string_view rest = lines.text;
    auto number = lines.first_line;
    for (; !rest.empty(); ++number) {
        auto const line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        // Blank lines are no records, and nothing to complain about.
        if (line.find_first_not_of(" \t\r") != std::string_view::npos) each(number, line);
    }
    return number - lines.first_line;
}

/// Threads that work on blocks of lines. Blocks wait in a channel; each thread takes the next one.
class block_workers {
public:
    /// `work` is called on several threads at once.
    block_workers(std::size_t threads, stop_request& stop, std::function<void(block const&)> work)
        : stop_(stop), work_(std::move(work)), blocks_(2 * threads) {
        for (std::size_t i = 0; i < threads; ++i) {
            threads_.push_back(std::async(std::launch::async, [this] { work_on_blocks(); }));
        }
    }

    block_workers(block_workers const&) = delete;
    block_workers& operator=(block_workers const&) = delete;

    /// Takes a block to be worked on, and waits while enough blocks wait for that. False once the threads have ended.
    bool feed(block lines) { return blocks_.push(std::move(lines)); }

    /// Waits until all that was fed has been worked on, or a thread failed. The destructor does it too.
    void wait() {
        blocks_.close();
        for (auto& one : threads_) one.wait();
    }

    /// Throws the first error of the threads, once, after `wait`.
    void throw_error() {
        for (auto& one : threads_) one.get();
    }

private:
    void work_on_blocks() {
        try {
            while (auto const lines = blocks_.pop()) work_(*lines);
        } catch (...) {
            // The reader must not wait for a thread that is gone.
            blocks_.close();
            stop_.ask();
            throw;
        }
    }

    stop_request& stop_;
    std::function<void(block const&)> const work_;
    // They go in the reverse order: the channel closes, then the threads end.
    channel<block> blocks_;
    std::vector<std::future<void>> threads_ = {};  ///< a future of std::async waits for its thread when it goes
    closing_channel<block> const closing_{blocks_};
};

}  // namespace access_log
