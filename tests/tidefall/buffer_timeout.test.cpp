// SPDX-License-Identifier: MIT
//
// Calls that take longer than `processing_timeout`, where it waits for them.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::failure_reason;

BUFFER_TEST_CASE("buffer: a call that takes too long has its token stopped at once and fails when it returns",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    std::vector<int> late;
    int calls = 0;
    any_buffer items(
        kind,
        {.partitions = 1, .processing_batch_size = 2, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
        [&](std::span<int> batch, std::stop_token const& token) {
            ++calls;
            CHECK_FALSE(token.stop_requested());  // each call starts with a token that is not stopped
            if (calls == 2) {
                late.assign(batch.begin(), batch.end());
                clock->advance(9999ms);
                CHECK_FALSE(token.stop_requested());
                clock->advance(1ms);
                CHECK(token.stop_requested());
                CHECK(items.stats().failed == 0);
                CHECK(items.stats().in_flight == 4);
                auto const lines = log->lines();
                CHECK(lines.back() == "processing_failed 0 2 timeout");
                throw std::runtime_error("ignored");
            }
        },
        back);
    log->clear();
    items.write_all(numbers(0, 6));
    CHECK(items.flush() == drain_report{.processed = 4, .failed = 2});
    CHECK(back.values() == late);
    if (kind.in_order) CHECK(late == numbers(2, 4));
    CHECK(back.all()[0].reason == failure_reason::timeout);
    CHECK(back.all()[0].error == nullptr);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 6 flush", "processing_failed 0 2 timeout",
                                                   "processing_stop 0 6"});
}

BUFFER_TEST_CASE("buffer: a call that throws in time and then looks late has one outcome", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    any_buffer items(kind, {.partitions = 1, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
                     [&](std::span<int>) {
                         clock->advance(9999ms);
                         throw std::runtime_error("in time");
                     });
    items.write(1);
    items.flush();
    clock->advance(1h);
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 1 exception") == 1);
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 1 timeout") == 0);
    CHECK(items.stats().failed == 1);
}

BUFFER_TEST_CASE("buffer: the watchdog stops the token of a call on a real thread, and the partition stays busy",
                 EVERY_BUFFER) {
    latch stopped;
    std::atomic<int> concurrent{0};
    std::atomic<int> calls{0};
    any_buffer items(
        kind, {.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 1, .processing_timeout = 1ms},
        [&](std::span<int>, std::stop_token const& token) {
            CHECK(++concurrent == 1);
            if (++calls == 1) {
                std::stop_callback const on_stop(token, [&] { stopped.open(); });
                stopped.wait();
            }
            --concurrent;
        });
    items.write_all(numbers(0, 3));
    auto const report = items.stop();
    CHECK(report.complete);
    CHECK(items.stats().failed >= 1);
    CHECK(items.stats().failed + items.stats().processed == 3);
}

BUFFER_TEST_CASE("buffer: a stop callback that blocks does not keep other partitions from ticking", EVERY_BUFFER) {
    latch entered;
    latch release;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    any_buffer stuck(kind, {.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .runtime = runtime},
                     [&](std::span<int>, std::stop_token const& token) {
                         std::stop_callback const blocks(token, [&] {
                             entered.open();
                             release.wait();
                         });
                         release.wait();
                     });
    stuck.write(1);
    entered.wait();
    std::atomic<int> processed{0};
    any_buffer other(kind, {.partitions = 1, .processing_interval = 1ms, .runtime = runtime},
                     [&](std::span<int>) { ++processed; });
    for (int tick = 1; tick < 5; ++tick) {
        other.write(1);
        until([&] { return processed == tick; });
    }
    release.open();
}

BUFFER_TEST_CASE("buffer: a call is judged by its own time, also where the watchdog is held up in a hook",
                 EVERY_BUFFER) {
    latch entered;
    latch release;
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what != "processing_failed") return;
        entered.open();
        release.wait();
    };
    auto const runtime = tidefall::make_runtime({.workers = 2});
    any_buffer first(
        kind,
        {.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .telemetry = log, .runtime = runtime},
        [&](std::span<int>) { release.wait(); });
    first.write(1);
    entered.wait();  // the watchdog is in the hook
    auto const told = std::make_shared<event_log>();
    any_buffer second(kind, {.partitions = 1, .processing_timeout = 1ms, .telemetry = told, .runtime = runtime},
                      [&](std::span<int>) {
                          auto const end = std::chrono::steady_clock::now() + 5ms;
                          until([&] { return std::chrono::steady_clock::now() > end; });
                      });
    second.write(1);
    CHECK(second.flush() == drain_report{.failed = 1});
    auto const lines = told->lines();
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 1 timeout") == 1);  // by the worker
    release.open();
}

BUFFER_TEST_CASE("buffer: every call of a drain is watched, also after one that was quick or late", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    any_buffer items(kind, {.partitions = 1, .processing_batch_size = 1, .processing_timeout = 10s, .runtime = clock},
                     [&](std::span<int>, std::stop_token const& token) {
                         if (++calls % 2 == 1) return clock->advance(6s);
                         clock->advance(9999ms);
                         CHECK_FALSE(token.stop_requested());
                         clock->advance(1ms);
                         CHECK(token.stop_requested());
                     });
    for (int i = 0; i < 6; ++i) items.write(i);
    CHECK(items.flush(1h) == drain_report{.processed = 3, .failed = 3});
}

BUFFER_TEST_CASE("buffer: the calls of later drains are watched too", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    any_buffer items(kind, {.partitions = 1, .processing_timeout = 10s, .runtime = clock},
                     [&](std::span<int>, std::stop_token const& token) {
                         clock->advance(1s);
                         if (++calls == 1) return;
                         clock->advance(9s);
                         CHECK(token.stop_requested());
                     });
    items.write(1);
    CHECK(items.flush().processed == 1);
    items.write(2);
    CHECK(items.flush().failed == 1);
}

BUFFER_TEST_CASE("buffer: time that passes in hooks and undelivered after a call is not the call's", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what == "processing_exception") clock->advance(1min);
    };
    any_buffer items(
        kind, {.partitions = 1, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
        [](std::span<int>) { throw std::runtime_error("no"); },
        [&](std::span<int>, tidefall::failure const&) { clock->advance(1min); });
    items.write(1);
    log->clear();
    CHECK(items.flush(1h).failed == 1);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 1 flush", "processing_exception 0 1 no",
                                                   "processing_failed 0 1 exception", "processing_stop 0 1"});
}

TEST_CASE("buffer: a call that gets a whole table has its token stopped too, each call one of its own") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 2s, .runtime = clock},
                               [&](tidefall::queue<int>::table_type all, std::stop_token const& token) {
                                   CHECK(all.size() == 1);
                                   CHECK(token.stop_possible());
                                   CHECK_FALSE(token.stop_requested());
                                   clock->advance(2s);
                                   CHECK(token.stop_requested());
                                   ++calls;
                               });
    for (int i = 0; i < 2; ++i) {
        items.push(i);
        CHECK(items.flush() == drain_report{.failed = 1});
    }
    CHECK(calls == 2);
}
