// SPDX-License-Identifier: MIT
#pragma once

#include "values.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace statsd {

/// What is known of a series over all windows.
struct series {
    double value = 0;  ///< a counter's total, a gauge, a timer's count over all windows, a set's size in the last one
    double sum = 0;    ///< of a timer, over all windows
    std::array<double, std::size(percentiles)> ranks = {};  ///< of a timer, in the last window
    /// The time, in milliseconds, and what a chart shows of the windows up to then: a counter's rate, a gauge, a
    /// timer's median and 95 %, a set's size.
    std::deque<std::array<double, 3>> points = {};
};

/// Shows what went to the sinks, to the page and to Prometheus. Several threads may call everything.
class board {
public:
    using series_map = std::map<std::string, series, std::less<>>;

    /// Of more series it keeps the numbers, and no points.
    static constexpr std::size_t most_charts = 1'000;
    static constexpr std::size_t most_points = 120;

    class writer {
    public:
        writer(board& to, std::int64_t time, double seconds)
            : on_(to), lock_(to.mutex_), time_(static_cast<double>(time)), seconds_(seconds) {}

        void add(std::string_view key, counter_value const& window) {
            auto& one = find(kind::counter, key);
            one.value += window.sum;
            chart(one, window.sum / seconds_);
        }
        void add(std::string_view key, gauge_value const& window) {
            auto& one = find(kind::gauge, key);
            one.value = window.is_relative ? one.value + window.value : window.value;
            chart(one, one.value);
        }
        void add(std::string_view key, timer_value const& window) {
            auto& one = find(kind::timer, key);
            one.value += window.count;
            one.sum += window.sum;
            timer_ranks const ranks(window);
            for (std::size_t i = 0; i < one.ranks.size(); ++i) one.ranks[i] = ranks.at(percentiles[i]);
            chart(one, one.ranks[0], one.ranks[2]);
        }
        void add(std::string_view key, set_value const& window) {
            auto& one = find(kind::set, key);
            one.value = static_cast<double>(window.members.size());
            chart(one, one.value);
        }

    private:
        series& find(kind what, std::string_view key) {
            auto& all = on_.all_[static_cast<std::size_t>(what)];
            auto const found = all.find(key);
            return found != all.end() ? found->second : all.emplace(key, series()).first->second;
        }

        void chart(series& one, double first, double second = 0) {
            if (one.points.empty() && on_.charts_ == most_charts) return;
            if (one.points.empty()) ++on_.charts_;
            one.points.push_back({time_, first, second});
            if (one.points.size() > most_points) one.points.pop_front();
        }

        board& on_;
        std::lock_guard<std::mutex> const lock_;
        double const time_;
        double const seconds_;
    };

    /// A copy for who shows it.
    [[nodiscard]] std::array<series_map, 4> all() const {
        std::lock_guard const lock(mutex_);
        return all_;
    }

    [[nodiscard]] double gauge(std::string_view key) const {
        std::lock_guard const lock(mutex_);
        auto const& gauges = all_[static_cast<std::size_t>(kind::gauge)];
        auto const found = gauges.find(key);
        return found != gauges.end() ? found->second.value : 0;
    }

private:
    mutable std::mutex mutex_ = {};
    std::array<series_map, 4> all_ = {};  // by kind
    std::size_t charts_ = 0;
};

}  // namespace statsd
