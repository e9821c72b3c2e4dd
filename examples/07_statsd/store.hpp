// SPDX-License-Identifier: MIT
#pragma once

#include "board.hpp"
#include "settings.hpp"
#include "sinks.hpp"
#include "values.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace statsd {

/// Takes what a window has of a kind of series to the board and the sinks. From one thread at a time.
class store {
public:
    store(settings const& how, board& shown)
        : seconds_(std::chrono::duration<double>(how.window).count()), shown_(shown) {
        if (!how.database.empty()) database_.emplace(how.database, how.keep);
        if (!how.graphite.empty()) graphite_.emplace(how.graphite);
    }

    /// `entries` has keys and values. What throws is to be called again with the same, as another attempt.
    template <typename Entries>
    void write(kind what, Entries const& entries, bool is_first_attempt) {
        auto& time = times_[static_cast<std::size_t>(what)];
        if (is_first_attempt) {
            auto const now = std::chrono::system_clock::now().time_since_epoch();
            time = std::max(time + 1, std::int64_t{std::chrono::duration_cast<std::chrono::milliseconds>(now).count()});
            board::writer to(shown_, time, seconds_);
            for (auto const& [key, value] : entries) to.add(key, value);
        }
        points_.clear();
        for (auto const& [key, value] : entries) add(key, value);
        window_points const window{.what = what, .time = time, .points = points_};
        if (database_) database_->write(window);
        if (graphite_) graphite_->write(window);
    }

private:
    void add(std::string_view key, counter_value const& window) {
        points_.push_back({key, "count", window.sum});
        points_.push_back({key, "rate", window.sum / seconds_});
    }
    void add(std::string_view key, gauge_value const&) { points_.push_back({key, "value", shown_.gauge(key)}); }
    void add(std::string_view key, set_value const& window) {
        points_.push_back({key, "count", static_cast<double>(window.members.size())});
    }
    void add(std::string_view key, timer_value const& window) {
        points_.push_back({key, "count", window.count});
        points_.push_back({key, "sum", window.sum});
        points_.push_back({key, "mean", window.sum / window.count});
        points_.push_back({key, "lower", window.least});
        points_.push_back({key, "upper", window.most});
        timer_ranks const ranks(window);
        constexpr std::string_view names[] = {"p50", "p90", "p95", "p99"};
        static_assert(std::size(names) == std::size(percentiles));
        for (std::size_t i = 0; i < std::size(names); ++i) points_.push_back({key, names[i], ranks.at(percentiles[i])});
    }

    double const seconds_;
    board& shown_;
    std::optional<database> database_ = {};
    std::optional<graphite> graphite_ = {};
    std::array<std::int64_t, 4> times_ = {};
    std::vector<point> points_ = {};
};

}  // namespace statsd
