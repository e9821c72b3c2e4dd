// SPDX-License-Identifier: MIT
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::check_conservation;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::parcel;
using tests::recorder;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::failure_reason;
using tidefall::write_status;

BUFFER_TEST_CASE("buffer: stop drains what was accepted, and every stop returns the same report", EVERY_BUFFER) {
    recorder<int> const seen;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1h}, seen);
    items.write_all(numbers(0, 95));
    std::vector<drain_report> reports(8);
    std::vector<std::thread> threads;
    for (auto& report : reports) threads.emplace_back([&] { report = items.stop(); });
    for (auto& thread : threads) thread.join();
    for (auto const& report : reports) CHECK(report == drain_report{.processed = 95});
    CHECK(items.stop() == reports[0]);
    CHECK(kind.arranged(seen.values()) == numbers(0, 95));
    CHECK(items.write(1) == write_status::stopped);
    check_conservation(items.stats());
}

BUFFER_TEST_CASE("buffer: the final drain follows the one in flight", EVERY_BUFFER) {
    latch entered;
    latch release;
    recorder<int> const seen;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1h, .processing_batch_size = 2},
                     [&](std::span<int> batch) {
                         entered.open();
                         release.wait();
                         seen(batch);
                     });
    items.write_all(numbers(0, 5));
    items.flush(0s);
    entered.wait();
    items.write_all(numbers(5, 10));
    drain_report report;
    std::thread stops([&] { report = items.stop(); });
    int next = 10;
    until([&] { return items.write(next++) == write_status::stopped; });
    release.open();
    stops.join();
    auto const accepted = next - 1;  // some before the stop closed
    CHECK(items.stats().accepted == static_cast<std::uint64_t>(accepted));
    CHECK(report == drain_report{.processed = static_cast<std::uint64_t>(accepted)});  // the drain in flight included
    auto const all = seen.values();
    REQUIRE(all.size() == static_cast<std::size_t>(accepted));
    CHECK(kind.arranged({all.begin(), all.begin() + 5}) == numbers(0, 5));
    CHECK(kind.arranged({all.begin() + 5, all.end()}) == numbers(5, accepted));
}

BUFFER_TEST_CASE("buffer: stop is finite while producers keep writing, and loses nothing that was accepted",
                 EVERY_BUFFER) {
    std::atomic<bool> go_on{true};
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> processed{0};
    any_buffer items(kind, {.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 64},
                     [&](std::span<int> batch) { processed += batch.size(); });
    std::vector<std::thread> producers;
    for (int i = 0; i < 3; ++i) {
        producers.emplace_back([&, i] {
            for (int value = i; go_on; value += 3) {
                accepted += items.write(value) == write_status::accepted ? 1U : 0U;
            }
        });
    }
    until([&] { return accepted > 10'000; });
    CHECK(items.stop().complete);
    auto const at_stop = processed.load();
    go_on = false;
    for (auto& producer : producers) producer.join();
    CHECK(processed == at_stop);
    CHECK(accepted == at_stop);
}

BUFFER_TEST_CASE("buffer: a stop closes every stripe, and what waits beside a call comes back from all of them",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    bool const busy = GENERATE(false, true);
    latch entered;
    latch release;
    returns<int> const back;
    any_buffer items(
        kind, {.partitions = 1, .runtime = clock},
        [&](std::span<int>) {
            entered.open();
            release.wait();
        },
        back);
    std::thread other;
    if (busy) {
        items.write(1000);
        other = std::thread([&] { clock->advance(5s); });
        entered.wait();
        for (int value = 0; value < 100; ++value) items.write(value);
    } else {
        release.open();
    }
    CHECK(items.stop().dropped == (busy ? 100U : 0U));
    for (int value = 0; value < 100; ++value) CHECK(items.write(value) == write_status::stopped);
    CHECK(kind.arranged(back.values()) == numbers(0, busy ? 100 : 0));
    CHECK(items.size() == 0);
    release.open();
    if (other.joinable()) other.join();
}

BUFFER_TEST_CASE("buffer: while what waited is handed back it counts as dropped, and as waiting no more",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    any_buffer* one = nullptr;
    std::size_t handed_back = 0;
    any_buffer items(
        kind, tests::one_partition(clock),
        [&](std::span<int>) {
            entered.open();
            release.wait();
        },
        [&](std::span<int> values, tidefall::failure const&) {
            handed_back += values.size();
            auto const stats = one->stats();
            CHECK(stats.dropped == 3);
            CHECK(stats.pending == 0);
            tests::check_conservation(stats);
        });
    one = &items;
    items.write(1);
    std::thread ticks([&] { clock->advance(5s); });
    entered.wait();
    items.write_all(numbers(2, 5));
    items.stop(0s);
    CHECK(handed_back == 3);
    release.open();
    ticks.join();
}

BUFFER_TEST_CASE("buffer: an update of the limits beside a stop lets no write in", EVERY_BUFFER) {
    latch entered;
    latch release;
    std::atomic<std::uint64_t> processed{0};
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1h}, [&](std::span<int> batch) {
        entered.open();
        release.wait();
        processed += batch.size();
    });
    items.write(1);
    items.flush(0s);
    entered.wait();
    items.write(2);
    std::uint64_t accepted = 2;
    std::thread stops([&] { items.stop(1h); });
    while (items.write(2) == write_status::accepted) ++accepted;  // until it has closed
    items.update_options({.drain_threshold = 1'000'000'000});
    CHECK(items.write(3) == write_status::stopped);
    release.open();
    stops.join();
    CHECK(items.write(4) == write_status::stopped);
    CHECK(items.stats().accepted == accepted);
}

BUFFER_TEST_CASE("buffer: what is dropped at a deadline comes back from every partition and stripe", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    any_buffer items(
        kind, {.partitions = 2, .runtime = clock}, [](std::span<int>) {}, back);
    for (int value = 0; value < 100; ++value) items.write(value, value);
    CHECK(items.stop(0s).dropped == 100);
    auto all = back.values();
    std::sort(all.begin(), all.end());  // there are two partitions
    CHECK(all == numbers(0, 100));
}

BUFFER_TEST_CASE("buffer: where the deadline passes between a drain's begin and its first call, there is no call",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    bool const whole = GENERATE(false, true);
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what == "processing_start") clock->advance(2s);
    };
    returns<int> const back;
    int calls = 0;
    tests::processor_of<int> process = [&](std::span<int>) { ++calls; };
    if (whole) process = [&](std::vector<int>) { ++calls; };
    any_buffer items(kind, {.partitions = 1, .telemetry = log, .runtime = clock}, process, back);
    items.write_all(numbers(0, 3));
    CHECK(items.stop(1s) == drain_report{.dropped = 3, .complete = false});
    CHECK(calls == 0);
    CHECK(kind.arranged(back.values()) == numbers(0, 3));
    tests::check_conservation(items.stats());
}

BUFFER_TEST_CASE("buffer: a hung processor does not hold stop past its deadline, and its call is left to end by itself",
                 EVERY_BUFFER) {
    latch entered;
    latch release;
    latch stop_seen;
    returns<int> const back;
    auto const log = std::make_shared<event_log>();
    auto const life = std::make_shared<int>(1);
    std::vector<int> in_call;
    {
        any_buffer items(
            kind,
            {.partitions = 1,
             .processing_interval = 1h,
             .processing_batch_size = 2,
             .calls_at_destruction = tidefall::destruction_action::leave,
             .telemetry = log},
            [&, life](std::span<int> batch, std::stop_token const& token) {
                std::stop_callback const seen(token, [&] { stop_seen.open(); });
                in_call.assign(batch.begin(), batch.end());
                entered.open();
                release.wait();
                batch[0] += *life;
            },
            back);
        items.write_all(numbers(0, 6));
        items.flush(0s);
        entered.wait();
        items.write_all(numbers(6, 9));
        auto const report = items.stop(1ms);
        CHECK(report == drain_report{.dropped = 7, .complete = false});
        stop_seen.wait();  // its token was stopped
        auto all = in_call;
        auto const dropped = back.values();
        all.insert(all.end(), dropped.begin(), dropped.end());
        CHECK(kind.arranged(all) == numbers(0, 9));
        CHECK(dropped.size() == 7);
        for (auto const& one : back.all()) CHECK(one.reason == failure_reason::stopped);
        auto const stats = items.stats();
        CHECK(stats.in_flight == 2);
        CHECK(stats.pending == 0);
        CHECK(items.size() == 0);
        check_conservation(stats);
        auto const lines = log->lines();
        CHECK(std::count(lines.begin(), lines.end(), "items_dropped 0 7 stopped") == 1);
        CHECK(std::count(lines.begin(), lines.end(), "partition_stop 0 deadline") == 1);
        CHECK(items.stop() == report);
    }
    CHECK(life.use_count() == 2);  // the call outlives the buffer, and so does its processor
    release.open();
    until([&] { return life.use_count() == 1; });
}

BUFFER_TEST_CASE("buffer: a later stop may bring the deadline forward", EVERY_BUFFER) {
    auto const entered = std::make_shared<latch>();
    auto const release = std::make_shared<latch>();  // in the processor, which lives as long as the call
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1ms}, [entered, release](std::span<int>) {
        entered->open();
        release->wait();
    });
    items.write(1);
    entered->wait();
    drain_report patient;
    std::thread first([&] { patient = items.stop(std::chrono::nanoseconds::max()); });
    until([&] { return items.write(1) == write_status::stopped; });
    auto const report = items.stop(0s);
    first.join();
    CHECK_FALSE(report.complete);
    CHECK(report == patient);
    release->open();
}

BUFFER_TEST_CASE("buffer: a destructor with shutdown_timeout max() waits for the call", EVERY_BUFFER) {
    latch entered;
    latch release;
    std::atomic<bool> returned{false};
    std::thread opens;
    {
        any_buffer items(
            kind, {.partitions = 1, .processing_interval = 1ms, .shutdown_timeout = std::chrono::nanoseconds::max()},
            [&](std::span<int>) {
                entered.open();
                release.wait();
                returned = true;
            });
        items.write(1);
        entered.wait();
        opens = std::thread([&] { release.open(); });
    }
    CHECK(returned);
    opens.join();
}

BUFFER_TEST_CASE("buffer: the processor is destroyed by the time the destructor returns", EVERY_BUFFER) {
    auto const life = std::make_shared<int>(1);
    auto const runtime = tidefall::make_runtime({.workers = 1});
    for (int round = 0; round < 200; ++round) {
        {
            any_buffer items(
                kind, {.partitions = 2, .runtime = runtime}, [life](std::span<int>) {},
                [life](std::span<int>, tidefall::failure const&) {});
            items.write(1);
        }
        REQUIRE(life.use_count() == 1);
    }
}

BUFFER_TEST_CASE("buffer: the destructor returns only after undelivered has had everything", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 2});
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> returned{0};
        drain_report report;
        {
            any_buffer items(
                kind, {.partitions = 16, .shutdown_timeout = 0s, .runtime = runtime}, [](std::span<int>) {},
                [&](std::span<int> rest, tidefall::failure const&) {
                    std::this_thread::yield();
                    returned += static_cast<int>(rest.size());
                });
            for (int i = 0; i < 160; ++i) items.write(i, i);
            report = items.stop();
        }
        CHECK(report.processed + report.dropped == 160);
        REQUIRE(static_cast<std::uint64_t>(returned) == report.dropped);
    }
}

BUFFER_TEST_CASE("buffer: stopping an idle instance is prompt, however long its interval", EVERY_BUFFER) {
    auto const start = std::chrono::steady_clock::now();
    for (int round = 0; round < 300; ++round) {
        any_buffer items(kind, {.partitions = 2, .processing_interval = 1h}, [](std::span<int>) {});
        if (round % 2 == 0) items.write(1);
        REQUIRE(items.stop().complete);
        // A wake-up that is lost costs a second.
        REQUIRE(std::chrono::steady_clock::now() - start < 60s);
    }
}

BUFFER_TEST_CASE("buffer: what waits beside a call that hangs is destroyed when it is dropped", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const life = std::make_shared<int>(0);
    latch entered;
    latch release;
    tests::parcel_buffer items(kind, {.partitions = 1, .runtime = clock}, [&](std::span<parcel>) {
        entered.open();
        release.wait();
    });
    items.write({});
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    for (int i = 0; i < 3; ++i) items.write({i, life});
    CHECK(items.stop().dropped == 3);
    CHECK(life.use_count() == 1);
    release.open();
    other.join();
}

BUFFER_TEST_CASE(
    "buffer: a stop that loses nothing but a running call drops nothing, and keeps its report when the call ends",
    EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    latch entered;
    latch release;
    any_buffer items(kind, {.partitions = 1, .telemetry = log, .runtime = clock}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.write(1);
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    CHECK(items.stop() == drain_report{.complete = false});
    release.open();
    other.join();
    CHECK(items.stop() == drain_report{.complete = false});
    CHECK(items.stats().processed == 1);
    CHECK(log->lines() == std::vector<std::string>{"partition_start 0", "processing_start 0 1 interval",
                                                   "partition_stop 0 deadline", "processing_stop 0 1"});
}

TEST_CASE("buffer: what a stop drops beside a call it returns alone, whoever else comes meanwhile") {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    tidefall::queue<int> other({.partitions = 1, .processing_interval = 1h, .runtime = runtime}, [](std::span<int>) {});
    std::optional<tidefall::hash_map<int, int>> map;
    latch entered;
    latch release;
    std::atomic<bool> is_stopped_anew{false};
    std::vector<std::thread::id> by;
    std::size_t returned = 0;
    auto const give_back = [&](std::span<tidefall::entry<int, int>> some, tidefall::failure const&) {
        by.push_back(std::this_thread::get_id());
        returned += some.size();
        if (is_stopped_anew.exchange(true)) return;
        release.open();
        other.push(1);
        other.flush();  // so the worker has come back from the call
        std::thread([&] { CHECK(map->stop(0s).dropped == 199); }).join();
    };
    auto const hang = [&] {
        entered.open();
        release.wait();
    };
    tidefall::options const how{
        .partitions = 1, .processing_interval = 1h, .processing_batch_size = 1, .runtime = runtime};
    if (GENERATE(false, true)) {
        map.emplace(
            how, [&](std::span<tidefall::entry<int, int>>) { hang(); }, give_back);
    } else {
        map.emplace(
            how,
            [&](tidefall::async_batch<tidefall::entry<int, int>> batch) {
                hang();
                batch.complete();
            },
            give_back);
    }
    for (int key = 0; key < 100; ++key) map->put(key, key);  // in several stripes
    map->flush(0s);
    entered.wait();
    for (int key = 0; key < 100; ++key) map->put(key, key);
    CHECK(map->stop(0s).dropped == 199);
    CHECK(returned == 199);
    CHECK(by.size() > 3);
    CHECK(std::count(by.begin(), by.end(), std::this_thread::get_id()) == static_cast<std::ptrdiff_t>(by.size()));
}
