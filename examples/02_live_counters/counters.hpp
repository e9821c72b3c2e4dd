// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (support/input.hpp) and parsed by one of several threads
// (support/parsers.hpp), which write each request to two tidefall maps. Once a tick the maps hand on what has come
// together, and that is upserted.
#pragma once

#include "../support/first_failure.hpp"
#include "../support/parsers.hpp"
#include "../support/stop_request.hpp"
#include "database.hpp"
#include "reference.hpp"
#include "statistics.hpp"

#include <tidefall/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace access_log {

struct counter_options {
    std::size_t threads = 2;
    std::chrono::milliseconds interval{1'000};
};

class counters {
public:
    /// `read` is told of every line, to be compared with the database later.
    counters(database& into, reference& read, stop_request& stop, counter_options how)
        : database_(into),
          read_(read),
          failure_(stop),
          // One worker for both maps: it calls one processor at a time, so they need no lock for the database.
          runtime_(tidefall::make_runtime({.workers = 1, .thread_name = "counters"})),
          paths_(
              map_options("paths", how.interval),
              [this](std::span<path_map::value_type const> tick) {
                  failure_.require_none();
                  database_.add(tick);
              },
              [this](std::span<path_map::value_type>, tidefall::failure const& why) { failure_.note(why.error); }),
          clients_(
              map_options("clients", how.interval),
              [this](std::span<client_map::value_type const> tick) {
                  failure_.require_none();
                  older_.fetch_add(database_.store_newer(tick));
              },
              [this](std::span<client_map::value_type>, tidefall::failure const& why) { failure_.note(why.error); }),
          parsers_(how.threads, stop, [this](std::vector<record> records) { count(std::move(records)); }) {}

    counters(counters const&) = delete;
    counters& operator=(counters const&) = delete;

    /// Takes a block to be counted, and waits while enough blocks wait for that. False if nothing more can be stored.
    bool feed(block lines) { return parsers_.feed(std::move(lines)); }

    /// Counts what was fed, stores it, and throws the first error of the parsers or the database. The destructor does
    /// it without the errors.
    void finish() {
        parsers_.wait();
        auto const paths = paths_.stop();
        auto const clients = clients_.stop();
        parsers_.throw_error();
        if (auto const reason = failure_.reason(); !reason.empty()) {
            throw database_error(reason + "; not all that was read is counted in it");
        }
        require_delivered("paths", paths);
        require_delivered("clients", clients);
    }

    [[nodiscard]] std::uint64_t lines() const { return parsers_.lines(); }
    [[nodiscard]] tidefall::buffer_stats path_stats() const { return paths_.stats(); }
    [[nodiscard]] tidefall::buffer_stats client_stats() const { return clients_.stats(); }

    /// States that were the newest of their tick, and older than what an earlier one had stored.
    [[nodiscard]] std::int64_t older() const { return older_.load(); }

private:
    /// Keys that may wait. Far more than a tick of an ordinary log has.
    static constexpr std::size_t most_waiting = 100'000;

    [[nodiscard]] tidefall::options map_options(char const* name, std::chrono::milliseconds interval) const {
        return {
            .name = name,
            // With one worker, more partitions would only make more transactions. Writers seldom meet in one: its
            // table is striped by key.
            .partitions = 1,
            .processing_interval = interval,
            // A tick is one transaction.
            .processing_batch_size = std::numeric_limits<std::size_t>::max(),
            // A commit on a slow disk is late, not lost: with a timeout its batch would count as failed.
            .processing_timeout = std::chrono::nanoseconds::max(),
            // stop() and flush() wait for the last tick, however long it takes.
            .shutdown_timeout = std::chrono::nanoseconds::max(),
            .runtime = runtime_,
        };
    }

    /// On the parsers' threads. All writes are accepted or stale: nothing stops the maps before the parsers end.
    void count(std::vector<record> records) {
        read_.add(records, database_.run());
        for (auto& one : records) {
            auto* const parsed = std::get_if<request>(&one.content);
            if (parsed == nullptr) continue;
            auto const status = parsed->status;
            auto const bytes = parsed->bytes;
            paths_.update(parsed->path, [&](request_sums& sums) { sums.add(status, bytes); });
            clients_.put_newer(std::move(parsed->client), client_state{std::move(parsed->path), status},
                               version_of(one, *parsed, database_.run()));
        }
        // A write never waits, and keys that never come twice do not come together: a log full of them would be read
        // into memory. Here the parsers wait.
        if (paths_.size() + clients_.size() >= most_waiting) {
            paths_.flush();
            clients_.flush();
        }
    }

    static void require_delivered(char const* what, tidefall::drain_report const& report) {
        if (report.complete && report.failed == 0 && report.dropped == 0) return;
        throw std::logic_error("of " + std::string(what) + ", " + std::to_string(report.failed) + " failed and " +
                               std::to_string(report.dropped) + " were dropped");
    }

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
