// SPDX-License-Identifier: MIT
//
// What every buffer promises of batches, table mode, thresholds and failures. Other promises are in buffer_*.test.cpp.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::check_conservation;
using tests::event_log;
using tests::numbers;
using tests::parcel;
using tests::recorder;
using tests::returns;
using tidefall::drain_report;
using tidefall::failure_reason;

// ---- batches

BUFFER_TEST_CASE("buffer: n values make ceil(n / batch size) calls, each full but the last", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch =
        GENERATE(std::size_t{1}, 2, 7, 10, 64, 100, 127, 128, 129, 1000, 5000, std::numeric_limits<std::size_t>::max());
    auto const count = GENERATE(1, 9, 10, 11, 128, 129, 1000, 3000);
    recorder<int> const seen;
    any_buffer items(kind, {.partitions = 1, .processing_batch_size = batch, .runtime = clock}, seen);
    CHECK(items.write_all(numbers(0, count)) == static_cast<std::size_t>(count));
    CHECK(items.size() == static_cast<std::size_t>(count));
    clock->advance(5s);
    auto const n = static_cast<std::size_t>(count);
    std::vector<std::size_t> expected(n / batch, batch);
    if (n % batch != 0) expected.push_back(n % batch);
    CHECK(seen.sizes() == expected);  // gathered over the stripes, where there are several
    CHECK(kind.arranged(seen.values()) == numbers(0, count));
    CHECK(items.stats().ticks == 1);
}

BUFFER_TEST_CASE("buffer: each tick delivers what was written since the last", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    int next = 0;
    {
        any_buffer items(kind, {.partitions = 1, .processing_batch_size = 3, .runtime = clock}, seen);
        for (int tick = 0; tick < 20; ++tick) {
            for (int i = 0; i < tick; ++i) items.write(next++);
            if (tick % 3 == 0)
                items.flush();
            else
                clock->advance(5s);
            CHECK(kind.arranged(seen.values()) == numbers(0, next));
        }
        for (int i = 0; i < 10; ++i) items.write(next++);
    }
    CHECK(kind.arranged(seen.values()) == numbers(0, next));
}

BUFFER_TEST_CASE("buffer: a later write does not postpone the tick", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen);
    for (int value = 0; value < 5; ++value) {
        for (int i = 0; i < 10; ++i) items.write(10 * value + i);  // some find a stripe empty
        CHECK(seen.batches().empty());
        clock->advance(999ms);
    }
    clock->advance(4ms);
    CHECK(seen.batches().empty());
    clock->advance(1ms);
    CHECK(seen.values().size() == 50);
}

BUFFER_TEST_CASE("buffer: a timer that sleeps until a later tick is woken for an earlier one", EVERY_BUFFER) {
    auto const start = std::chrono::steady_clock::now();
    for (int round = 0; round < 60; ++round) {
        std::atomic<int> processed{0};
        any_buffer items(kind, {.partitions = 1, .processing_interval = 1h}, [&](std::span<int>) { ++processed; });
        items.write(1);
        CHECK(items.flush().complete);  // meanwhile the timer goes to sleep
        items.write(2);
        items.update_options({.processing_interval = 1ms});
        tests::until([&] { return processed == 2; });
        // A wake-up that is lost costs a second.
        REQUIRE(std::chrono::steady_clock::now() - start < 30s);
    }
}

BUFFER_TEST_CASE("buffer: batches are destroyed before the next call", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const life = std::make_shared<int>(0);
    std::vector<long> alive;
    tests::parcel_buffer items(kind, {.partitions = 1, .processing_batch_size = 2, .runtime = clock},
                               [&](std::span<parcel const>) { alive.push_back(life.use_count()); });
    for (int i = 0; i < 6; ++i) items.write({i, life});
    items.flush();
    CHECK(alive == std::vector<long>{7, 5, 3});
    CHECK(life.use_count() == 1);
}

BUFFER_TEST_CASE("buffer: a value's destructor may write to the buffer", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    int echoed = 0;
    tests::parcel_buffer items(kind, {.partitions = 1, .runtime = clock}, [](std::span<parcel>) {});
    for (int i = 0; i < 25; ++i) {
        items.write({i, std::shared_ptr<void>(nullptr, [&](void*) {
                         ++echoed;
                         items.write({25 + echoed, nullptr});
                     })});
    }
    clock->advance(5s);
    CHECK(echoed == 25);
    CHECK(items.size() == 25);
}

// ---- table mode

BUFFER_TEST_CASE("buffer: table mode hands over the whole table, all stripes in one", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::vector<int>> tables;
    any_buffer items(kind, {.partitions = 1, .processing_batch_size = 7, .runtime = clock},
                     [&](std::vector<int> whole) { tables.push_back(kind.arranged(std::move(whole))); });
    items.write_all(numbers(0, 1000));
    clock->advance(5s);
    CHECK(items.stats().processed == 1000);
    items.write_all(numbers(5, 15));
    items.stop();
    CHECK(tables == std::vector{numbers(0, 1000), numbers(5, 15)});
}

BUFFER_TEST_CASE("buffer: a throw in table mode takes the table along", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    any_buffer items(
        kind, {.partitions = 1, .runtime = clock}, [](std::vector<int>) { throw std::runtime_error("no"); }, back);
    items.write_all(numbers(0, 30));
    CHECK(items.flush() == drain_report{.failed = 30});
    CHECK(back.all().empty());
    check_conservation(items.stats());
}

// ---- the threshold

BUFFER_TEST_CASE("buffer: a threshold counts over the stripes, and every crossing starts a drain", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    any_buffer items(kind, {.partitions = 1, .processing_batch_size = 1000, .drain_threshold = 10, .runtime = clock},
                     seen);
    for (int round = 0; round < 3; ++round) {
        for (int value = 0; value < 9; ++value) items.write(value);
        clock->advance(0s);
        CHECK(items.size() == 9);
        items.write(9);
        clock->advance(0s);
        CHECK(items.size() == 0);
    }
    CHECK(seen.sizes() == std::vector<std::size_t>{10, 10, 10});
    items.update_options({.drain_threshold = std::optional<std::size_t>{}});
    for (int value = 0; value < 50; ++value) items.write(value);
    clock->advance(0s);
    CHECK(items.size() == 50);
    items.update_options({.drain_threshold = 60});
    for (int value = 50; value < 60; ++value) items.write(value);
    clock->advance(0s);
    CHECK(items.size() == 0);
}

BUFFER_TEST_CASE("buffer: a threshold that is reached in a call starts the next drain after it", EVERY_BUFFER) {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    recorder<int> const seen;
    any_buffer items(kind,
                     {.partitions = 1,
                      .processing_interval = 1h,
                      .processing_batch_size = 1,
                      .drain_threshold = 2,
                      .runtime = runtime},
                     [&](std::span<int> batch) {
                         bool const first = seen.batches().empty();
                         seen(batch);
                         if (first) {
                             items.write(2);
                             items.write(3);
                             CHECK(items.size() == 2);
                         }
                     });
    items.write(0);
    items.write(1);
    CHECK(items.flush().complete);
    CHECK(items.stop().complete);
    auto const all = seen.values();
    REQUIRE(all.size() == 4);
    CHECK(kind.arranged({all[0], all[1]}) == numbers(0, 2));
    CHECK(kind.arranged({all[2], all[3]}) == numbers(2, 4));
}

// ---- failures

BUFFER_TEST_CASE("buffer: a processor that throws loses that batch and no other, whichever it is", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    for (int k = 0; k < 5; ++k) {
        for (bool const at_stop : {false, true}) {
            recorder<int> const seen;
            returns<int> const back;
            int call = 0;
            int overwritten = 0;
            any_buffer items(
                kind, {.name = "failing", .partitions = 1, .processing_batch_size = 10, .runtime = clock},
                [&](std::span<int> batch) {
                    if (call++ == k) {
                        overwritten = std::exchange(batch[0], -1);
                        throw std::runtime_error("no");
                    }
                    seen(batch);
                },
                back);
            items.write_all(numbers(0, 50));
            auto const report = at_stop ? items.stop() : items.flush();
            CHECK(report == drain_report{.processed = 40, .failed = 10});
            REQUIRE(back.all().size() == 1);
            auto lost = back.values();
            REQUIRE(lost.size() == 10);
            CHECK(lost[0] == -1);  // as the processor left them
            lost[0] = overwritten;
            if (kind.in_order) CHECK(lost == numbers(10 * k, 10 * k + 10));
            auto all = seen.values();
            all.insert(all.end(), lost.begin(), lost.end());
            std::sort(all.begin(), all.end());
            CHECK(all == numbers(0, 50));
            CHECK(back.all()[0].reason == failure_reason::exception);
            CHECK(back.all()[0].buffer == "failing");
            CHECK(back.all()[0].partition == 0);
            CHECK_THROWS_AS(std::rethrow_exception(back.all()[0].error), std::runtime_error);
            check_conservation(items.stats());
        }
    }
}

BUFFER_TEST_CASE("buffer: anything may be thrown", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    struct odd {
        odd() = default;
        odd(odd const&) {}
    };
    std::vector<std::function<void()>> const throwers{[] { throw std::runtime_error("text"); },
                                                      [] { throw 1; },
                                                      [] { throw "literal"; },  // NOLINT
                                                      [] { throw std::string("string"); },
                                                      [] { throw odd(); },
                                                      [] { throw std::bad_alloc(); },  // NOLINT
                                                      [] { throw nullptr; },
                                                      [] { throw std::make_shared<int>(1); }};  // NOLINT
    auto const log = std::make_shared<event_log>();
    for (auto const& thrower : throwers) {
        any_buffer items(kind, {.partitions = 1, .telemetry = log, .runtime = clock},
                         [&](std::span<int>) { thrower(); });
        items.write(1);
        CHECK(items.flush().failed == 1);
        items.write(1);
        CHECK(items.stop().failed == 1);
    }
}
