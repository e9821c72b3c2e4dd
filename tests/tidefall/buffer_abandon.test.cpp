// SPDX-License-Identifier: MIT
//
// Calls that take longer than `processing_timeout`, where it gives them up.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::buffer_kind;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::parcel;
using tests::parcel_buffer;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::failure_reason;
using tidefall::timeout_action;

namespace {

constexpr auto never = std::chrono::nanoseconds::max();

/// Calls that hang one after the other, until they are let go, and then do as they are told.
struct hanging {
    latch let_go;
    std::atomic<int> entered{0};
    std::atomic<int> left{0};

    void hang() {
        ++entered;
        let_go.wait();
        ++left;
    }

    void wait_until_entered() {
        until([&] { return entered == 1; });
    }
};

/// Has the calls that are running given up, and none that begins later.
template <typename Buffer>
void give_up_calls(Buffer& of, std::size_t values) {
    of.update_options({.processing_timeout = 1ns});
    until([&] { return of.stats().abandoned == values; });
    of.update_options({.processing_timeout = never});
}

/// Starts the drain of what waits, whose call hangs, and has it given up.
template <typename Buffer>
void hang_and_give_up(Buffer& of, hanging& call, std::size_t values) {
    of.flush(0s);
    call.wait_until_entered();
    give_up_calls(of, values);
}

tidefall::options abandoning(std::shared_ptr<tidefall::runtime> runtime = {}) {
    return {.partitions = 1,
            .processing_interval = never,
            .processing_batch_size = 100,
            .processing_timeout = never,
            .timeout_action = timeout_action::abandon,
            .runtime = std::move(runtime)};
}

}  // namespace

BUFFER_TEST_CASE("abandon: the partition goes on beside a call that hangs, which has its outcome", EVERY_BUFFER) {
    hanging first;
    returns<int> const back;
    std::mutex mutex;
    std::vector<int> processed;
    auto const log = std::make_shared<event_log>();
    auto how = abandoning();
    how.telemetry = log;
    any_buffer items(
        kind, how,
        [&](std::span<int> batch, std::stop_token const& token) {
            if (first.entered == 0) {
                first.hang();
                until([&] { return token.stop_requested(); });  // the token follows the count
                throw std::runtime_error("too late to count");
            }
            CHECK_FALSE(token.stop_requested());
            std::lock_guard const lock(mutex);
            processed.insert(processed.end(), batch.begin(), batch.end());
        },
        back);
    items.write_all(numbers(0, 3));
    items.flush(0s);
    first.wait_until_entered();
    CHECK(items.stats().in_flight == 3);
    give_up_calls(items, 3);
    CHECK(items.stats().failed == 3);
    CHECK(items.stats().in_flight == 0);
    CHECK(back.all().empty());  // the call still has them

    items.write_all(numbers(10, 14));
    CHECK(items.flush() == drain_report{.processed = 4});
    {
        std::lock_guard const lock(mutex);
        CHECK(kind.arranged(processed) == numbers(10, 14));
    }

    first.let_go.open();
    until([&] { return items.stats().abandoned == 0; });
    CHECK(kind.arranged(back.values()) == numbers(0, 3));
    CHECK(back.all()[0].reason == failure_reason::timeout);
    CHECK(back.all()[0].error == nullptr);
    CHECK(items.stats().failed == 3);
    items.write(20);
    CHECK(items.stop() == drain_report{.processed = 1});
    tests::check_conservation(items.stats());
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 3 timeout") == 1);
    CHECK(std::count_if(lines.begin(), lines.end(), [](auto const& line) {
              return line.find("processing_failed") == 0 || line.find("processing_exception") == 0;
          }) == 1);
}

BUFFER_TEST_CASE("abandon: the rest of the drained table follows, and what the late call holds stays as it is",
                 EVERY_BUFFER) {
    hanging first;
    std::vector<int> before;
    std::vector<int> after;
    auto how = abandoning();
    how.processing_batch_size = 4;
    how.processing_timeout = 1s;  // so long that no other call takes it
    auto const life = std::make_shared<int>(0);
    {
        returns<parcel> const back;
        parcel_buffer items(
            kind, how,
            [&](std::span<parcel> batch) {
                if (first.entered > 0) return;
                for (parcel const& one : batch) before.push_back(one.number);
                first.hang();
                for (parcel const& one : batch) {
                    if (one.life) after.push_back(one.number);
                }
            },
            back);
        std::vector<parcel> all;
        for (int number = 0; number < 18; ++number) all.push_back({number, life});
        items.write_all(std::move(all));
        auto const report = items.flush();
        CHECK(report == drain_report{.processed = 14, .failed = 4, .abandoned = 4});
        for (int round = 0; round < 3; ++round) {  // in fresh memory
            std::vector<parcel> more;
            for (int number = 100; number < 118; ++number) more.push_back({number, life});
            items.write_all(std::move(more));
            CHECK(items.flush().processed == 18);
        }
        CHECK(first.left == 0);
        first.let_go.open();
        until([&] { return items.stats().abandoned == 0; });
        CHECK(back.values().size() == 4);
    }
    CHECK(before.size() == 4);
    CHECK(after == before);
    CHECK(life.use_count() == 1);
}

BUFFER_TEST_CASE("abandon: neither a flush nor a stop waits for what is given up", EVERY_BUFFER) {
    hanging all;
    any_buffer items(kind, abandoning(tidefall::make_runtime({.workers = 2})), [&](std::span<int>) { all.hang(); });
    items.write_all(numbers(0, 3));
    items.flush(0s);
    all.wait_until_entered();
    items.update_options({.processing_timeout = 1ns});  // before the flush, or in it
    auto const flushed = items.flush();
    CHECK(flushed.complete);
    CHECK(flushed.failed == flushed.abandoned);
    CHECK(items.stats().abandoned == 3);
    items.update_options({.processing_timeout = never});
    items.write_all(numbers(3, 5));
    items.flush(0s);
    until([&] { return all.entered == 2; });
    drain_report report;
    std::thread stopper([&] { report = items.stop(); });
    items.update_options({.processing_timeout = 1ns});  // before it closes, or after
    stopper.join();
    CHECK(report.complete);
    CHECK(report.failed == report.abandoned);
    CHECK(items.stats().abandoned == 5);
    CHECK(items.stats().in_flight == 0);
    all.let_go.open();
    until([&] { return items.stats().abandoned == 0; });
    CHECK(items.stop() == report);
}

BUFFER_TEST_CASE("abandon: at most as many calls as there are workers, and beyond that it waits", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    hanging first;
    hanging second;
    std::atomic<int> calls{0};
    any_buffer items(kind, abandoning(runtime), [&](std::span<int>) {
        auto const call = ++calls;
        if (call == 1) first.hang();
        if (call == 2) second.hang();
    });
    items.write(1);
    hang_and_give_up(items, first, 1);
    items.write_all(numbers(2, 4));
    items.flush(0s);
    second.wait_until_entered();
    items.update_options({.processing_timeout = 1ns});
    CHECK_FALSE(items.flush(1ms).complete);
    CHECK(items.stats().in_flight == 2);
    CHECK(items.stats().abandoned == 1);
    first.let_go.open();
    until([&] { return items.stats().abandoned == 0; });
    second.let_go.open();
    items.flush();
    CHECK(items.stats().failed == 3);  // the second took too long, and was waited for
    items.update_options({.processing_timeout = never});
    items.write(9);
    CHECK(items.flush().processed == 1);
}

BUFFER_TEST_CASE("abandon: with each call that returns another one may be given up", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1, .thread_name = "again"});
    std::vector<std::unique_ptr<hanging>> hangs;
    for (int i = 0; i < 20; ++i) hangs.push_back(std::make_unique<hanging>());
    std::atomic<std::size_t> calls{0};
    any_buffer items(kind, abandoning(runtime), [&](std::span<int>) { hangs[calls++]->hang(); });
    for (auto& one : hangs) {
        items.write(1);
        hang_and_give_up(items, *one, 1);
        one->let_go.open();
        until([&] { return items.stats().abandoned == 0; });
    }
    CHECK(items.stop().complete);
    CHECK(items.stats().failed == hangs.size());
    if (tests::thread_count() > 0) {  // the late ones end
        until([&] {
            auto const all = tests::threads();
            return std::count_if(all.begin(), all.end(),
                                 [](auto const& one) { return one.name.starts_with("again/work/"); }) == 1;
        });
    }
}

BUFFER_TEST_CASE("abandon: in table mode too", EVERY_BUFFER) {
    hanging first;
    std::vector<int> held;
    std::atomic<int> processed{0};
    any_buffer items(kind, abandoning(), [&](std::vector<int> whole) {
        if (first.entered == 0) {
            first.hang();
            held = whole;
        } else {
            processed += static_cast<int>(whole.size());
        }
    });
    items.write_all(numbers(0, 5));
    hang_and_give_up(items, first, 5);
    items.write_all(numbers(5, 12));
    CHECK(items.flush() == drain_report{.processed = 7});
    CHECK(processed == 7);
    first.let_go.open();
    until([&] { return items.stats().abandoned == 0; });
    CHECK(kind.arranged(held) == numbers(0, 5));
    CHECK(items.stop().complete);
}

BUFFER_TEST_CASE("abandon: what a late call touches outlives the buffer and its runtime", EVERY_BUFFER) {
    auto const first = std::make_shared<hanging>();
    auto const life = std::make_shared<int>(0);
    auto returned = std::make_shared<returns<parcel>>();
    auto const was_returned = std::make_shared<latch>();
    auto const processors = std::make_shared<int>(0);
    {
        auto how = abandoning();
        how.shutdown_timeout = never;
        how.calls_at_destruction = tidefall::destruction_action::leave;
        parcel_buffer items(
            kind, how,
            [first, processors](std::span<parcel> batch, std::stop_token const& token) {
                first->hang();
                until([&] { return token.stop_requested(); });  // the token follows the count
                for (parcel& one : batch) CHECK(one.life != nullptr);
            },
            [returned, was_returned, processors](std::span<parcel> batch, tidefall::failure const& why) {
                (*returned)(batch, why);
                was_returned->open();
            });
        items.write({7, life});
        hang_and_give_up(items, *first, 1);
    }
    CHECK(life.use_count() == 2);
    CHECK(processors.use_count() > 1);
    first->let_go.open();
    was_returned->wait();
    until([&] { return processors.use_count() == 1; });
    CHECK(returned->values().size() == 1);
    returned.reset();
    CHECK(life.use_count() == 1);
}

BUFFER_TEST_CASE("abandon: a stop whose deadline passes beside a late call drops what waits", EVERY_BUFFER) {
    hanging first;
    hanging second;
    std::atomic<int> calls{0};
    any_buffer items(kind, abandoning(tidefall::make_runtime({.workers = 1})), [&](std::span<int>) {
        if (++calls == 1) {
            first.hang();
        } else {
            second.hang();
        }
    });
    items.write(1);
    hang_and_give_up(items, first, 1);
    items.write_all(numbers(2, 4));
    items.flush(0s);
    second.wait_until_entered();
    items.write_all(numbers(4, 7));
    auto const report = items.stop(0s);
    CHECK_FALSE(report.complete);
    CHECK(report.dropped == 3);
    CHECK(items.stats().in_flight == 2);
    first.let_go.open();
    second.let_go.open();
    until([&] { return items.stats().in_flight == 0 && items.stats().abandoned == 0; });
    CHECK(items.stats().processed == 2);
    CHECK(items.stats().failed == 1);
    tests::check_conservation(items.stats());
}

BUFFER_TEST_CASE("abandon: a call within a call of another buffer is given up alone", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    hanging inner_call;
    any_buffer inner(kind, abandoning(runtime), [&](std::span<int> batch) {
        if (batch[0] == 1) inner_call.hang();
    });
    std::atomic<bool> outer_returned{false};
    any_buffer outer(kind, {.partitions = 1, .processing_interval = never, .runtime = runtime}, [&](std::span<int>) {
        inner.write(1);
        inner.flush();  // on this thread
        outer_returned = true;
    });
    outer.write(5);
    outer.flush(0s);
    inner_call.wait_until_entered();
    give_up_calls(inner, 1);
    inner.write(2);
    CHECK(inner.flush() == drain_report{.processed = 1});
    CHECK_FALSE(outer_returned);
    CHECK(outer.stats().in_flight == 1);
    inner_call.let_go.open();
    CHECK(outer.stop().complete);
    CHECK(outer_returned);
    CHECK(outer.stats().processed == 1);
    CHECK(inner.stop().complete);
}

BUFFER_TEST_CASE("abandon: on a manual runtime it waits", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    any_buffer items(kind,
                     {.partitions = 1,
                      .processing_batch_size = 2,
                      .processing_timeout = 10s,
                      .timeout_action = timeout_action::abandon,
                      .runtime = clock},
                     [&](std::span<int>) {
                         if (++calls == 1) {
                             clock->advance(10s);
                             CHECK(items.stats().in_flight == 4);
                             CHECK(calls == 1);
                         }
                     });
    items.write_all(numbers(0, 4));
    CHECK(items.flush() == drain_report{.processed = 2, .failed = 2});
    CHECK(items.stats().abandoned == 0);
}
