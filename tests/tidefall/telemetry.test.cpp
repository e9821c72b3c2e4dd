// SPDX-License-Identifier: MIT
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using lines = std::vector<std::string>;
using tests::any_buffer;
using tests::event_log;
using tests::numbers;
using tests::recorder;

BUFFER_TEST_CASE("telemetry: one start and one stop a drain, with its trigger", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    {
        any_buffer items(kind, {.partitions = 1, .drain_threshold = 5, .telemetry = log, .runtime = clock},
                         [](std::span<int>) {});
        clock->advance(1h);
        items.flush();  // nothing to do: no event
        items.write_all(numbers(0, 3));
        clock->advance(5s);
        items.write_all(numbers(0, 7));
        clock->advance(0s);
        items.write_all(numbers(0, 2));
        items.flush();
        items.write_all(numbers(0, 1));
    }
    CHECK(log->lines() == lines{"partition_start 0", "processing_start 0 3 interval", "processing_stop 0 3",
                                "processing_start 0 7 threshold", "processing_stop 0 7", "processing_start 0 2 flush",
                                "processing_stop 0 2", "processing_start 0 1 stop", "processing_stop 0 1",
                                "partition_stop 0 stopped"});
}

BUFFER_TEST_CASE("telemetry: every partition starts and stops", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer items(kind, {.partitions = 3, .telemetry = log, .runtime = clock}, [](std::span<int>) {});
    items.stop();
    items.stop();
    CHECK(log->lines() == lines{"partition_start 0", "partition_start 1", "partition_start 2",
                                "partition_stop 0 stopped", "partition_stop 1 stopped", "partition_stop 2 stopped"});
}

BUFFER_TEST_CASE("telemetry: an exception emits processing_exception and then processing_failed, for its batch alone",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    int calls = 0;
    any_buffer items(kind, {.partitions = 1, .processing_batch_size = 10, .telemetry = log, .runtime = clock},
                     [&](std::span<int>) {
                         if (++calls == 2) throw std::runtime_error("second");
                         if (calls == 3) throw 42;  // NOLINT
                     });
    log->clear();
    items.write_all(numbers(0, 35));
    clock->advance(5s);
    CHECK(log->lines() == lines{"processing_start 0 35 interval", "processing_exception 0 10 second",
                                "processing_failed 0 10 exception", "processing_exception 0 10 not a std::exception",
                                "processing_failed 0 10 exception", "processing_stop 0 35"});
}

BUFFER_TEST_CASE("telemetry: what events carry", EVERY_BUFFER) {
    struct checks : tidefall::telemetry_hook {
        std::shared_ptr<tidefall::manual_runtime> clock;
        std::chrono::steady_clock::time_point started{};
        int events = 0;

        void on_partition_start(tidefall::partition_start const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(std::chrono::abs(std::chrono::system_clock::now() - e.system_time) < 1h);
        }
        void on_processing_start(tidefall::processing_start const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(e.monotonic_time == clock->now());
            CHECK(std::chrono::abs(std::chrono::system_clock::now() - e.system_time) < 1h);
            started = e.monotonic_time;
        }
        void on_processing_exception(tidefall::processing_exception const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(e.duration == 3s);
            CHECK(e.monotonic_time == started + 3s);
            CHECK(e.message == "late");
            CHECK_THROWS_AS(std::rethrow_exception(e.error), std::runtime_error);
        }
        void on_processing_failed(tidefall::processing_failed const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(std::chrono::abs(std::chrono::system_clock::now() - e.system_time) < 1h);
        }
        void on_processing_stop(tidefall::processing_stop const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(e.duration == 3s);
            CHECK(e.monotonic_time == started + 3s);
        }
        void on_partition_stop(tidefall::partition_stop const& e) override {
            ++events;
            CHECK(e.buffer == "orders");
            CHECK(e.duration == 8s);
        }
    };
    auto const clock = tidefall::make_manual_runtime();
    auto const hook = std::make_shared<checks>();
    hook->clock = clock;
    clock->advance(100s);
    any_buffer items(kind, {.name = "orders", .partitions = 1, .telemetry = hook, .runtime = clock},
                     [&](std::span<int>) {
                         clock->advance(3s);
                         throw std::runtime_error("late");
                     });
    items.write(1);
    clock->advance(5s);
    items.stop();
    CHECK(hook->events == 6);
}

BUFFER_TEST_CASE("telemetry: combine calls each hook, in order, also after one that throws", EVERY_BUFFER) {
    struct failing : tidefall::telemetry_hook {
        void on_processing_start(tidefall::processing_start const&) override { throw std::runtime_error("hook"); }
    };
    auto const clock = tidefall::make_manual_runtime();
    auto const first = std::make_shared<event_log>();
    auto const last = std::make_shared<event_log>();
    std::shared_ptr<event_log> const none;
    {
        any_buffer items(kind,
                         {.partitions = 1,
                          .telemetry = tidefall::combine(first, none, std::make_shared<failing>(), last),
                          .runtime = clock},
                         [](std::span<int>) { throw 1; });  // NOLINT
        items.write(1);
        items.flush();
        CHECK(items.stats().hook_failures == 1);
    }
    CHECK(first->lines().size() == 6);
    CHECK(first->lines() == last->lines());
    // Every event passes through.
    auto const drops = std::make_shared<event_log>();
    tidefall::combine(drops)->on_items_dropped({.partition = 7, .size = 2});
    tidefall::combine(drops)->on_partition_full({.partition = 7, .size = 5});
    tidefall::combine(drops)->on_partition_room({.partition = 7, .refused = 3});
    CHECK(drops->lines() == lines{"items_dropped 7 2 stopped", "partition_full 7 5", "partition_room 7 3"});
}

BUFFER_TEST_CASE("telemetry: what hooks and undelivered throw is swallowed and counted", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    log->then = [](std::string const&) { throw 1; };  // NOLINT
    recorder<int> const seen;
    any_buffer items(
        kind, {.partitions = 1, .processing_batch_size = 1, .telemetry = log, .runtime = clock},
        [&](std::span<int> batch) {
            seen(batch);
            if (seen.batches().size() == 1) throw 2;  // NOLINT
        },
        [](std::span<int>, tidefall::failure const&) { throw 3; });  // NOLINT
    items.write_all(numbers(0, 2));
    items.stop();
    CHECK(seen.values().size() == 2);
    // partition_start, processing_start, _exception, _failed, undelivered, processing_stop, partition_stop
    CHECK(items.stats().hook_failures == 7);
}

BUFFER_TEST_CASE("telemetry: a hook may write to its buffer on every event", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer* target = nullptr;
    int writes = 0;
    log->then = [&](std::string const&) {
        if (target != nullptr && writes < 1000) {
            CHECK(target->write(++writes) == tidefall::write_status::accepted);
        }
    };
    any_buffer items(kind, {.partitions = 1, .telemetry = log, .runtime = clock}, [](std::span<int>) {});
    target = &items;
    items.write(0);
    for (int tick = 0; tick < 1000; ++tick) clock->advance(5s);
    target = nullptr;
    items.stop();
    CHECK(items.stats().processed == 1001);
}

BUFFER_TEST_CASE("telemetry: a drain that was requested keeps the trigger that came first, and the next has its own",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    int calls = 0;
    any_buffer items(
        kind, {.partitions = 1, .processing_batch_size = 1, .drain_threshold = 2, .telemetry = log, .runtime = clock},
        [&](std::span<int>) {
            if (++calls == 1) clock->advance(2s);
        });
    items.write(0);
    items.flush(0s);  // queued
    items.write(1);
    items.write(2);   // the threshold
    items.flush(0s);  // has nothing to add
    log->clear();
    clock->advance(0s);
    items.write(3);
    clock->advance(5s);
    CHECK(log->lines() == lines{"processing_start 0 1 flush", "processing_stop 0 1", "processing_start 0 2 threshold",
                                "processing_stop 0 2", "processing_start 0 1 interval", "processing_stop 0 1"});
}

TEST_CASE("telemetry: a drain that was paused and is dropped stops") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<tests::event_log>();
    auto how = tests::one_partition(clock, 1);
    how.telemetry = log;
    tidefall::queue<int> items(how, [&](std::span<int>) { clock->advance(10ms); });
    for (int i = 0; i < 3; ++i) items.push(i);
    CHECK_FALSE(items.flush(5ms).complete);
    CHECK(items.stop(0s).dropped == 2);
    auto const told = log->lines();
    CHECK(std::count(told.begin(), told.end(), "processing_stop 0 3") == 1);
}

TEST_CASE("telemetry: of the notes that stops give the first is told") {
    struct hook final : tidefall::telemetry_hook {
        void on_partition_stop(tidefall::partition_stop const& e) override {
            notes.emplace_back(e.note);
            if (at_first) std::thread(std::exchange(at_first, nullptr)).join();
        }
        std::vector<std::string> notes;
        std::function<void()> at_first;
    };
    auto const told = std::make_shared<hook>();
    tidefall::queue<int> items({.partitions = 2, .telemetry = told, .runtime = tidefall::make_manual_runtime()},
                               [](std::span<int>) {});
    told->at_first = [&] { items.stop(1s, "second"); };
    items.stop(1s, "first");
    CHECK(told->notes == std::vector<std::string>{"first", "first"});
}

BUFFER_TEST_CASE("telemetry: a drain that was dropped before it began neither starts nor stops", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer items(kind, {.partitions = 1, .telemetry = log, .runtime = clock}, [](std::span<int>) {});
    items.write(1);
    items.flush(0s);
    log->clear();
    items.stop(0s);
    CHECK(log->lines() == lines{"items_dropped 0 1 stopped", "partition_stop 0 deadline"});
}
