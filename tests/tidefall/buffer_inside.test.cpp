// SPDX-License-Identifier: MIT
//
// Calls on a buffer in its own processor, hooks, `undelivered` and stop callbacks, its destruction among them.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using lines = std::vector<std::string>;
using tests::any_buffer;
using tests::check_conservation;
using tests::deadlock_would_occur;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::parcel;
using tests::recorder;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::write_status;

BUFFER_TEST_CASE("buffer: in its own processor, hook and undelivered, flush and stop throw and nothing is closed",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer* self = nullptr;
    int checked = 0;
    auto const check = [&] {
        if (self == nullptr) return;
        ++checked;
        CHECK(deadlock_would_occur([&] { self->flush(); }));
        CHECK(deadlock_would_occur([&] { self->flush(0s); }));
        CHECK(deadlock_would_occur([&] { self->stop(); }));
        CHECK(deadlock_would_occur([&] { self->stop(0s); }));
        CHECK(self->partitions() == 1);
        CHECK(self->name() == "self");
        check_conservation(self->stats());
        static_cast<void>(self->size());
        self->update_options({.processing_batch_size = 3});
    };
    log->then = [&](std::string const&) { check(); };
    any_buffer items(
        kind, {.name = "self", .partitions = 1, .telemetry = log, .runtime = clock},
        [&](std::span<int>) {
            check();
            throw 1;  // NOLINT
        },
        [&](std::span<int>, tidefall::failure const&) { check(); });
    self = &items;
    items.write(1);
    items.flush();
    CHECK(items.write(2) == write_status::accepted);
    items.stop();
    // start, processor, exception, failed, undelivered, stop: twice; and partition_stop
    CHECK(checked == 13);
}

BUFFER_TEST_CASE("buffer: a processor may write to its own buffer", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    std::vector<write_status> answers;
    std::vector<std::size_t> bulk_answers;
    any_buffer items(kind, {.partitions = 1, .runtime = clock}, [&](std::span<int> batch) {
        auto const value = batch[0];
        seen(batch);
        answers.push_back(items.write(value + 1));
        answers.push_back(items.write(value + 2, 0));
        bulk_answers.push_back(items.write_all({value + 3, value + 4}));
    });
    items.write(0, 0);
    clock->advance(5s);
    CHECK(seen.values() == std::vector<int>{0});
    CHECK(items.size() == 4);
    items.stop();  // finite: writes are answered `stopped`
    CHECK(kind.arranged(seen.values()) == numbers(0, 5));
    CHECK(answers == std::vector<write_status>{write_status::accepted, write_status::accepted, write_status::stopped,
                                               write_status::stopped});
    CHECK(bulk_answers == std::vector<std::size_t>{2, 0});
}

BUFFER_TEST_CASE("buffer: flush of a buffer whose processor is further up the stack throws", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    int checked = 0;
    any_buffer* outer_address = nullptr;
    any_buffer inner(kind, {.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        CHECK(deadlock_would_occur([&] { outer_address->flush(); }));
        ++checked;
    });
    any_buffer outer(kind, {.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        inner.write(1);
        inner.flush();
    });
    outer_address = &outer;
    outer.write(1);
    outer.flush();
    CHECK(checked == 1);
}

BUFFER_TEST_CASE("buffer: in a stop callback on another thread flush and stop throw", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    int refused = 0;
    any_buffer items(kind, {.partitions = 1, .processing_timeout = 1s, .runtime = clock},
                     [&](std::span<int>, std::stop_token const& token) {
                         std::stop_callback const on_stop(token, [&] {
                             refused += deadlock_would_occur([&] { items.flush(0s); }) ? 1 : 0;
                             refused += deadlock_would_occur([&] { items.stop(); }) ? 1 : 0;
                             CHECK(items.write(2) == write_status::accepted);  // no lock is held
                             CHECK(items.stats().in_flight == 1);
                         });
                         entered.open();
                         release.wait();
                     });
    items.write(1);
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    clock->advance(10s);  // the timeout sounds here
    CHECK(refused == 2);
    release.open();
    other.join();
}

BUFFER_TEST_CASE("buffer: in hooks and undelivered that a stop calls on its own thread, flush and stop throw",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer* self = nullptr;
    int checked = 0;
    auto const check = [&] {
        if (self == nullptr) return;
        ++checked;
        CHECK(deadlock_would_occur([&] { self->flush(0s); }));
        CHECK(deadlock_would_occur([&] { self->stop(0s); }));
    };
    log->then = [&](std::string const&) { check(); };
    any_buffer items(
        kind, {.partitions = 1, .telemetry = log, .runtime = clock}, [](std::span<int>) {},
        [&](std::span<int>, tidefall::failure const&) { check(); });
    self = &items;
    items.write(1);
    CHECK(items.stop(0s).dropped == 1);
    CHECK(checked == 3);  // items_dropped, undelivered, partition_stop
    self = nullptr;
}

// ---- destroyed inside

BUFFER_TEST_CASE("buffer: destroyed in its own processor, it closes, returns, and the worker drains what is left",
                 EVERY_BUFFER) {
    std::atomic<int> processed{0};
    latch destroyed;
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    bool const private_runtime = GENERATE(true, false);
    auto const shared = private_runtime ? nullptr : tidefall::make_runtime({.workers = 1});
    std::atomic<bool> ready{false};
    *items = std::make_unique<any_buffer>(
        kind,
        tidefall::options{.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 2, .runtime = shared},
        [&](std::span<int> batch) {
            until([&] { return ready.load(); });
            if (*items) {
                items->reset();
                destroyed.open();
            }
            processed += static_cast<int>(batch.size());
        });
    (*items)->write_all(numbers(0, 7));
    ready = true;
    destroyed.wait();
    until([&] { return processed == 7; });
}

BUFFER_TEST_CASE("buffer: destroyed in its own hook", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    recorder<int> const seen;
    auto items = std::make_unique<any_buffer>(
        kind, tidefall::options{.partitions = 1, .processing_batch_size = 2, .telemetry = log, .runtime = clock}, seen);
    log->then = [&](std::string const& what) {
        if (what == "processing_start" && items) items.reset();
    };
    items->write_all(numbers(0, 5));
    clock->advance(5s);
    clock->advance(0s);
    CHECK(kind.arranged(seen.values()) == numbers(0, 5));
    CHECK(log->lines().back() == "partition_stop 0 stopped");
}

BUFFER_TEST_CASE("buffer: destroyed in its own hook, the calls that follow are still watched", EVERY_BUFFER) {
    auto const log = std::make_shared<event_log>();
    latch destroyed;
    latch stopped;
    std::atomic<bool> ready{false};
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    log->then = [&](std::string const& what) {
        if (what != "processing_start") return;
        until([&] { return ready.load(); });
        items->reset();
        destroyed.open();
    };
    *items = std::make_unique<any_buffer>(
        kind,
        tidefall::options{.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .telemetry = log},
        [&](std::span<int>, std::stop_token const& token) {
            destroyed.wait();
            std::stop_callback const on_stop(token, [&] { stopped.open(); });
            stopped.wait();
        });
    (*items)->write(1);
    ready = true;
    stopped.wait();
    until([&] { return log->lines().back() == "partition_stop 0 stopped"; });
}

BUFFER_TEST_CASE("buffer: destroyed in its own processor while a write that waits for room runs it", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    *items = std::make_unique<any_buffer>(kind, tidefall::options{.partitions = 1, .capacity = 1, .runtime = clock},
                                          [&](std::span<int> batch) {
                                              seen(batch);
                                              items->reset();
                                          });
    auto& destroyed = **items;
    CHECK(destroyed.write(1) == write_status::accepted);
    CHECK(destroyed.write(2) == write_status::stopped);
    CHECK(seen.values() == std::vector<int>{1});
}

BUFFER_TEST_CASE("buffer: destroyed in its own processor while flush or stop runs it on this thread", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const by_stop = GENERATE(false, true);
    recorder<int> const seen;
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    *items = std::make_unique<any_buffer>(
        kind, tidefall::options{.partitions = 1, .processing_batch_size = 1, .runtime = clock},
        [&](std::span<int> batch) {
            seen(batch);
            items->reset();
        });
    for (int i = 0; i < 3; ++i) (*items)->write(i);
    auto& destroyed = **items;
    auto const report = by_stop ? destroyed.stop() : destroyed.flush();
    CHECK(report == drain_report{.processed = 3});
    CHECK(kind.arranged(seen.values()) == numbers(0, 3));
}

BUFFER_TEST_CASE("buffer: destroyed in its own processor during a stop, that stop keeps its deadline and its report",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    int calls = 0;
    *items = std::make_unique<any_buffer>(
        kind, tidefall::options{.partitions = 1, .processing_batch_size = 1, .shutdown_timeout = 1h, .runtime = clock},
        [&](std::span<int>) {
            if (++calls == 2) items->reset();
            clock->advance(1s);
        });
    for (int i = 0; i < 5; ++i) (*items)->write(i);
    auto& destroyed = **items;
    CHECK(destroyed.stop(3s) == drain_report{.processed = 3, .dropped = 2, .complete = false});
}

BUFFER_TEST_CASE(
    "buffer: destroyed in its own processor, what the deadline overtakes is dropped, handed back and "
    "destroyed",
    EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    auto const life = std::make_shared<int>(0);
    std::size_t returned = 0;
    auto items = std::make_unique<std::unique_ptr<tests::parcel_buffer>>();
    *items = std::make_unique<tests::parcel_buffer>(
        kind,
        tidefall::options{
            .partitions = 1, .processing_batch_size = 1, .shutdown_timeout = 1s, .telemetry = log, .runtime = clock},
        [&](std::span<parcel>) {
            (*items)->write({3, life});
            items->reset();
            clock->advance(2s);
        },
        [&](std::span<parcel> rest, tidefall::failure const&) { returned += rest.size(); });
    for (int i = 0; i < 3; ++i) (*items)->write({i, life});
    log->clear();
    clock->advance(5s);
    CHECK(returned == 3);
    CHECK(log->lines() == lines{"processing_start 0 3 interval", "items_dropped 0 3 stopped", "processing_stop 0 3",
                                "partition_stop 0 deadline"});
    CHECK(life.use_count() == 1);
}

BUFFER_TEST_CASE("buffer: a last drain whose turn comes after the deadline does not begin", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    auto items = std::make_unique<std::unique_ptr<any_buffer>>();
    *items = std::make_unique<any_buffer>(
        kind, tidefall::options{.partitions = 1, .shutdown_timeout = 1s, .telemetry = log, .runtime = clock},
        [&](std::span<int>) {
            (*items)->write(2);
            items->reset();
            clock->advance(2s);
        },
        back);
    (*items)->write(1);
    log->clear();
    clock->advance(5s);
    CHECK(back.values() == std::vector<int>{2});
    CHECK(log->lines() == lines{"processing_start 0 1 interval", "processing_stop 0 1", "items_dropped 0 1 stopped",
                                "partition_stop 0 deadline"});
}
