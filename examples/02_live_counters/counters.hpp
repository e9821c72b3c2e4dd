// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (support/input.hpp) and parsed by one of several threads
// (support/parsers.hpp), which write each request to two tidefall maps. Once a tick the maps hand on what has come
// together, and that is upserted.
#pragma once

#include "../support/first_failure.hpp"
#include "../support/input.hpp"
#include "../support/layout.hpp"
#include "../support/parsers.hpp"
#include "../support/record.hpp"
#include "../support/stop_request.hpp"
#include "database.hpp"
#include "reference.hpp"
#include "settings.hpp"
#include "statistics.hpp"

#include <tidefall/runtime.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace access_log {

class counters {
public:
    /// `read` is told of every line, to be compared with the database later.
    counters(database& into, reference& read, stop_request& stop, counter_options const& how, log_layout layout);
    counters(counters const&) = delete;
    counters& operator=(counters const&) = delete;
    ~counters();

    /// Takes a block to be counted, and waits while enough blocks wait for that. False if nothing more can be stored.
    bool feed(block lines);

    /// Counts what was fed, stores it, and throws the first error of the parsers or the database. The destructor does
    /// it without the errors.
    void finish();

    [[nodiscard]] std::uint64_t lines() const { return parsers_.lines(); }
    [[nodiscard]] tidefall::buffer_stats path_stats() const;
    [[nodiscard]] tidefall::buffer_stats client_stats() const;

    /// States that were the newest of their tick, and older than what an earlier one had stored.
    [[nodiscard]] std::int64_t older() const { return older_.load(); }

private:
    void count(std::vector<record> records);

    database& database_;
    reference& read_;
    std::atomic<std::int64_t> older_ = 0;
    first_failure failure_;
    std::shared_ptr<tidefall::runtime> const runtime_;
    // They go in the reverse order: the parsers end, the maps drain.
    path_map paths_;
    client_map clients_;
    parsers parsers_;
};

}  // namespace access_log
