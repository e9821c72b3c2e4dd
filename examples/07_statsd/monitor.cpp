// SPDX-License-Identifier: MIT
#include "monitor.hpp"

#include "tidefall_tables.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace statsd {
namespace {

template <typename Points, typename Point = typename Points::value_type>
void add(Points& to, Point const& one) {
    constexpr std::size_t most = 120;
    to.push_back(one);
    if (to.size() > most) to.pop_front();
}

}  // namespace

void monitor::look() {
    auto const counts = from_.counts();
    auto const time = static_cast<double>(
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count());
    std::lock_guard const lock(mutex_);
    add(seen_.points, {time, static_cast<double>(counts.packets - seen_.counts.packets),
                       static_cast<double>(counts.kernel_dropped - seen_.counts.kernel_dropped)});
    seen_.counts = counts;
    if (of_ == nullptr) return;
    std::map<std::string, std::uint64_t> retries;
    for (auto const& one : metrics_.snapshot()) {
        auto& buffer = seen_.buffers[one.buffer];
        std::uint64_t drains = 0;
        for (auto const count : one.durations) drains += count;
        if (drains > buffer.drains) {
            buffer.last_drain = std::chrono::duration<double, std::milli>(one.duration_sum - buffer.draining).count() /
                                static_cast<double>(drains - buffer.drains);
        }
        buffer.drains = drains;
        buffer.draining = one.duration_sum;
        retries[one.buffer] = one.retried_batches;
    }
    of_->for_each([&](auto& each) {
        auto const name = std::string(each.name());
        auto& buffer = seen_.buffers[name];
        auto const now = each.stats();
        auto const lost = [](tidefall::buffer_stats const& all) { return all.refused + all.failed + all.dropped; };
        add(buffer.points,
            {time, static_cast<double>(now.pending), static_cast<double>(now.in_flight), buffer.last_drain,
             static_cast<double>(retries[name] - buffer.retries), static_cast<double>(lost(now) - lost(buffer.now))});
        buffer.now = now;
        buffer.retries = retries[name];
    });
    seen_.error = of_->last_error();
}

std::string monitor::prometheus() const {
    if (of_ == nullptr) return metrics_.prometheus();
    std::vector<tidefall::named_stats> all;
    of_->for_each([&](auto& each) { all.push_back({std::string(each.name()), each.stats()}); });
    return metrics_.prometheus(all);
}

}  // namespace statsd
