// SPDX-License-Identifier: MIT
//
// Threads that cannot be started, and producers that come and go. Counts what the program starts and allocates, by
// calls and operators of its own.
#include "../support/threads.hpp"
#include "../support/allocations.hpp"
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/thread_starts.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>

using namespace std::chrono_literals;
using tests::allocated;
using tests::thread_starts_so_far;

namespace {

/// Runs `make` with a 1st, 2nd, … thread that cannot be started, until it succeeds: returns how many threads that
/// took. Whatever a failure leaves behind fails the test.
template <typename Make>
std::uint64_t threads_needed_by(Make make) {
    make();  // what is allocated once and kept
    for (std::uint64_t nth = 1;; ++nth) {
        auto const threads = tests::thread_count();
        auto const bytes = allocated().live_bytes;
        auto const starts = thread_starts_so_far();
        bool failed = false;
        tests::fail_thread_start(nth);
        try {
            make();
        } catch (std::system_error const& error) {
            failed = true;
            CHECK(error.code() == std::errc::resource_unavailable_try_again);
        }
        tests::fail_thread_start(0);
        auto const now = thread_starts_so_far();
        CHECK(now.started - starts.started == nth - 1);
        CHECK(now.joined - starts.joined == nth - 1);
        CHECK(now.detached == starts.detached);
        CHECK(tests::thread_count_becomes(threads));
        CHECK(allocated().live_bytes == bytes);
        make();
        CHECK(allocated().live_bytes == bytes);
        if (!failed) return nth - 1;
    }
}

/// Nothing of what `make` has on the heap is left once an n-th allocation of it has failed, nor a thread.
template <typename Make>
void check_failing_allocations_of(Make make) {
    make();
    bool failed = true;
    for (std::uint64_t nth = 1; failed; ++nth) {
        failed = false;
        auto const bytes = allocated().live_bytes;
        auto const starts = thread_starts_so_far();
        tests::fail_allocation(nth);
        try {
            make();
        } catch (std::bad_alloc const&) {
            failed = true;
        }
        tests::fail_allocation(0);
        auto const now = thread_starts_so_far();
        CHECK(now.started - starts.started == now.joined - starts.joined);
        CHECK(now.detached == starts.detached);
        CHECK(allocated().live_bytes == bytes);
    }
}

void check_delivers(tidefall::queue<int>& items) {
    items.push(1);
    CHECK(items.stop().processed == 1);
}

}  // namespace

TEST_CASE("threads: whichever of a runtime's cannot be started, none is left, and the next runtime can be") {
    for (std::size_t const workers : {1U, 2U, 5U}) {
        auto const needed = threads_needed_by([&] {
            auto const runtime = tidefall::make_runtime({.workers = workers, .thread_name = "a name of some length"});
            tidefall::queue<int> items({.partitions = 1, .runtime = runtime}, [](std::span<int>) {});
            check_delivers(items);
        });
        CHECK(needed == workers + 2);
    }
}

TEST_CASE("threads: whichever of a buffer's own cannot be started, none is left, and the next buffer can be") {
    for (std::size_t const partitions : {1U, 100U}) {
        auto const needed = threads_needed_by([&] {
            tidefall::queue<int> items({.name = "a name of some length", .partitions = partitions},
                                       [](std::span<int>) {});
            check_delivers(items);
        });
        CHECK(needed == std::min(partitions, tidefall::default_partitions()) + 2);
    }
    CHECK(threads_needed_by([] {
              tidefall::hash_map<int, int> map({.partitions = 1}, [](std::span<tidefall::entry<int, int>>) {});
              map.put(1, 1);
              CHECK(map.stop().processed == 1);
          }) == 3);
}

TEST_CASE("threads: whichever allocation fails while they are started, none is left") {
    check_failing_allocations_of(
        [] { tidefall::make_runtime({.workers = 2, .thread_name = "a name of some length"}); });
    check_failing_allocations_of(
        [] { tidefall::queue<int>({.name = "a name of some length", .partitions = 3}, [](std::span<int>) {}); });
}

TEST_CASE("threads: all are started with the runtime, and none for bad options") {
    auto const before = thread_starts_so_far().started;
    auto const refused = [](tidefall::options const& how) {
        CHECK_THROWS_AS(tidefall::queue<int>(how, [](std::span<int>) {}), tidefall::invalid_options);
    };
    refused({.name = ""});
    refused({.partitions = 0});
    refused({.processing_interval = 0s});
    refused({.timeout_action = tidefall::timeout_action{7}});
    refused({.overflow = tidefall::overflow_policy::drop_oldest});
    refused({.shutdown_timeout = -1s});
    CHECK_THROWS_AS((tidefall::queue<int, tidefall::producer_order>(
                        {.capacity = 1, .overflow = tidefall::overflow_policy::drop_oldest}, [](std::span<int>) {})),
                    tidefall::invalid_options);
    CHECK_THROWS_AS(tidefall::queue<int>({}, std::function<void(std::span<int>)>()), std::invalid_argument);
    CHECK_THROWS_AS(tidefall::make_runtime({.workers = 0}), tidefall::invalid_options);
    CHECK_THROWS_AS(tidefall::make_runtime({.thread_name = ""}), tidefall::invalid_options);
    CHECK(thread_starts_so_far().started == before);

    auto const runtime = tidefall::make_runtime({.workers = 2});
    CHECK(thread_starts_so_far().started == before + 4);
    std::atomic<int> processed{0};
    tidefall::queue<int> items({.partitions = 8, .processing_interval = 1ms, .drain_threshold = 2, .runtime = runtime},
                               [&](std::span<int> batch) {
                                   processed += static_cast<int>(batch.size());
                                   throw 1;
                               });
    tests::fail_thread_start(1);  // nobody needs another
    for (int i = 0; i < 100; ++i) items.push(i, tidefall::partition_key{i});
    tests::until([&] { return processed == 100; });
    CHECK(items.stop().complete);
    CHECK(thread_starts_so_far().started == before + 4);
    tests::fail_thread_start(0);
}

TEST_CASE("threads: a call that takes too long is waited for where no thread can take its place") {
    tests::latch let_go;
    std::atomic<bool> entered{false};
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = 1h,
                                .processing_timeout = 1ms,
                                .timeout_action = tidefall::timeout_action::abandon},
                               [&](std::span<int>, std::stop_token token) {
                                   if (entered.exchange(true)) return;
                                   tests::until([&] { return token.stop_requested(); });
                                   let_go.wait();
                               });
    auto const before = thread_starts_so_far().started;
    tests::fail_thread_start(1);
    items.push(1);
    items.flush(0s);
    tests::until([&] { return entered.load(); });
    CHECK_FALSE(items.flush(10ms).complete);
    CHECK(items.stats().abandoned == 0);
    CHECK(items.stats().in_flight == 1);
    let_go.open();
    CHECK(items.flush().complete);
    CHECK(items.stats().failed == 1);
    CHECK(items.stats().abandoned == 0);
    CHECK(thread_starts_so_far().started == before);
    tests::fail_thread_start(0);
}

#if defined(__GLIBCXX__)
TEST_CASE("threads: a worker's thread that has ended is joined when others are started") {
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = 1h, .unheard = tidefall::unheard_action::ignore},
        [](std::span<int>) { pthread_exit(nullptr); });
    auto const before = thread_starts_so_far().joined;
    for (int i = 0; i < 1000 && thread_starts_so_far().joined == before; ++i) {
        items.push(i);
        items.flush();
    }
    CHECK(thread_starts_so_far().joined > before);
}

TEST_CASE("threads: a worker that ends, and cannot be replaced at once, is replaced later") {
    tests::latch processed;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = 1h, .unheard = tidefall::unheard_action::ignore},
        [&](std::span<int> batch) {
            if (batch[0] == 1) {
                tests::fail_thread_start(1);
                pthread_exit(nullptr);
            }
            processed.open();
        });
    items.push(1);
    items.flush(0s);
    tests::until([&] { return items.stats().failed == 1; });
    items.push(2);
    items.flush(0s);
    processed.wait();
    CHECK(items.stop().complete);
}
#endif

TEST_CASE("threads: a hundred thousand producers that come and go leave nothing behind but their values") {
    constexpr int producers = 100'000;
    constexpr int at_once = 8;
    constexpr int keys = 100;
    auto const clock = tidefall::make_manual_runtime();
    tidefall::options const how{
        .partitions = 3, .processing_interval = 1s, .processing_batch_size = 100, .runtime = clock};

    std::vector<std::uint8_t> delivered(2 * producers);
    std::vector<std::uint8_t> delivered_in_their_order(2 * producers);
    std::vector<std::int64_t> changes(keys);
    tidefall::queue<int> items(how, [&](std::span<int> batch) {
        for (int const item : batch) ++delivered[static_cast<std::size_t>(item)];
    });
    tidefall::queue<int, tidefall::producer_order> striped(how, [&](std::span<int> batch) {
        for (int const item : batch) ++delivered_in_their_order[static_cast<std::size_t>(item)];
    });
    tidefall::hash_map<int, int> map(how, [&](std::span<tidefall::entry<int, int>> batch) {
        for (auto const& each : batch) changes[static_cast<std::size_t>(each.key)] += each.value;
    });

    // Each writes one or two values of its own everywhere.
    auto const produce = [&](int number) {
        for (int i = 0; i <= number % 2; ++i) {
            items.push(2 * number + i);
            striped.push(2 * number + i);
            map.update(number % keys, [](int& value) { ++value; });
        }
    };
    auto const run_wave_from = [&](int first) {
        std::thread wave[at_once];
        for (int i = 0; i < at_once; ++i) wave[i] = std::thread(produce, first + i);
        clock->advance(1s);  // beside them
        for (auto& each : wave) each.join();
    };
    auto const idle_bytes = [&] {
        clock->advance(1s);   // what waits
        clock->advance(11s);  // what was kept for more
        return allocated().live_bytes;
    };

    auto const before = idle_bytes();
    int produced = 0;
    for (; produced < producers / 10; produced += at_once) run_wave_from(produced);
    CHECK(idle_bytes() == before);
    for (; produced < producers; produced += at_once) run_wave_from(produced);
    CHECK(idle_bytes() == before);

    int wrong = 0;
    for (int i = 0; i < 2 * producers; ++i) {
        int const expected = i % 2 == 0 || i / 2 % 2 == 1 ? 1 : 0;
        wrong += delivered[static_cast<std::size_t>(i)] == expected ? 0 : 1;
        wrong += delivered_in_their_order[static_cast<std::size_t>(i)] == expected ? 0 : 1;
    }
    CHECK(wrong == 0);
    for (int key = 0; key < keys; ++key) {
        CHECK(changes[static_cast<std::size_t>(key)] == producers / keys * (1 + key % 2));
    }
    tests::check_conservation(items.stats());
    tests::check_conservation(striped.stats());
    tests::check_conservation(map.stats());
}
