// SPDX-License-Identifier: MIT
//
// The code of 05_tuning.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

/// Counts its calls and their sizes.
struct recorder {
    std::vector<std::size_t>& batches;
    void operator()(std::span<int> batch) const { batches.push_back(batch.size()); }
};

void rhythm() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows({.name = "rows",
                               .partitions = 1,
                               .processing_interval = 200ms,  // how old a row is at most when its turn comes
                               .processing_batch_size = 500,  // rows in one INSERT
                               .runtime = clock},
                              recorder{batches});
    for (int i = 0; i < 1200; ++i) rows.push(i);
    clock->advance(199ms);
    check(batches.empty());
    clock->advance(1ms);
    check(batches == std::vector<std::size_t>{500, 500, 200});
}

void all_at_once() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows({.name = "rows",
                               .partitions = 1,
                               .processing_batch_size = std::numeric_limits<std::size_t>::max(),
                               .runtime = clock},
                              recorder{batches});
    for (int i = 0; i < 1200; ++i) rows.push(i);
    rows.flush();
    check(batches == std::vector<std::size_t>{1200});
}

void threshold() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows({.name = "rows",
                               .partitions = 1,
                               .processing_interval = 1min,
                               .processing_batch_size = 1000,
                               .drain_threshold = 1000,
                               .runtime = clock},
                              recorder{batches});
    for (int i = 0; i < 1000; ++i) rows.push(i);  // the last one starts a drain, a minute before the tick
    clock->advance(0s);
    check(batches == std::vector<std::size_t>{1000});
}

void bounded() {
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows(
        {.name = "rows", .partitions = 1, .capacity = 10'000, .overflow = tidefall::overflow_policy::block},
        recorder{batches});
    for (int i = 0; i < 50'000; ++i) check(rows.push(i) == tidefall::write_status::accepted);
    check(rows.stop().complete && rows.stats().processed == 50'000);
}

void updates() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows({.name = "rows", .partitions = 1, .capacity = 10'000, .runtime = clock},
                              recorder{batches});
    rows.push(1);  // its tick is in 5 s

    rows.update_options({.processing_interval = 100ms});  // brings the tick forward, and leaves the rest alone
    clock->advance(100ms);
    check(batches == std::vector<std::size_t>{1});
    rows.update_options({.capacity = std::optional<std::size_t>{}});  // takes the limit away

    std::string message;
    try {
        rows.update_options({.processing_interval = 1s, .processing_batch_size = 0});  // all or nothing
    } catch (tidefall::invalid_options const& error) {
        message = error.what();
    }
    check(message == "tidefall: option processing_batch_size is 0, but must be at least 1");
}

void shared_threads() {
    auto one_at_a_time = tidefall::make_runtime({.workers = 1, .thread_name = "database"});
    int calls = 0;  // no lock: one worker makes all calls of both
    auto const store = [&](std::span<int>) { ++calls; };
    tidefall::queue<int> rows({.name = "rows", .partitions = 4, .runtime = one_at_a_time}, store);
    tidefall::queue<int> more({.name = "more", .partitions = 4, .runtime = one_at_a_time}, store);
    std::thread other([&] { rows.push(1); });
    more.push(2);
    other.join();
    rows.stop();
    more.stop();
    check(calls == 2);
}

int main() {
    rhythm();
    all_at_once();
    threshold();
    bounded();
    updates();
    shared_threads();
}
