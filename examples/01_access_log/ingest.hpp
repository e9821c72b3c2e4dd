// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (support/input.hpp), is parsed by one of several threads
// (support/parsers.hpp), and its records wait in a tidefall queue until a batch of them is written to the database.
// What waits at each of these places is bounded, so a log of any length is read in the same memory.
#pragma once

#include "../support/first_failure.hpp"
#include "../support/format.hpp"
#include "../support/input.hpp"
#include "../support/parsers.hpp"
#include "../support/record.hpp"
#include "../support/stop_request.hpp"
#include "database.hpp"

#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace access_log {

struct ingest_options {
    std::size_t threads = 2;
    std::size_t batch = 1'000;
    std::size_t capacity = 10'000;
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
          failure_(stop),
          queue_(
              queue_options(how), [this](std::span<record const> batch) { write(batch); },
              [this](std::span<record>, tidefall::failure const& why) { failure_.note(why.error); }),
          parsers_(how.threads, stop, [this](std::vector<record> records) { push(std::move(records)); }) {}

    ingest(ingest const&) = delete;
    ingest& operator=(ingest const&) = delete;

    /// Takes a block to be parsed, and waits while enough blocks wait for that. False if nothing more can be stored.
    bool feed(block lines) { return parsers_.feed(std::move(lines)); }

    /// Parses what was fed, stores it, and throws the first error of the parsers or the database. The destructor does
    /// it without the errors.
    void finish() {
        parsers_.wait();
        // Every accepted record has been handed to write() or to failure_ when this returns.
        queue_.stop();
        parsers_.throw_error();
        require_no_failure();
    }

    [[nodiscard]] ingest_counts counts() const {
        auto const stats = queue_.stats();
        return {.lines = parsers_.lines(), .waiting = stats.pending + stats.in_flight, .batches = batches_.load()};
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
            // Parsing is faster than SQLite. At the capacity a push waits for it, and with it the parsers and the
            // reader: so many records wait, as many are being written. It never gives up, so no line is lost.
            .capacity = how.capacity,
            .overflow = tidefall::overflow_policy::block,
            .overflow_timeout = std::chrono::nanoseconds::max(),
            // stop() waits for the last batch, however long it takes.
            .shutdown_timeout = std::chrono::nanoseconds::max(),
        };
    }

    /// The processor: called by the queue's worker, never twice at once.
    void write(std::span<record const> batch) {
        failure_.require_none();
        database_.write(batch);
        batches_.fetch_add(1);
    }

    void require_no_failure() const {
        auto const reason = failure_.reason();
        if (reason.empty()) return;
        auto const stats = queue_.stats();
        throw database_error(reason + "; " + grouped(stats.processed) + " of " + grouped(stats.accepted) +
                             " parsed lines are stored");
    }

    /// On the parsers' threads.
    void push(std::vector<record> records) {
        records_.fetch_add(records.size());
        queue_.push_range(std::move(records));  // all are accepted: nothing stops the queue before the parsers end
    }

    database& database_;
    std::atomic<std::uint64_t> records_ = 0;
    std::atomic<std::uint64_t> batches_ = 0;
    first_failure failure_;
    // They go in the reverse order: the parsers end, the queue drains.
    tidefall::queue<record> queue_;
    parsers parsers_;
};

}  // namespace access_log
