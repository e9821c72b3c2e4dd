// SPDX-License-Identifier: MIT
//
// The code of 05_tuning.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
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

struct upload {
    std::string text;
    std::size_t bytes() const { return text.size(); }
};
using upload_queue = tidefall::queue<upload, tidefall::insertion_order, tidefall::weighed_by<&upload::bytes>>;

void weights() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    upload_queue uploads({.name = "uploads",
                          .partitions = 1,
                          .processing_batch_size = 1000,         // values in one request,
                          .processing_batch_weight = 1'000'000,  // and bytes
                          .drain_threshold_weight = 5'000'000,   // a drain is worth it
                          .capacity_weight = 50'000'000,         // and no more than that waits
                          .overflow = tidefall::overflow_policy::reject,
                          .runtime = clock},
                         [&](std::span<upload const> batch) { batches.push_back(batch.size()); });
    for (auto const kB : {400U, 500U, 300U, 2000U, 100U}) uploads.push({std::string(1000U * kB, 'x')});
    check(uploads.stats().pending_weight == 3'300'000);
    clock->advance(5s);
    check(batches == std::vector<std::size_t>{2, 1, 1, 1});  // 900 kB, 300 kB, one that is too heavy, 100 kB

    // A write that finds no room starts a drain, and an empty partition takes what is heavier than the limit.
    uploads.update_options({.drain_threshold_weight = std::optional<std::size_t>{}, .capacity_weight = 1000});
    check(uploads.push({std::string(2000, 'x')}) == tidefall::write_status::accepted);
    check(uploads.push({"x"}) == tidefall::write_status::full);
    clock->advance(0s);
    check(uploads.push({std::string(600, 'x')}) == tidefall::write_status::accepted);
    check(uploads.push({std::string(600, 'x')}) == tidefall::write_status::full);
    clock->advance(0s);
    check(uploads.stats().pending == 0);
}

void all_partitions() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> batches;
    tidefall::queue<int> rows({.name = "rows",
                               .partitions = 4,
                               .total_capacity = 10'000,
                               .overflow = tidefall::overflow_policy::reject,
                               .runtime = clock},
                              recorder{batches});
    std::size_t accepted = 0;
    for (int i = 0; i < 15'000; ++i) {  // one thread, and so one partition
        if (rows.push(i) == tidefall::write_status::accepted) ++accepted;
    }
    check(accepted == 10'000 && rows.size() == 10'000);
    clock->advance(0s);  // the drain that the last of them has started
    check(rows.size() == 0 && rows.push(1) == tidefall::write_status::accepted);
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

void thread_functions() {
    std::mutex mutex;
    std::set<std::string> names;
    {
        auto const note = [&](std::string_view name) {  // on the thread itself
            std::lock_guard const lock(mutex);
            names.emplace(name);
        };
        auto const named = tidefall::make_runtime({.workers = 2, .thread_name = "database", .on_thread_start = note});
        tidefall::queue<int> rows({.name = "rows", .partitions = 1, .runtime = named}, [](std::span<int>) {});
        rows.push(1);
        check(rows.stop().processed == 1);
    }
    check(names == std::set<std::string>{"database/timer", "database/watch", "database/work/0", "database/work/1"});
}

/// Stands for the loop of a program, of which the waiting is all that matters here.
class event_loop {
public:
    void wake() {
        std::lock_guard const lock(mutex_);
        is_awake_ = true;
        woken_.notify_one();
    }
    void wait_until(std::chrono::steady_clock::time_point time) {
        std::unique_lock lock(mutex_);
        woken_.wait_until(lock, std::min(time, std::chrono::steady_clock::now() + 1h), [&] { return is_awake_; });
        is_awake_ = false;
    }

private:
    std::mutex mutex_;
    std::condition_variable woken_;
    bool is_awake_ = false;
};

void write_hundred(tidefall::queue<int>& rows) {
    for (int i = 0; i < 100; ++i) rows.push(i);
}

void in_a_loop() {
    event_loop loop;
    std::size_t stored = 0;  // no lock: one thread polls
    auto const store = [&](std::span<int const> batch) { stored += batch.size(); };
    auto polled = tidefall::make_polled_runtime([&] { loop.wake(); });
    tidefall::queue<int> rows({.name = "rows", .partitions = 1, .drain_threshold = 100, .runtime = polled}, store);
    std::thread writer([&] { write_hundred(rows); });
    while (stored < 100) {
        loop.wait_until(polled->next_deadline());  // sockets, timers, and wake()
        polled->poll();                            // calls store, on this thread
    }
    writer.join();
    check(stored == 100);
}

int main() {
    rhythm();
    all_at_once();
    threshold();
    bounded();
    weights();
    all_partitions();
    updates();
    shared_threads();
    thread_functions();
    in_a_loop();
}
