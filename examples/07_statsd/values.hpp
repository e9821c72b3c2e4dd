// SPDX-License-Identifier: MIT
//
// What a window knows of a series. Each window starts from nothing: a counter's sum and a timer's samples are the
// window's own, a gauge's change is applied to what an earlier one left.
#pragma once

#include "metric_line.hpp"

#include <tidefall/string_hash.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace statsd {

struct counter_value {
    double sum = 0;
    void add(measurement const& one) { sum += one.value / one.rate; }
};

struct gauge_value {
    double value = 0;
    bool is_relative = true;  ///< to what the gauge was before this window
    void add(measurement const& one) {
        value = one.is_relative ? value + one.value : one.value;
        is_relative = is_relative && one.is_relative;
    }
};

struct timer_value {
    /// Of a series and window that has more, an even choice of so many: percentiles come from these.
    static constexpr std::size_t most_samples = 50'000;

    std::vector<double> samples = {};
    std::uint64_t received = 0;
    double count = 0;  ///< what was received, by its sample rate
    double sum = 0;
    double least = std::numeric_limits<double>::infinity();
    double most = -std::numeric_limits<double>::infinity();

    void add(measurement const& one) {
        ++received;
        count += 1 / one.rate;
        sum += one.value / one.rate;
        least = std::min(least, one.value);
        most = std::max(most, one.value);
        if (samples.size() < most_samples) {
            samples.push_back(one.value);
        } else if (auto const place = mixed(received) % received; place < most_samples) {
            samples[static_cast<std::size_t>(place)] = one.value;
        }
    }

private:
    /// A number that looks drawn by lot (splitmix64).
    static std::uint64_t mixed(std::uint64_t number) {
        number *= 0x9E3779B97F4A7C15U;
        number = (number ^ (number >> 30U)) * 0xBF58476D1CE4E5B9U;
        number = (number ^ (number >> 27U)) * 0x94D049BB133111EBU;
        return number ^ (number >> 31U);
    }
};

struct set_value {
    std::unordered_set<std::string, tidefall::string_hash, std::equal_to<>> members = {};
    void add(measurement const& one) {
        if (!members.contains(one.member)) members.emplace(one.member);
    }
};

inline constexpr double percentiles[] = {50, 90, 95, 99};

/// A timer's percentiles, by the nearest rank.
struct timer_ranks {
    explicit timer_ranks(timer_value const& of) : sorted(of.samples) { std::sort(sorted.begin(), sorted.end()); }
    [[nodiscard]] double at(double percent) const {
        auto const rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
        return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
    }
    std::vector<double> sorted;
};

}  // namespace statsd
