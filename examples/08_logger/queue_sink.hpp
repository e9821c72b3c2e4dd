// SPDX-License-Identifier: MIT
//
// A spdlog sink that keeps its callers from the file: a line goes into a tidefall queue, and a worker formats a batch
// of them and writes it by one call.
//
//     auto sink = std::make_shared<queue_sink>(sink_options{.overflow = tidefall::overflow_policy::drop_oldest}, file);
//     spdlog::logger log("server", sink);
//     log.flush_on(spdlog::level::err);   // an error is in the file when log.error() returns
//
// What it loses is counted, and the log has a line where it is missing.
#pragma once

#include "sink_options.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <spdlog/details/log_msg_buffer.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/sink.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace logger_example {

class queue_sink final : public spdlog::sinks::sink {
public:
    using line = spdlog::details::log_msg_buffer;

    /// `write` receives the text of a batch, and throws if it cannot take it. Calls come one at a time.
    queue_sink(sink_options const& how, std::function<void(std::string_view)> write)
        : write_(std::move(write)),
          lines_(
              {
                  .name = "log",
                  .partitions = 1,  // the file has the order in which the lines came, over all threads
                  .processing_interval = how.interval,
                  .processing_batch_size = std::numeric_limits<std::size_t>::max(),  // one write for all that waits
                  .drain_threshold = how.capacity / 2 + 1,  // a drain begins while there is room
                  .capacity = how.capacity,
                  .overflow = how.overflow,
              },
              // A disk that is full has some of its space back soon, or not: then the lines are lost, since a program
              // must not stand still for its log.
              tidefall::with_retry([this](std::span<line const> batch) { deliver(batch); },
                                   {.attempts = 3, .first_delay = std::chrono::milliseconds(100)}),
              [this](std::span<line> batch, tidefall::failure const& why) { lose(batch.size(), why.error); }) {}

    ~queue_sink() override { close(); }

    /// spdlog formats the message on the caller's thread; what is in front of it, the time and so on, the worker adds.
    void log(spdlog::details::log_msg const& message) override {
        // After `close`, and in a forked child, a line has nowhere to go.
        if (lines_.emplace(message) != tidefall::write_status::accepted) unsaid_.fetch_add(1);
    }

    /// Returns when all that was logged before is in the file, or lost.
    void flush() override { lines_.flush(); }

    /// The same for the last time: what is logged later is lost. The destructor does it, too.
    void close() {
        lines_.stop();
        std::lock_guard const lock(mutex_);
        text_.clear();
        if (say_what_is_missing() == 0) return;
        try {
            write_({text_.data(), text_.size()});
        } catch (std::exception const&) {
            // The program has been told by then: nothing is missing but for a full queue or a failed write.
        }
    }

    void set_pattern(std::string const& pattern) override {
        set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern));
    }

    void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
        std::lock_guard const lock(mutex_);
        formatter_ = std::move(formatter);
    }

    [[nodiscard]] tidefall::buffer_stats stats() const { return lines_.stats(); }

    /// Lines that are not in the file, and never will be.
    [[nodiscard]] std::uint64_t lost() const {
        auto const all = stats();
        return all.refused + all.dropped + all.failed;
    }

private:
    void deliver(std::span<line const> batch) {
        std::lock_guard const lock(mutex_);
        text_.clear();
        auto const missing = say_what_is_missing();
        for (auto const& one : batch) formatter_->format(one, text_);
        try {
            write_({text_.data(), text_.size()});
            is_failing_ = false;
        } catch (...) {
            unsaid_.fetch_add(missing);
            throw;
        }
    }

    std::uint64_t say_what_is_missing() {
        auto const missing = unsaid_.exchange(0);
        if (missing == 0) return 0;
        auto const text = "lines lost here: " + std::to_string(missing);
        formatter_->format({"log", spdlog::level::warn, text}, text_);
        return missing;
    }

    /// On the worker, or, with `drop_oldest`, on a thread that logs.
    void lose(std::size_t lines, std::exception_ptr const& error) {
        unsaid_.fetch_add(lines);
        if (!error || is_failing_.exchange(true)) return;
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& known) {
            // As spdlog itself does: where the log cannot be written, there is nowhere else to say so.
            std::fprintf(stderr, "the log loses lines: %s\n", known.what());
        }
    }

    std::function<void(std::string_view)> const write_;
    std::atomic<std::uint64_t> unsaid_ = 0;  // lost, and no line in the file says so
    std::atomic<bool> is_failing_ = false;
    std::mutex mutex_ = {};  // guards what follows: anybody may set another formatter
    std::unique_ptr<spdlog::formatter> formatter_ = std::make_unique<spdlog::pattern_formatter>();
    spdlog::memory_buf_t text_{};
    tidefall::queue<line> lines_;  // last: it stops before the others go
};

}  // namespace logger_example
