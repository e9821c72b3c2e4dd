// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (support/input.hpp), is parsed by one of several threads
// (support/parsers.hpp), and its records wait in a tidefall queue until a batch of them is written to the database.
// What waits at each of these places is bounded, so a log of any length is read in the same memory.
#pragma once

#include "../support/first_failure.hpp"
#include "../support/input.hpp"
#include "../support/layout.hpp"
#include "../support/parsers.hpp"
#include "../support/record.hpp"
#include "../support/stop_request.hpp"
#include "database.hpp"
#include "settings.hpp"

#include <tidefall/queue.hpp>

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace access_log {

/// What the progress shows.
struct ingest_counts {
    std::uint64_t lines = 0;    ///< parsed
    std::uint64_t waiting = 0;  ///< records in the queue and in the batches that it hands out
    std::uint64_t batches = 0;  ///< written
};

class ingest {
public:
    ingest(database& into, stop_request& stop, ingest_options const& how, log_layout layout);
    ingest(ingest const&) = delete;
    ingest& operator=(ingest const&) = delete;
    ~ingest();

    /// Takes a block to be parsed, and waits while enough blocks wait for that. False if nothing more can be stored.
    bool feed(block lines);

    /// Parses what was fed, stores it, and throws the first error of the parsers or the database. The destructor does
    /// it without the errors.
    void finish();

    [[nodiscard]] ingest_counts counts() const;

    /// The records that the parsers made. All of them are in the database, or `finish` throws.
    [[nodiscard]] std::uint64_t records() const { return records_.load(); }
    [[nodiscard]] tidefall::buffer_stats stats() const;

private:
    void write(std::span<record const> batch);
    void push(std::vector<record> records);
    void require_no_failure() const;

    database& database_;
    std::atomic<std::uint64_t> records_ = 0;
    std::atomic<std::uint64_t> batches_ = 0;
    first_failure failure_;
    // They go in the reverse order: the parsers end, the queue drains.
    tidefall::queue<record> queue_;
    parsers parsers_;
};

}  // namespace access_log
