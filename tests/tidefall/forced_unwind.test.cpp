// SPDX-License-Identifier: MIT
//
// A processor that ends its thread: pthread_exit unwinds the stack by force.
#include <version>

#if defined(__GLIBCXX__) && (defined(__unix__) || defined(__APPLE__))

#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/async_batch.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pthread.h>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::failure_reason;

BUFFER_TEST_CASE("forced unwind: a call that ends its thread fails its batch, and the partition goes on",
                 EVERY_BUFFER) {
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    std::atomic<int> calls{0};
    std::vector<int> processed;
    any_buffer items(
        kind, {.partitions = 1, .processing_interval = 1h, .processing_batch_size = 2, .telemetry = log},
        [&](std::span<int> batch) {
            if (++calls == 2) pthread_exit(nullptr);
            processed.insert(processed.end(), batch.begin(), batch.end());
        },
        back);
    log->clear();
    items.write_all(numbers(0, 7));
    CHECK(items.flush() == drain_report{.processed = 5, .failed = 2});
    CHECK(processed.size() == 5);
    CHECK(back.values().size() == 2);
    CHECK(back.all()[0].reason == failure_reason::exception);
    CHECK(back.all()[0].error == nullptr);
    auto const lines = log->lines();
    CHECK(std::count_if(lines.begin(), lines.end(), [](auto const& line) {
              return line.find("processing_exception 0 2") == 0 && line.find("forced unwind") != std::string::npos;
          }) == 1);
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 2 exception") == 1);
    CHECK(std::count(lines.begin(), lines.end(), "processing_stop 0 7") == 1);
    items.write(9);
    CHECK(items.stop() == drain_report{.processed = 1});
    tests::check_conservation(items.stats());
}

BUFFER_TEST_CASE("forced unwind: every worker is replaced, however often", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 2, .thread_name = "ends"});
    {
        any_buffer items(kind,
                         {.partitions = 2, .processing_interval = 1h, .processing_batch_size = 1, .runtime = runtime},
                         [&](std::span<int> batch) {
                             if (batch[0] % 2 == 0) pthread_exit(nullptr);
                         });
        items.write_all(numbers(0, 40));
        auto const report = items.flush();
        CHECK(report == drain_report{.processed = 20, .failed = 20});
    }
    if (tests::thread_count() > 0) {
        until([&] {
            auto const all = tests::threads();
            return std::count_if(all.begin(), all.end(),
                                 [](auto const& one) { return one.name.starts_with("ends/work/"); }) == 2;
        });
    }
}

BUFFER_TEST_CASE("forced unwind: in table mode the table is lost with the call", EVERY_BUFFER) {
    std::atomic<int> calls{0};
    any_buffer items(kind, {.partitions = 1, .processing_interval = 1h}, [&](std::vector<int>) {
        if (++calls == 1) pthread_exit(nullptr);
    });
    items.write_all(numbers(0, 5));
    CHECK(items.flush() == drain_report{.failed = 5});
    items.write_all(numbers(0, 3));
    CHECK(items.stop() == drain_report{.processed = 3});
    CHECK(calls == 2);  // none with what is left of a table
}

BUFFER_TEST_CASE("forced unwind: of the last call before a stop, or of a late one", EVERY_BUFFER) {
    {
        any_buffer items(kind, {.partitions = 1, .processing_interval = 1h},
                         [](std::span<int>) { pthread_exit(nullptr); });
        items.write_all(numbers(0, 5));
        CHECK(items.stop() == drain_report{.failed = 5});
    }
    latch let_go;
    std::atomic<bool> entered{false};
    returns<int> const back;
    any_buffer items(
        kind,
        {.partitions = 1,
         .processing_interval = 1h,
         .processing_timeout = std::chrono::nanoseconds::max(),
         .timeout_action = tidefall::timeout_action::abandon},
        [&](std::span<int>) {
            if (entered.exchange(true)) return;
            let_go.wait();
            pthread_exit(nullptr);
        },
        back);
    items.write_all(numbers(0, 3));
    items.flush(0s);
    until([&] { return entered.load(); });
    items.update_options({.processing_timeout = 1ns});
    until([&] { return items.stats().abandoned == 3; });
    items.update_options({.processing_timeout = std::chrono::nanoseconds::max()});
    let_go.open();
    until([&] { return items.stats().abandoned == 0; });
    CHECK(back.values().size() == 3);
    CHECK(back.all()[0].reason == failure_reason::timeout);
    items.write(1);
    CHECK(items.stop() == drain_report{.processed = 1});
}

BUFFER_TEST_CASE("forced unwind: of a call beside which a stop has dropped the rest, its drain ends", EVERY_BUFFER) {
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    latch entered;
    latch let_go;
    {
        any_buffer items(
            kind, {.partitions = 1, .processing_interval = 1h, .processing_batch_size = 2, .telemetry = log},
            [&](std::span<int>) {
                entered.open();
                let_go.wait();
                pthread_exit(nullptr);
            },
            back);
        items.write_all(numbers(0, 5));
        items.flush(0s);
        entered.wait();
        CHECK(items.stop(0s) == drain_report{.dropped = 3, .complete = false});
        let_go.open();
        until([&] { return items.stats().in_flight == 0; });
        CHECK(items.stats().failed == 2);
        tests::check_conservation(items.stats());
    }  // nothing is in use any more
    CHECK(back.values().size() == 5);
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "processing_stop 0 5") == 1);
}

TEST_CASE("forced unwind: of a call of who polls, beside which a stop has dropped the rest, leaves nothing to do") {
    auto const polled = tidefall::make_polled_runtime();
    latch entered;
    latch let_go;
    {
        tidefall::queue<int> items({.partitions = 1,
                                    .processing_interval = 1h,
                                    .processing_batch_size = 2,
                                    .drain_threshold = 5,
                                    .unheard = tidefall::unheard_action::ignore,
                                    .runtime = polled},
                                   [&](std::span<int>) {
                                       entered.open();
                                       let_go.wait();
                                       pthread_exit(nullptr);
                                   });
        items.push_range(numbers(0, 5));
        std::thread polls([&] { polled->poll(); });
        entered.wait();
        CHECK(items.stop(0s).dropped == 3);
        let_go.open();
        polls.join();
        CHECK(items.stats().failed == 2);
    }  // nothing is in use any more
    CHECK(polled->poll() == 0);
}

TEST_CASE("forced unwind: of a call that takes its batch, which is broken by that, or is somebody's by then") {
    bool const is_kept = GENERATE(false, true);
    std::atomic<int> calls{0};
    std::optional<tidefall::async_batch<int>> kept;
    latch leaves;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = 1h, .processing_batch_size = 2, .shutdown_timeout = 1h},
        [&](tidefall::async_batch<int> batch) {
            if (++calls > 1) return batch.complete();
            if (is_kept) kept.emplace(std::move(batch));
            leaves.open();
            pthread_exit(nullptr);
        });
    items.push_range(numbers(0, 6));
    items.flush(0s);
    leaves.wait();
    if (is_kept) kept->complete();
    CHECK(items.flush().complete);
    CHECK(calls == 3);
    CHECK(items.stats().failed == (is_kept ? 0 : 2));
    CHECK(items.stop().complete);
    tests::check_conservation(items.stats());
}

BUFFER_TEST_CASE("forced unwind: where the processor runs on the calling thread it passes, and the batch fails",
                 EVERY_BUFFER) {
    auto const how = GENERATE(0, 1, 2, 3);
    auto const clock = tidefall::make_manual_runtime();
    std::atomic<int> calls{0};
    any_buffer items(kind,
                     {.partitions = 1,
                      .processing_batch_size = 2,
                      .capacity = how == 3 ? std::optional<std::size_t>(4) : std::nullopt,
                      .runtime = clock},
                     [&](std::span<int>) {
                         if (++calls == 1) pthread_exit(nullptr);
                     });
    items.write_all(numbers(0, 4));
    bool went_on = false;
    std::thread ends([&] {
        if (how == 0) clock->advance(5s);
        if (how == 1) items.flush();
        if (how == 2) items.stop();
        if (how == 3) items.write(9);  // it finds no room, and makes some
        went_on = true;
    });
    ends.join();
    CHECK_FALSE(went_on);
    CHECK(items.stats().failed == 2);
    CHECK(items.stats().in_flight == 2);
    // The rest of the drain is there for whoever comes next.
    clock->advance(5s);
    CHECK(items.stats().processed == 2);
    CHECK(items.stop().complete);
    CHECK(calls == 2);
    tests::check_conservation(items.stats());
}

BUFFER_TEST_CASE(
    "forced unwind: out of a flush of another buffer on a worker, both batches fail, and the runtime goes on",
    EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    any_buffer inner(kind, {.partitions = 1, .processing_interval = 1h, .runtime = runtime}, [](std::span<int> batch) {
        if (batch[0] == 1) pthread_exit(nullptr);
    });
    any_buffer outer(kind, {.partitions = 1, .processing_interval = 1h, .runtime = runtime}, [&](std::span<int> batch) {
        inner.write(batch[0]);
        inner.flush();
    });
    outer.write(1);
    CHECK(outer.flush() == drain_report{.failed = 1});
    CHECK(inner.stats().failed == 1);
    outer.write(2);
    CHECK(outer.flush() == drain_report{.processed = 1});
    CHECK(inner.stats().processed == 1);
}

#endif
