// SPDX-License-Identifier: MIT
#include "counters.hpp"

#include <chrono>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace access_log {
namespace {

/// Keys that may wait. Far more than a tick of an ordinary log has.
constexpr std::size_t most_waiting = 100'000;

tidefall::options map_options(char const* name, std::chrono::milliseconds interval,
                              std::shared_ptr<tidefall::runtime> const& runtime) {
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
        .runtime = runtime,
    };
}

void require_delivered(char const* what, tidefall::drain_report const& report) {
    if (report.complete && report.failed == 0 && report.dropped == 0) return;
    throw std::logic_error("of " + std::string(what) + ", " + std::to_string(report.failed) + " failed and " +
                           std::to_string(report.dropped) + " were dropped");
}

}  // namespace

counters::counters(database& into, reference& read, stop_request& stop, counter_options const& how, log_layout layout)
    : database_(into),
      read_(read),
      failure_(stop),
      // One worker for both maps: it calls one processor at a time, so they need no lock for the database.
      runtime_(tidefall::make_runtime({.workers = 1, .thread_name = "counters"})),
      paths_(
          map_options("paths", how.interval, runtime_),
          [this](std::span<path_map::value_type const> tick) {
              failure_.require_none();
              database_.add(tick);
          },
          [this](std::span<path_map::value_type>, tidefall::failure const& why) { failure_.note(why.error); }),
      clients_(
          map_options("clients", how.interval, runtime_),
          [this](std::span<client_map::value_type const> tick) {
              failure_.require_none();
              older_.fetch_add(database_.store_newer(tick));
          },
          [this](std::span<client_map::value_type>, tidefall::failure const& why) { failure_.note(why.error); }),
      parsers_(how.threads, layout, stop, [this](std::vector<record> records) { count(std::move(records)); }) {
}

counters::~counters() = default;

bool counters::feed(block lines) {
    return parsers_.feed(std::move(lines));
}

void counters::finish() {
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

tidefall::buffer_stats counters::path_stats() const {
    return paths_.stats();
}

tidefall::buffer_stats counters::client_stats() const {
    return clients_.stats();
}

/// On the parsers' threads. All writes are accepted or stale: nothing stops the maps before the parsers end.
void counters::count(std::vector<record> records) {
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

}  // namespace access_log
