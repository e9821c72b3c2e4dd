// SPDX-License-Identifier: MIT
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::check_conservation;
using tests::latch;
using tests::numbers;
using tidefall::drain_report;

BUFFER_TEST_CASE("buffer: flush waits for everything that was written before it", EVERY_BUFFER) {
    std::atomic<int> processed{0};
    any_buffer items(kind, {.partitions = 4, .processing_interval = 1h},
                     [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    CHECK(items.flush() == drain_report{});
    for (int round = 1; round <= 100; ++round) {
        for (int key = 0; key < 20; ++key) items.write(key, key);
        auto const report = items.flush();
        CHECK(report == drain_report{.processed = 20});
        CHECK(processed == 20 * round);
        CHECK(items.size() == 0);
    }
}

BUFFER_TEST_CASE("buffer: flush waits for the drain in flight and for what was written beside it", EVERY_BUFFER) {
    latch entered;
    latch release;
    std::atomic<int> processed{0};
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1ms}, [&](std::span<int> batch) {
        entered.open();
        release.wait();
        processed += static_cast<int>(batch.size());
    });
    items.write(1);
    entered.wait();
    items.update_options({.processing_interval = 1h});
    items.write(2);
    CHECK(items.flush(0s) == drain_report{.complete = false});
    CHECK(items.flush(1ms) == drain_report{.complete = false});  // the processor ignores it: a true report in time
    std::thread opens([&] { release.open(); });
    CHECK(items.flush().complete);
    CHECK(processed == 2);
    opens.join();
}

BUFFER_TEST_CASE("buffer: concurrent flushes share work", EVERY_BUFFER) {
    latch entered;
    latch release;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1h}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.write(1);
    std::vector<std::thread> threads;
    std::atomic<int> complete{0};
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { complete += items.flush().complete ? 1 : 0; });
    entered.wait();
    release.open();
    for (auto& thread : threads) thread.join();
    CHECK(complete == 8);
    CHECK(items.stats().ticks == 1);
}

BUFFER_TEST_CASE("buffer: a flush beside a call has nothing drained that is written after it", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.write(1);
    std::thread ticks([&] { clock->advance(1s); });
    entered.wait();
    CHECK_FALSE(items.flush(0s).complete);
    items.write(2);
    release.open();
    ticks.join();
    CHECK(items.stats().processed == 1);
    CHECK(items.size() == 1);
    clock->advance(1s);
    CHECK(items.stats().processed == 2);
}

BUFFER_TEST_CASE("buffer: after stop, flush returns at once", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    any_buffer items(kind, {.runtime = clock}, [](std::span<int>) {});
    items.write(1);
    items.stop();
    CHECK(items.flush() == drain_report{});
}

BUFFER_TEST_CASE("buffer: a flush beside a call that a stop gave up is not complete", EVERY_BUFFER) {
    auto const entered = std::make_shared<latch>();
    auto const release = std::make_shared<latch>();  // in the processor, which lives as long as the call
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1ms}, [entered, release](std::span<int>) {
        entered->open();
        release->wait();
    });
    items.write(1);
    entered->wait();
    CHECK_FALSE(items.stop(0s).complete);
    latch returned;
    bool complete = true;
    std::thread flushes([&] {
        complete = items.flush(std::chrono::nanoseconds::max()).complete;
        returned.open();
    });
    returned.wait();  // at once, whatever its deadline
    flushes.join();
    CHECK_FALSE(complete);
    release->open();
}

BUFFER_TEST_CASE("buffer: while a stop hands back what it drops, a flush on another thread is not complete",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch handing_back;
    latch release;
    any_buffer items(
        kind, tests::one_partition(clock), [](std::span<int>) {},
        [&](std::span<int>, tidefall::failure const&) {
            handing_back.open();
            release.wait();
        });
    items.write_all(numbers(0, 3));
    std::thread stops([&] { items.stop(0s); });
    handing_back.wait();
    CHECK(items.stats().dropped == 3);
    CHECK_FALSE(items.flush(1h).complete);
    CHECK_FALSE(items.flush(0s).complete);
    release.open();
    stops.join();
    CHECK(items.flush(1h).complete);
}

BUFFER_TEST_CASE("buffer: flush and stop of another buffer on a shared worker run that work here", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::atomic<int> outer_calls{0};
    std::atomic<int> inner_calls{0};
    std::thread::id inner_thread;
    any_buffer inner(kind, {.partitions = 2, .processing_interval = 1h, .runtime = runtime}, [&](std::span<int>) {
        inner_thread = std::this_thread::get_id();
        ++inner_calls;
    });
    any_buffer outer(kind, {.partitions = 1, .processing_interval = 1h, .runtime = runtime}, [&](std::span<int>) {
        inner.write(1);
        CHECK(inner.flush() == drain_report{.processed = 1});
        CHECK(inner_thread == std::this_thread::get_id());
        inner.write(2);
        CHECK(inner.stop() == drain_report{.processed = 1});
        ++outer_calls;
    });
    outer.write(1);
    CHECK(outer.flush().complete);
    CHECK(outer_calls == 1);
    CHECK(inner_calls == 2);
}

BUFFER_TEST_CASE("buffer: one wedged processor does not starve the others", EVERY_BUFFER) {
    latch release;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    latch entered;
    any_buffer wedged(kind, {.partitions = 1, .processing_interval = 1ms, .runtime = runtime}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    wedged.write(1);
    entered.wait();
    std::atomic<int> processed{0};
    any_buffer others(kind, {.partitions = 16, .processing_interval = 1ms, .runtime = runtime},
                      [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    for (int key = 0; key < 100; ++key) others.write(key, key);
    CHECK(others.flush().complete);
    CHECK(processed == 100);
    release.open();
}

BUFFER_TEST_CASE("buffer: a stop that gives up beside undelivered of a flush past its deadline hands back the rest",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    std::vector<int> back;
    any_buffer items(
        kind, {.partitions = 1, .processing_batch_size = 1, .runtime = clock},
        [&](std::span<int>) {
            clock->advance(2s);
            throw std::runtime_error("no");
        },
        [&](std::span<int> rest, tidefall::failure const&) {
            back.insert(back.end(), rest.begin(), rest.end());
            if (back.size() > 1) return;
            entered.open();
            release.wait();
        });
    for (int i = 0; i < 4; ++i) items.write(i);
    std::thread other([&] { items.flush(1s); });
    entered.wait();
    items.stop();
    release.open();
    other.join();
    CHECK(kind.arranged(back) == numbers(0, 4));
    check_conservation(items.stats());
}

BUFFER_TEST_CASE(
    "buffer: one partition that hangs keeps the processor, and one that is not done makes a flush "
    "incomplete",
    EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const hangs = GENERATE(std::size_t{0}, std::size_t{1});
    latch entered;
    latch release;
    auto const life = std::make_shared<int>(0);
    std::thread other;
    {
        any_buffer items(
            kind, {.partitions = 2, .calls_at_destruction = tidefall::destruction_action::leave, .runtime = clock},
            [&, life](std::span<int>) {
                entered.open();
                release.wait();
            });
        for (int key = 0; items.size(hangs) == 0; ++key) {
            any_buffer probe(kind, {.partitions = 2, .runtime = clock}, [](std::span<int>) {});
            probe.write(key, key);
            if (probe.size(hangs) == 1) items.write(key, key);
        }
        CHECK_FALSE(items.flush(0s).complete);
        other = std::thread([&] { clock->advance(0s); });
        entered.wait();
    }
    CHECK(life.use_count() == 2);
    release.open();
    other.join();
    CHECK(life.use_count() == 1);
}
