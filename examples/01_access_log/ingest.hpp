// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (input.hpp), waits in a channel, is parsed by one of several threads,
// and its records wait in a tidefall queue until a batch of them is written to the database.
#pragma once

#include "channel.hpp"
#include "database.hpp"
#include "format.hpp"
#include "input.hpp"
#include "record.hpp"
#include "stop_request.hpp"

#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace access_log {

struct ingest_options {
    std::size_t threads = 2;
    std::size_t batch = 1'000;
    std::chrono::milliseconds interval{200};
};

/// What the progress shows.
struct ingest_counts {
    std::uint64_t lines = 0;    ///< parsed
    std::uint64_t waiting = 0;  ///< records in the queue and in the batches that it hands out
    std::uint64_t batches = 0;  ///< written
};

class ingest {
public:
    ingest(database& into, stop_request& stop, ingest_options how)
        : database_(into),
          stop_(stop),
          most_waiting_(32 * how.batch),
          queue_(
              queue_options(how), [this](std::span<record const> batch) { write(batch); },
              [this](std::span<record>, tidefall::failure const& why) { fail(text_of(why.error)); }),
          blocks_(2 * how.threads) {
        for (std::size_t i = 0; i < how.threads; ++i) {
            parsers_.push_back(std::async(std::launch::async, [this] { parse_blocks(); }));
        }
    }

    ingest(ingest const&) = delete;
    ingest& operator=(ingest const&) = delete;

    /// Takes a block to be parsed, and waits while enough blocks wait for that. False if nothing more can be stored.
    bool feed(block lines) { return blocks_.push(std::move(lines)); }

    /// Parses what was fed, stores it, and throws the first error of the parsers or the database. The destructor does
    /// it without the errors.
    void finish() {
        blocks_.close();
        for (auto& parser : parsers_) parser.wait();
        // Every accepted record has been handed to write() or to fail() when this returns.
        queue_.stop();
        for (auto& parser : parsers_) parser.get();
        require_no_failure();
    }

    [[nodiscard]] ingest_counts counts() const {
        auto const stats = queue_.stats();
        return {.lines = lines_.load(), .waiting = stats.pending + stats.in_flight, .batches = batches_.load()};
    }

    /// The records that the parsers made. All of them are in the database, or `finish` throws.
    [[nodiscard]] std::uint64_t records() const { return records_.load(); }
    [[nodiscard]] tidefall::buffer_stats stats() const { return queue_.stats(); }

private:
    static tidefall::options queue_options(ingest_options const& how) {
        return {
            .name = "access_log",
            // SQLite has one writer at a time. More partitions would call write() side by side, to wait there for each
            // other; with one it needs no lock. The threads that push meet in it for a short moment every block.
            .partitions = 1,
            .processing_interval = how.interval,
            .processing_batch_size = how.batch,
            // A commit on a slow disk is late, not lost: with a timeout its batch would count as failed.
            .processing_timeout = std::chrono::nanoseconds::max(),
            // Under load a drain starts as soon as a batch is full; the interval is for input that trickles in.
            .drain_threshold = how.batch,
            // stop() and flush() wait for the last batch, however long it takes.
            .shutdown_timeout = std::chrono::nanoseconds::max(),
        };
    }

    /// The processor: called by the queue's worker, never twice at once.
    void write(std::span<record const> batch) {
        // A transaction may wait for seconds before it fails. After the first that did, the others fail at once.
        if (failed_.load()) throw database_error("an earlier batch failed");
        database_.write(batch);
        batches_.fetch_add(1);
    }

    /// The queue tries nothing twice: a batch that failed is gone, and so is the sense of reading on.
    void fail(std::string const& reason) {
        std::lock_guard const lock(failure_mutex_);
        if (failed_.exchange(true)) return;
        failure_ = reason;
        stop_.ask();
    }

    static std::string text_of(std::exception_ptr const& error) {
        try {
            if (error) std::rethrow_exception(error);
        } catch (std::exception const& thrown) {
            return thrown.what();
        } catch (...) {
        }
        return "an unknown error";
    }

    void require_no_failure() {
        std::lock_guard const lock(failure_mutex_);
        if (!failed_.load()) return;
        auto const stats = queue_.stats();
        throw database_error(failure_ + "; " + grouped(stats.processed) + " of " + grouped(stats.accepted) +
                             " parsed lines are stored");
    }

    void parse_blocks() {
        try {
            while (auto lines = blocks_.pop()) push(parse(*lines));
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
            records.push_back({lines.input, number, parse_line(line)});
        }
        lines_.fetch_add(number - lines.first_line);
        return records;
    }

    void push(std::vector<record> records) {
        auto const count = records.size();
        queue_.push_range(std::move(records));  // all are accepted: nothing stops the queue before the parsers end
        records_.fetch_add(count);
        // A push never waits, and parsing is faster than SQLite. Here the parsers wait, so that a log of any size is
        // read in bounded memory.
        if (queue_.size() >= most_waiting_) queue_.flush();
    }

    database& database_;
    stop_request& stop_;
    std::size_t const most_waiting_;
    std::atomic<std::uint64_t> lines_ = 0;
    std::atomic<std::uint64_t> records_ = 0;
    std::atomic<std::uint64_t> batches_ = 0;
    std::atomic<bool> failed_ = false;
    std::mutex failure_mutex_ = {};
    std::string failure_ = {};
    // They go in the reverse order: the channel closes, the parsers end, the queue drains.
    tidefall::queue<record> queue_;
    channel<block> blocks_;
    std::vector<std::future<void>> parsers_ = {};  ///< a future of std::async waits for its thread when it goes
    closing_channel<block> const closing_{blocks_};
};

}  // namespace access_log
