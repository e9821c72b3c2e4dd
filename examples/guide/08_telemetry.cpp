// SPDX-License-Identifier: MIT
//
// The code of 08_telemetry.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/telemetry.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

/// How long the slowest processing of a drained table took, and how many values were lost.
struct health : tidefall::telemetry_hook {
    std::atomic<std::chrono::nanoseconds::rep> slowest{0};
    std::atomic<std::size_t> lost{0};

    void on_processing_stop(tidefall::processing_stop const& event) override {
        auto seen = slowest.load();
        while (seen < event.duration.count() && !slowest.compare_exchange_weak(seen, event.duration.count())) {
        }
    }
    void on_processing_failed(tidefall::processing_failed const& event) override { lost += event.size; }
    void on_items_dropped(tidefall::items_dropped const& event) override { lost += event.size; }
};

/// Says why a batch was lost.
struct complaints : tidefall::telemetry_hook {
    std::string last;
    void on_processing_exception(tidefall::processing_exception const& event) override {
        last = std::string(event.buffer) + " lost " + std::to_string(event.size) + ": " + std::string(event.message);
        std::fprintf(stderr, "%s\n", last.c_str());
    }
};

/// How many partitions are full now, and how many values were refused for it.
struct refusals : tidefall::telemetry_hook {
    std::atomic<int> full{0};
    std::atomic<std::uint64_t> refused{0};

    void on_partition_full(tidefall::partition_full const&) override { ++full; }
    void on_partition_room(tidefall::partition_room const& event) override {
        refused += event.refused;
        --full;
    }
};

void hooks() {
    auto clock = tidefall::make_manual_runtime();
    auto gauges = std::make_shared<health>();
    auto log = std::make_shared<complaints>();
    tidefall::queue<int> rows({.name = "rows",
                               .partitions = 1,
                               .processing_interval = 1s,
                               .telemetry = tidefall::combine(gauges, log),
                               .runtime = clock},
                              [&](std::span<int> batch) {
                                  clock->advance(30ms);
                                  if (batch[0] < 0) throw std::runtime_error("a negative row");
                              });
    rows.push(1);
    clock->advance(1s);
    check(gauges->slowest == std::chrono::nanoseconds(30ms).count() && gauges->lost == 0);
    rows.push(-1);
    clock->advance(1s);
    check(gauges->lost == 1 && log->last == "rows lost 1: a negative row");
    clock->advance(1h);  // nothing waits: no event
    check(rows.stats().ticks == 2 && rows.stats().hook_failures == 0);
}

void fullness() {
    auto clock = tidefall::make_manual_runtime();
    auto seen = std::make_shared<refusals>();
    tidefall::queue<int> rows({.partitions = 1,
                               .capacity = 100,
                               .overflow = tidefall::overflow_policy::reject,
                               .telemetry = seen,
                               .runtime = clock},
                              [](std::span<int>) {});
    for (int row = 0; row < 250; ++row) rows.push(row);  // nobody looks at the answers
    check(seen->full == 1);
    clock->advance(0s);  // the drain that the hundredth row has started
    check(seen->full == 0 && seen->refused == 150);
}

void prometheus() {
    auto clock = tidefall::make_manual_runtime();
    auto metrics = std::make_shared<tidefall::metrics_telemetry>();
    tidefall::queue<int> rows({.name = "rows", .partitions = 1, .telemetry = metrics, .runtime = clock},
                              [](std::span<int>) {});
    rows.push(1);
    clock->advance(5s);
    rows.push(2);

    std::string const text = metrics->prometheus(rows);  // for the endpoint that Prometheus scrapes
    check(text.find("tidefall_drained_values_total{buffer=\"rows\",partition=\"0\"} 1\n") != text.npos);
    check(text.find("tidefall_buffer_pending_values{buffer=\"rows\"} 1\n") != text.npos);
}

int main() {
    hooks();
    fullness();
    prometheus();
}
