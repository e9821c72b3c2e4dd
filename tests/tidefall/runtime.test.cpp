// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tidefall::invalid_options;
using tidefall::make_runtime;

namespace {

std::vector<std::string> thread_names() {
    std::vector<std::string> names;
    for (auto const& thread : tests::threads()) names.push_back(thread.name);
    std::sort(names.begin(), names.end());
    return names;
}

bool has(std::vector<std::string> const& names, std::string const& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

TEST_CASE("runtime: its options are checked before a thread starts") {
    auto const before = tests::thread_count();
    CHECK_THROWS_WITH(make_runtime({.workers = 0}),
                      tests::ContainsSubstring("option workers is 0, but must be 1 to 1024"));
    CHECK_THROWS_AS(make_runtime({.workers = 1025}), invalid_options);
    CHECK_THROWS_AS(make_runtime({.thread_name = ""}), invalid_options);
    CHECK(tests::thread_count() == before);
    CHECK(tidefall::runtime_options().workers == std::min(tidefall::default_partitions(), tidefall::max_workers));
}

TEST_CASE("runtime: one timer, one watchdog and its workers, named, started at once and gone with it") {
    auto const before = tests::thread_count();
    {
        auto const runtime = make_runtime({.workers = 3, .thread_name = "ingest"});
        CHECK(tests::thread_count() == (before == 0 ? 0 : before + 5));
        tidefall::queue<int> a({.partitions = 8, .runtime = runtime}, [](std::span<int>) {});
        tidefall::queue<int> b({.partitions = 8, .runtime = runtime}, [](std::span<int>) {});
        a.push(1);
        a.flush();
        CHECK(tests::thread_count() == (before == 0 ? 0 : before + 5));
        if (before != 0) {
            // Each names itself when it begins to run.
            for (auto const* name :
                 {"ingest/timer", "ingest/watch", "ingest/work/0", "ingest/work/1", "ingest/work/2"}) {
                while (!has(thread_names(), name)) std::this_thread::yield();
            }
        }
    }
    CHECK(tests::thread_count_becomes(before));
}

TEST_CASE("runtime: a buffer's own has min(partitions, default_partitions()) workers and its name") {
    auto const before = tests::thread_count();
    {
        tidefall::queue<int> items({.name = "a rather long name", .partitions = 1}, [](std::span<int>) {});
        CHECK(tests::thread_count() == (before == 0 ? 0 : before + 3));
    }
    CHECK(tests::thread_count_becomes(before));
    {
        tidefall::queue<int> items({.partitions = 1000}, [](std::span<int>) {});
        CHECK(tests::thread_count() == (before == 0 ? 0 : before + 2 + tidefall::default_partitions()));
    }
    CHECK(tests::thread_count_becomes(before));
}

TEST_CASE("runtime: it may go before its buffers, which keep it") {
    std::atomic<int> processed{0};
    auto runtime = make_runtime({.workers = 1});
    tidefall::queue<int> items({.partitions = 2, .processing_interval = 1ms, .runtime = runtime},
                               [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    runtime.reset();
    items.push(1);
    items.push(2);
    CHECK(items.stop().processed == 2);
    CHECK(processed == 2);
}

TEST_CASE("runtime: as many calls run at once as there are workers") {
    tests::latch release;
    std::atomic<int> running{0};
    auto const runtime = make_runtime({.workers = 3});
    tidefall::queue<int> items({.partitions = 16, .processing_interval = 1ms, .runtime = runtime}, [&](std::span<int>) {
        ++running;
        release.wait();
    });
    for (int key = 0; key < 200; ++key) items.push(key, tidefall::partition_key{key});
    while (running < 3) std::this_thread::yield();
    CHECK(items.stats().processed == 0);
    CHECK(running == 3);
    release.open();
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 200);
}

TEST_CASE("runtime: any number of buffers, of any life, on any number of threads") {
    auto const runtime = make_runtime({.workers = 2});
    std::atomic<int> processed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                tidefall::queue<int> items({.partitions = 3, .processing_interval = 1ms, .runtime = runtime},
                                           [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
                for (int i = 0; i < 20; ++i) items.push(i, tidefall::partition_key{i});
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(processed == 4 * 50 * 20);
}
