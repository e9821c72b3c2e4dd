// SPDX-License-Identifier: MIT
#pragma once

#include "receiver.hpp"

#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/results.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>

namespace statsd {

class tidefall_tables;

/// What the page shows of a buffer.
struct buffer_view {
    tidefall::buffer_stats now = {};
    std::uint64_t retries = 0;
    std::chrono::nanoseconds draining = {};  ///< all drains that are over
    std::uint64_t drains = 0;
    double last_drain = 0;  ///< milliseconds
    /// Each second: the time, values that wait, that are in flight, milliseconds of the last drain, retries and losses.
    std::deque<std::array<double, 6>> points = {};
};

struct server_view {
    receiver_counts counts = {};
    /// Each second: the time, packets and kernel drops since the one before.
    std::deque<std::array<double, 3>> points = {};
    std::map<std::string, buffer_view> buffers = {};
    std::string error = {};
};

/// Looks at the server itself, each second, for the page. Several threads may call everything.
class monitor {
public:
    /// `of` may be null: then there are no buffers.
    monitor(receiver const& from, tidefall_tables* of, tidefall::metrics_telemetry const& metrics)
        : from_(from), of_(of), metrics_(metrics) {}

    void look();

    [[nodiscard]] server_view view() const {
        std::lock_guard const lock(mutex_);
        return seen_;
    }

    [[nodiscard]] receiver_counts counts() const { return from_.counts(); }

    /// The buffers' own metrics.
    [[nodiscard]] std::string prometheus() const;

private:
    receiver const& from_;
    tidefall_tables* const of_;
    tidefall::metrics_telemetry const& metrics_;
    mutable std::mutex mutex_ = {};
    server_view seen_ = {};
};

}  // namespace statsd
