// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/buffer.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <numeric>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::event_log;
using tests::latch;
using tests::recorder;
using tests::returns;
using tidefall::drain_report;
using tidefall::failure_reason;
using tidefall::write_status;

namespace {

std::vector<int> numbers(int from, int to) {
    std::vector<int> all(static_cast<std::size_t>(to - from));
    std::iota(all.begin(), all.end(), from);
    return all;
}

bool deadlock_would_occur(std::function<void()> const& act) {
    try {
        act();
    } catch (std::system_error const& error) {
        return error.code() == std::errc::resource_deadlock_would_occur;
    }
    return false;
}

void check_conservation(tidefall::buffer_stats const& s) {
    CHECK(s.accepted == s.processed + s.failed + s.dropped + s.coalesced + s.erased + s.pending + s.in_flight);
}

/// Waits for something that is about to happen on another thread.
template <typename F>
void until(F happened) {
    while (!happened()) std::this_thread::yield();
}

}  // namespace

// ---- the processor

TEST_CASE("buffer: the forms of a processor") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    auto const deliver = [&](auto&& process) {
        tidefall::queue<int> items({.partitions = 1, .runtime = clock}, std::forward<decltype(process)>(process));
        items.push(1);
        CHECK(items.flush().processed == 1);
    };
    deliver([&](std::span<int>, std::stop_token const& token) { calls += token.stop_possible() ? 1 : 0; });
    deliver([&](std::span<int const>, std::stop_token) { ++calls; });
    deliver([&](std::span<int>) { ++calls; });
    deliver([&](std::span<int const>) { ++calls; });
    deliver([&](tidefall::queue_table<int>, std::stop_token) { ++calls; });
    deliver([&](tidefall::queue_table<int>) { ++calls; });
    deliver([&](tidefall::queue_table<int> const&) { ++calls; });
    deliver([&](auto batch) {
        static_assert(std::is_same_v<decltype(batch), std::span<int>>);
        ++calls;
    });
    deliver([&, only = std::make_unique<int>(1)](std::span<int>) { calls += *only; });
    deliver([&](std::span<int>) mutable { return ++calls; });
    deliver(std::function<void(std::span<int>)>([&](std::span<int>) { ++calls; }));
    CHECK(calls == 11);
    struct both {
        int& calls;
        void operator()(std::span<int>, std::stop_token const&) const { calls += 100; }
        void operator()(std::span<int>) const {}
        void operator()(tidefall::queue_table<int> const&) const {}
    };
    deliver(both{calls});
    CHECK(calls == 111);
}

TEST_CASE("buffer: an empty callable is refused before anything starts") {
    auto const log = std::make_shared<event_log>();
    tidefall::options const how{.partitions = 1, .telemetry = log};
    auto const good = [](std::span<int>) {};
    std::function<void(std::span<int>)> const no_function;
    void (*const no_pointer)(std::span<int>) = nullptr;
    std::function<void(std::span<int>, tidefall::failure const&)> const no_handler;
    CHECK_THROWS_AS(tidefall::queue<int>(how, no_function), std::invalid_argument);
    CHECK_THROWS_AS(tidefall::queue<int>(how, no_pointer), std::invalid_argument);
    CHECK_THROWS_WITH(tidefall::queue<int>(how, good, no_handler), tests::ContainsSubstring("undelivered is empty"));
    CHECK(log->lines().empty());
}

TEST_CASE("buffer: a processor that throws loses that batch and no other, whichever it is") {
    auto const clock = tidefall::make_manual_runtime();
    for (int k = 0; k < 5; ++k) {
        for (bool const at_stop : {false, true}) {
            recorder<int> const seen;
            returns<int> const back;
            int call = 0;
            tidefall::queue<int> items(
                {.name = "failing", .partitions = 1, .processing_batch_size = 10, .runtime = clock},
                [&](std::span<int> batch) {
                    if (call++ == k) {
                        batch[0] = -1;
                        throw std::runtime_error("no");
                    }
                    seen(batch);
                },
                back);
            items.push_range(numbers(0, 50));
            auto const report = at_stop ? items.stop() : items.flush();
            CHECK(report == drain_report{.processed = 40, .failed = 10});
            REQUIRE(back.all().size() == 1);
            auto expected = numbers(10 * k, 10 * k + 10);
            expected[0] = -1;  // as the processor left them
            CHECK(back.values() == expected);
            CHECK(back.all()[0].reason == failure_reason::exception);
            CHECK(back.all()[0].buffer == "failing");
            CHECK(back.all()[0].partition == 0);
            CHECK_THROWS_AS(std::rethrow_exception(back.all()[0].error), std::runtime_error);
            check_conservation(items.stats());
        }
    }
}

TEST_CASE("buffer: anything may be thrown") {
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
        tidefall::queue<int> items({.partitions = 1, .telemetry = log, .runtime = clock},
                                   [&](std::span<int>) { thrower(); });
        items.push(1);
        CHECK(items.flush().failed == 1);
        items.push(1);
        CHECK(items.stop().failed == 1);
    }
}

// ---- flush

TEST_CASE("buffer: flush waits for everything that was written before it") {
    std::atomic<int> processed{0};
    tidefall::queue<int> items({.partitions = 4, .processing_interval = 1h},
                               [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    CHECK(items.flush() == drain_report{});
    for (int round = 1; round <= 100; ++round) {
        for (int key = 0; key < 20; ++key) items.push(key, tidefall::partition_key{key});
        auto const report = items.flush();
        CHECK(report == drain_report{.processed = 20});
        CHECK(processed == 20 * round);
        CHECK(items.size() == 0);
    }
}

TEST_CASE("buffer: flush waits for the drain in flight and for what was written beside it") {
    latch entered;
    latch release;
    std::atomic<int> processed{0};
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms}, [&](std::span<int> batch) {
        entered.open();
        release.wait();
        processed += static_cast<int>(batch.size());
    });
    items.push(1);
    entered.wait();
    items.update_options({.processing_interval = 1h});
    items.push(2);
    CHECK(items.flush(0s) == drain_report{.complete = false});
    CHECK(items.flush(1ms) == drain_report{.complete = false});  // the processor ignores it: a true report in time
    std::thread opens([&] { release.open(); });
    CHECK(items.flush().complete);
    CHECK(processed == 2);
    opens.join();
}

TEST_CASE("buffer: concurrent flushes share work") {
    latch entered;
    latch release;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.push(1);
    std::vector<std::thread> threads;
    std::atomic<int> complete{0};
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { complete += items.flush().complete ? 1 : 0; });
    entered.wait();
    release.open();
    for (auto& thread : threads) thread.join();
    CHECK(complete == 8);
    CHECK(items.stats().ticks == 1);
}

TEST_CASE("buffer: after stop, flush returns at once") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.runtime = clock}, [](std::span<int>) {});
    items.push(1);
    items.stop();
    CHECK(items.flush() == drain_report{});
}

// ---- stop

TEST_CASE("buffer: stop drains what was accepted, and every stop returns the same report") {
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h}, seen);
    items.push_range(numbers(0, 95));
    std::vector<drain_report> reports(8);
    std::vector<std::thread> threads;
    for (auto& report : reports) threads.emplace_back([&] { report = items.stop(); });
    for (auto& thread : threads) thread.join();
    for (auto const& report : reports) CHECK(report == drain_report{.processed = 95});
    CHECK(items.stop() == reports[0]);
    CHECK(seen.values() == numbers(0, 95));
    CHECK(items.push(1) == write_status::stopped);
    check_conservation(items.stats());
}

TEST_CASE("buffer: the final drain follows the one in flight") {
    latch entered;
    latch release;
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 2},
                               [&](std::span<int> batch) {
                                   entered.open();
                                   release.wait();
                                   seen(batch);
                               });
    items.push_range(numbers(0, 5));
    entered.wait();
    items.push_range(numbers(5, 10));
    drain_report report;
    std::thread stops([&] { report = items.stop(); });
    until([&] { return items.push(-1) == write_status::stopped; });
    release.open();
    stops.join();
    auto const late = static_cast<int>(items.stats().accepted) - 10;  // accepted before the stop closed
    auto expected = numbers(0, 10);
    expected.insert(expected.end(), static_cast<std::size_t>(late), -1);
    CHECK(seen.values() == expected);
    CHECK(report == drain_report{.processed = static_cast<std::uint64_t>(10 + late)});  // the drain in flight included
}

TEST_CASE("buffer: stop is finite while producers keep pushing, and loses nothing that was accepted") {
    std::atomic<bool> go_on{true};
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> processed{0};
    tidefall::queue<int> items({.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 64},
                               [&](std::span<int> batch) { processed += batch.size(); });
    std::vector<std::thread> producers;
    for (int i = 0; i < 3; ++i) {
        producers.emplace_back([&] {
            while (go_on) accepted += items.push(1) == write_status::accepted ? 1U : 0U;
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

TEST_CASE("buffer: a hung processor does not hold stop past its deadline, and its call is left to end by itself") {
    latch entered;
    latch release;
    latch stop_seen;
    returns<int> const back;
    auto const log = std::make_shared<event_log>();
    auto const life = std::make_shared<int>(1);
    {
        tidefall::queue<int> items(
            {.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 2, .telemetry = log},
            [&, life](std::span<int> batch, std::stop_token const& token) {
                std::stop_callback const seen(token, [&] { stop_seen.open(); });
                entered.open();
                release.wait();
                batch[0] += *life;
            },
            back);
        items.push_range(numbers(0, 6));
        entered.wait();
        items.push_range(numbers(6, 9));
        auto const report = items.stop(1ms);
        CHECK(report == drain_report{.dropped = 7, .complete = false});
        stop_seen.wait();  // its token was stopped
        CHECK(back.values() == numbers(2, 9));
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
    CHECK(life.use_count() == 2);  // the call outlives the queue, and so does its processor
    release.open();
    until([&] { return life.use_count() == 1; });
}

TEST_CASE("buffer: a later stop may bring the deadline forward") {
    latch entered;
    latch release;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.push(1);
    entered.wait();
    drain_report patient;
    std::thread first([&] { patient = items.stop(std::chrono::nanoseconds::max()); });
    until([&] { return items.push(1) == write_status::stopped; });
    auto const report = items.stop(0s);
    first.join();
    CHECK_FALSE(report.complete);
    CHECK(report == patient);
    release.open();
}

TEST_CASE("buffer: a destructor with shutdown_timeout max() waits for the call") {
    latch entered;
    latch release;
    std::atomic<bool> returned{false};
    std::thread opens;
    {
        tidefall::queue<int> items(
            {.partitions = 1, .processing_interval = 1ms, .shutdown_timeout = std::chrono::nanoseconds::max()},
            [&](std::span<int>) {
                entered.open();
                release.wait();
                returned = true;
            });
        items.push(1);
        entered.wait();
        opens = std::thread([&] { release.open(); });
    }
    CHECK(returned);
    opens.join();
}

TEST_CASE("buffer: the processor is destroyed by the time the destructor returns") {
    auto const life = std::make_shared<int>(1);
    auto const runtime = tidefall::make_runtime({.workers = 1});
    for (int round = 0; round < 200; ++round) {
        {
            tidefall::queue<int> items(
                {.partitions = 2, .runtime = runtime}, [life](std::span<int>) {},
                [life](std::span<int>, tidefall::failure const&) {});
            items.push(1);
        }
        REQUIRE(life.use_count() == 1);
    }
}

TEST_CASE("buffer: stopping an idle instance is prompt, however long its interval") {
    for (int round = 0; round < 300; ++round) {
        tidefall::queue<int> items({.partitions = 2, .processing_interval = 1h}, [](std::span<int>) {});
        if (round % 2 == 0) items.push(1);
        REQUIRE(items.stop().complete);
    }
}

// ---- timeouts, `wait`

TEST_CASE("buffer: a call that takes too long has its token stopped at once and fails when it returns") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    int calls = 0;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_batch_size = 2, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
        [&](std::span<int>, std::stop_token const& token) {
            ++calls;
            CHECK_FALSE(token.stop_requested());  // each call starts with a token that is not stopped
            if (calls == 2) {
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
    items.push_range(numbers(0, 6));
    CHECK(items.flush() == drain_report{.processed = 4, .failed = 2});
    CHECK(back.values() == std::vector<int>{2, 3});
    CHECK(back.all()[0].reason == failure_reason::timeout);
    CHECK(back.all()[0].error == nullptr);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 6 flush", "processing_failed 0 2 timeout",
                                                   "processing_stop 0 6"});
}

TEST_CASE("buffer: a call that throws in time and then looks late has one outcome") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
                               [&](std::span<int>) {
                                   clock->advance(9999ms);
                                   throw std::runtime_error("in time");
                               });
    items.push(1);
    items.flush();
    clock->advance(1h);
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 1 exception") == 1);
    CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 1 timeout") == 0);
    CHECK(items.stats().failed == 1);
}

TEST_CASE("buffer: the watchdog stops the token of a call on a real thread, and the partition stays busy") {
    latch stopped;
    std::atomic<int> concurrent{0};
    std::atomic<int> calls{0};
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 1, .processing_timeout = 1ms},
        [&](std::span<int>, std::stop_token const& token) {
            CHECK(++concurrent == 1);
            if (++calls == 1) {
                std::stop_callback const on_stop(token, [&] { stopped.open(); });
                stopped.wait();
            }
            --concurrent;
        });
    items.push_range(numbers(0, 3));
    auto const report = items.stop();
    CHECK(report.complete);
    CHECK(report.failed >= 1);
    CHECK(report.failed + report.processed == 3);
}

TEST_CASE("buffer: a stop callback that blocks does not keep other partitions from ticking") {
    latch entered;
    latch release;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    tidefall::queue<int> stuck(
        {.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .runtime = runtime},
        [&](std::span<int>, std::stop_token const& token) {
            std::stop_callback const blocks(token, [&] {
                entered.open();
                release.wait();
            });
            release.wait();
        });
    stuck.push(1);
    entered.wait();
    std::atomic<int> processed{0};
    tidefall::queue<int> other({.partitions = 1, .processing_interval = 1ms, .runtime = runtime},
                               [&](std::span<int>) { ++processed; });
    for (int tick = 1; tick < 5; ++tick) {
        other.push(1);
        until([&] { return processed == tick; });
    }
    release.open();
}

// ---- from inside

TEST_CASE("buffer: in its own processor, hook and undelivered, flush and stop throw and nothing is closed") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    tidefall::queue<int>* self = nullptr;
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
    tidefall::queue<int> items(
        {.name = "self", .partitions = 1, .telemetry = log, .runtime = clock},
        [&](std::span<int>) {
            check();
            throw 1;  // NOLINT
        },
        [&](std::span<int>, tidefall::failure const&) { check(); });
    self = &items;
    items.push(1);
    items.flush();
    CHECK(items.push(2) == write_status::accepted);
    items.stop();
    // start, processor, exception, failed, undelivered, stop: twice; and partition_stop
    CHECK(checked == 13);
}

TEST_CASE("buffer: a processor may write to its own buffer") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    std::vector<write_status> answers;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, [&](std::span<int> batch) {
        auto const value = batch[0];
        seen(batch);
        answers.push_back(items.push(value + 1));
        answers.push_back(items.emplace(value + 1));
        items.push_range(std::vector<int>{value + 1});
    });
    items.push(0);
    clock->advance(5s);
    CHECK(seen.values() == std::vector<int>{0});
    CHECK(items.size() == 3);
    items.stop();  // finite: writes are answered `stopped`
    CHECK(seen.values() == std::vector<int>{0, 1, 1, 1});
    CHECK(answers == std::vector<write_status>{write_status::accepted, write_status::accepted, write_status::stopped,
                                               write_status::stopped});
}

TEST_CASE("buffer: flush and stop of another buffer on a shared worker run that work here") {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::atomic<int> outer_calls{0};
    std::atomic<int> inner_calls{0};
    std::thread::id inner_thread;
    tidefall::queue<int> inner({.partitions = 2, .processing_interval = 1h, .runtime = runtime}, [&](std::span<int>) {
        inner_thread = std::this_thread::get_id();
        ++inner_calls;
    });
    tidefall::queue<int> outer({.partitions = 1, .processing_interval = 1h, .runtime = runtime}, [&](std::span<int>) {
        inner.push(1);
        CHECK(inner.flush() == drain_report{.processed = 1});
        CHECK(inner_thread == std::this_thread::get_id());
        inner.push(2);
        CHECK(inner.stop() == drain_report{.processed = 1});
        ++outer_calls;
    });
    outer.push(1);
    CHECK(outer.flush().complete);
    CHECK(outer_calls == 1);
    CHECK(inner_calls == 2);
}

TEST_CASE("buffer: flush of a buffer whose processor is further up the stack throws") {
    auto const clock = tidefall::make_manual_runtime();
    int checked = 0;
    tidefall::queue<int>* outer_address = nullptr;
    tidefall::queue<int> inner({.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        CHECK(deadlock_would_occur([&] { outer_address->flush(); }));
        ++checked;
    });
    tidefall::queue<int> outer({.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        inner.push(1);
        inner.flush();
    });
    outer_address = &outer;
    outer.push(1);
    outer.flush();
    CHECK(checked == 1);
}

TEST_CASE("buffer: destroyed in its own processor, it closes, returns, and the worker drains what is left") {
    std::atomic<int> processed{0};
    latch destroyed;
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<int>>>();
    bool const private_runtime = GENERATE(true, false);
    auto const shared = private_runtime ? nullptr : tidefall::make_runtime({.workers = 1});
    std::atomic<bool> ready{false};
    *items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 2, .runtime = shared},
        [&](std::span<int> batch) {
            until([&] { return ready.load(); });
            if (*items) {
                items->reset();
                destroyed.open();
            }
            processed += static_cast<int>(batch.size());
        });
    (*items)->push_range(numbers(0, 7));
    ready = true;
    destroyed.wait();
    until([&] { return processed == 7; });
}

TEST_CASE("buffer: destroyed in its own hook") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    recorder<int> const seen;
    auto items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .processing_batch_size = 2, .telemetry = log, .runtime = clock}, seen);
    log->then = [&](std::string const& what) {
        if (what == "processing_start" && items) items.reset();
    };
    items->push_range(numbers(0, 5));
    clock->advance(5s);
    clock->advance(0s);
    CHECK(seen.values() == numbers(0, 5));
    CHECK(log->lines().back() == "partition_stop 0 stopped");
}

TEST_CASE("buffer: one wedged processor does not starve the others") {
    latch release;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    latch entered;
    tidefall::queue<int> wedged({.partitions = 1, .processing_interval = 1ms, .runtime = runtime}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    wedged.push(1);
    entered.wait();
    std::atomic<int> processed{0};
    tidefall::queue<int> others({.partitions = 16, .processing_interval = 1ms, .runtime = runtime},
                                [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    for (int key = 0; key < 100; ++key) others.push(key, tidefall::partition_key{key});
    CHECK(others.flush().complete);
    CHECK(processed == 100);
    release.open();
}

TEST_CASE("buffer: batches are destroyed before the next call") {
    auto const clock = tidefall::make_manual_runtime();
    auto const life = std::make_shared<int>(0);
    std::vector<long> alive;
    tidefall::queue<std::shared_ptr<int>> items(
        {.partitions = 1, .processing_batch_size = 2, .runtime = clock},
        [&](std::span<std::shared_ptr<int> const>) { alive.push_back(life.use_count()); });
    for (int i = 0; i < 6; ++i) items.push(life);
    items.flush();
    CHECK(alive == std::vector<long>{7, 5, 3});
    CHECK(life.use_count() == 1);
}

TEST_CASE("buffer: a value's destructor may write to the buffer") {
    struct echo {
        std::function<void()> at_end;
        explicit echo(std::function<void()> f) : at_end(std::move(f)) {}
        echo(echo&& other) noexcept : at_end(std::exchange(other.at_end, nullptr)) {}
        ~echo() {
            if (at_end) at_end();
        }
    };
    auto const clock = tidefall::make_manual_runtime();
    int echoed = 0;
    tidefall::queue<echo> items({.partitions = 1, .runtime = clock}, [](std::span<echo>) {});
    for (int i = 0; i < 25; ++i) {
        items.emplace([&] {
            ++echoed;
            items.push(echo(nullptr));
        });
    }
    clock->advance(5s);
    CHECK(echoed == 25);
    CHECK(items.size() == 25);
}

TEST_CASE("buffer: destroyed in its own processor while flush or stop runs it on this thread") {
    auto const clock = tidefall::make_manual_runtime();
    auto const by_stop = GENERATE(false, true);
    recorder<int> const seen;
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<int>>>();
    *items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .processing_batch_size = 1, .runtime = clock}, [&](std::span<int> batch) {
            seen(batch);
            items->reset();
        });
    for (int i = 0; i < 3; ++i) (*items)->push(i);
    auto& queue = **items;
    auto const report = by_stop ? queue.stop() : queue.flush();
    CHECK(report == drain_report{.processed = 3});
    CHECK(seen.values() == numbers(0, 3));
}

TEST_CASE("buffer: a flush beside a call that a stop gave up is not complete") {
    latch entered;
    latch release;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.push(1);
    entered.wait();
    CHECK_FALSE(items.stop(0s).complete);
    CHECK_FALSE(items.flush().complete);  // at once
    release.open();
}

TEST_CASE("buffer: what is being sorted at the deadline of stop is dropped, and in the report") {
    struct held {
        latch* entered = nullptr;
        latch* release = nullptr;
        int value = 0;
        bool operator<(held const& other) const {
            entered->open();
            release->wait();
            return value < other.value;
        }
    };
    latch entered;
    latch release;
    std::atomic<std::size_t> returned{0};
    tidefall::queue<held, tidefall::sorted_by<std::identity{}>> items(
        {.partitions = 1, .processing_interval = 1ms}, [](std::span<held>) { FAIL("called"); },
        [&](std::span<held> rest, tidefall::failure const& why) {
            CHECK(why.reason == failure_reason::stopped);
            returned += rest.size();
        });
    std::vector<held> values;
    for (int i = 0; i < 16; ++i) values.push_back({&entered, &release, 16 - i});
    items.push_range(values);
    entered.wait();
    std::thread opens([&] {
        until([&] { return items.stats().dropped == 16; });
        release.open();
    });
    CHECK(items.stop(0s) == drain_report{.dropped = 16, .complete = false});
    opens.join();
    CHECK(returned == 16);
}

TEST_CASE("buffer: a call is judged by its own time, also where the watchdog is held up in a hook") {
    latch entered;
    latch release;
    latch failed;
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what != "processing_failed") return;
        entered.open();
        release.wait();
    };
    auto const runtime = tidefall::make_runtime({.workers = 2});
    tidefall::queue<int> first(
        {.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .telemetry = log, .runtime = runtime},
        [&](std::span<int>) { release.wait(); });
    first.push(1);
    entered.wait();  // the watchdog is in the hook
    auto const slow = std::chrono::steady_clock::now() + 5ms;
    tidefall::queue<int> second({.partitions = 1, .processing_timeout = 1ms, .runtime = runtime}, [&](std::span<int>) {
        until([&] { return std::chrono::steady_clock::now() > slow + 5ms; });
    });
    second.push(1);
    CHECK(second.flush() == drain_report{.failed = 1});
    release.open();
}

TEST_CASE("buffer: the destructor returns only after undelivered has had everything") {
    auto const runtime = tidefall::make_runtime({.workers = 2});
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> returned{0};
        drain_report report;
        {
            tidefall::queue<int> items(
                {.partitions = 16, .shutdown_timeout = 0s, .runtime = runtime}, [](std::span<int>) {},
                [&](std::span<int> rest, tidefall::failure const&) {
                    std::this_thread::yield();
                    returned += static_cast<int>(rest.size());
                });
            for (int i = 0; i < 160; ++i) items.push(i, tidefall::partition_key{i});
            report = items.stop();
        }
        CHECK(report.processed + report.dropped == 160);
        REQUIRE(static_cast<std::uint64_t>(returned) == report.dropped);
    }
}

TEST_CASE("buffer: destroyed in its own hook, the calls that follow are still watched") {
    auto const log = std::make_shared<event_log>();
    latch destroyed;
    latch stopped;
    std::atomic<bool> ready{false};
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<int>>>();
    log->then = [&](std::string const& what) {
        if (what != "processing_start") return;
        until([&] { return ready.load(); });
        items->reset();
        destroyed.open();
    };
    *items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .processing_interval = 1ms, .processing_timeout = 1ms, .telemetry = log},
        [&](std::span<int>, std::stop_token const& token) {
            destroyed.wait();
            std::stop_callback const on_stop(token, [&] { stopped.open(); });
            stopped.wait();
        });
    (*items)->push(1);
    ready = true;
    stopped.wait();
    until([&] { return log->lines().back() == "partition_stop 0 stopped"; });
}

TEST_CASE("buffer: every call of a drain is watched, also after one that was quick or late") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_batch_size = 1, .processing_timeout = 10s, .runtime = clock},
        [&](std::span<int>, std::stop_token const& token) {
            if (++calls % 2 == 1) return clock->advance(6s);
            clock->advance(9999ms);
            CHECK_FALSE(token.stop_requested());
            clock->advance(1ms);
            CHECK(token.stop_requested());
        });
    for (int i = 0; i < 6; ++i) items.push(i);
    CHECK(items.flush(1h) == drain_report{.processed = 3, .failed = 3});
}

TEST_CASE("buffer: time that passes in hooks and undelivered after a call is not the call's") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what == "processing_exception") clock->advance(1min);
    };
    tidefall::queue<int> items(
        {.partitions = 1, .processing_timeout = 10s, .telemetry = log, .runtime = clock},
        [](std::span<int>) { throw std::runtime_error("no"); },
        [&](std::span<int>, tidefall::failure const&) { clock->advance(1min); });
    items.push(1);
    log->clear();
    CHECK(items.flush(1h).failed == 1);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 1 flush", "processing_exception 0 1 no",
                                                   "processing_failed 0 1 exception", "processing_stop 0 1"});
}

TEST_CASE("buffer: in a stop callback on another thread flush and stop throw") {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    int refused = 0;
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 1s, .runtime = clock},
                               [&](std::span<int>, std::stop_token const& token) {
                                   std::stop_callback const on_stop(token, [&] {
                                       refused += deadlock_would_occur([&] { items.flush(0s); }) ? 1 : 0;
                                       refused += deadlock_would_occur([&] { items.stop(); }) ? 1 : 0;
                                   });
                                   entered.open();
                                   release.wait();
                               });
    items.push(1);
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    clock->advance(10s);  // the timeout sounds here
    CHECK(refused == 2);
    release.open();
    other.join();
}

TEST_CASE("buffer: in hooks and undelivered that a stop calls on its own thread, flush and stop throw") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    tidefall::queue<int>* self = nullptr;
    int checked = 0;
    auto const check = [&] {
        if (self == nullptr) return;
        ++checked;
        CHECK(deadlock_would_occur([&] { self->flush(0s); }));
    };
    log->then = [&](std::string const&) { check(); };
    tidefall::queue<int> items(
        {.partitions = 1, .telemetry = log, .runtime = clock}, [](std::span<int>) {},
        [&](std::span<int>, tidefall::failure const&) { check(); });
    self = &items;
    items.push(1);
    CHECK(items.stop(0s).dropped == 1);
    CHECK(checked == 3);  // items_dropped, undelivered, partition_stop
    self = nullptr;
}

TEST_CASE(
    "buffer: what is being sorted when a stop gives up is dropped once, in batches and in table mode, thrown or not") {
    struct held {
        latch* entered = nullptr;
        latch* release = nullptr;
        bool throws = false;
        int value = 0;
        bool operator<(held const& other) const {
            entered->open();
            release->wait();
            if (throws) throw std::runtime_error("less");
            return value < other.value;
        }
    };
    auto const clock = tidefall::make_manual_runtime();
    bool const whole = GENERATE(false, true);
    bool const throws = GENERATE(false, true);
    bool const stops = GENERATE(true, false);
    latch entered;
    latch release;
    returns<held> const back;
    using queue = tidefall::queue<held, tidefall::sorted_by<std::identity{}>>;
    int calls = 0;
    tidefall::options const how{.partitions = 1, .processing_batch_size = 100, .runtime = clock};
    auto const items = whole ? std::make_unique<queue>(
                                   how, [&](tidefall::queue_table<held>) { ++calls; }, back)
                             : std::make_unique<queue>(
                                   how, [&](std::span<held>) { ++calls; }, back);
    for (int i = 0; i < 16; ++i) items->push(held{&entered, &release, throws, 16 - i});
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    if (stops) {
        for (int i = 0; i < 3; ++i) items->push(held{&entered, &release, throws, i});
        items->stop();  // never waits: gives up before its deadline
        auto const report = items->stop();
        CHECK(items->stats().dropped == 19);
        check_conservation(items->stats());
        release.open();
        other.join();
        CHECK(back.values().size() == 19);
        CHECK(calls == 0);
        for (auto const& one : back.all()) CHECK(one.reason == failure_reason::stopped);
        check_conservation(items->stats());
        CHECK(items->stop() == report);
    } else {
        release.open();
        other.join();
        CHECK(calls == (throws ? 0 : 1));
        CHECK(items->stats().failed == (throws ? 16U : 0U));
        CHECK(back.values().size() == (throws ? 16U : 0U));
        check_conservation(items->stats());
    }
}

TEST_CASE("buffer: a stop beside undelivered of a sort that threw counts nothing twice") {
    struct thrower {
        int value;
        bool operator<(thrower const&) const { throw std::runtime_error("less"); }
    };
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    tidefall::queue<thrower, tidefall::sorted_by<std::identity{}>> items(
        {.partitions = 1, .runtime = clock}, [](std::span<thrower>) {},
        [&](std::span<thrower>, tidefall::failure const&) {
            entered.open();
            release.wait();
        });
    for (int i = 0; i < 4; ++i) items.push(thrower{i});
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    CHECK(items.stop().dropped == 0);
    release.open();
    other.join();
    CHECK(items.stats().failed == 4);
    check_conservation(items.stats());
}

TEST_CASE("buffer: a stop that gives up beside undelivered of a flush past its deadline hands back the rest") {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    std::vector<int> back;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_batch_size = 1, .runtime = clock},
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
    for (int i = 0; i < 4; ++i) items.push(i);
    std::thread other([&] { items.flush(1s); });
    entered.wait();
    items.stop();
    release.open();
    other.join();
    CHECK(back == std::vector<int>{0, 1, 2, 3});
    check_conservation(items.stats());
}

TEST_CASE("buffer: destroyed in its own processor during a stop, that stop keeps its deadline and its report") {
    auto const clock = tidefall::make_manual_runtime();
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<int>>>();
    int calls = 0;
    *items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .processing_batch_size = 1, .shutdown_timeout = 1h, .runtime = clock},
        [&](std::span<int>) {
            if (++calls == 2) items->reset();
            clock->advance(1s);
        });
    for (int i = 0; i < 5; ++i) (*items)->push(i);
    auto& queue = **items;
    CHECK(queue.stop(3s) == drain_report{.processed = 3, .dropped = 2, .complete = false});
}

TEST_CASE("buffer: destroyed in its own processor, what the deadline overtakes is dropped, handed back and destroyed") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    auto const life = std::make_shared<int>(0);
    std::size_t returned = 0;
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<std::shared_ptr<int>>>>();
    *items = std::make_unique<tidefall::queue<std::shared_ptr<int>>>(
        tidefall::options{
            .partitions = 1, .processing_batch_size = 1, .shutdown_timeout = 1s, .telemetry = log, .runtime = clock},
        [&](std::span<std::shared_ptr<int>>) {
            (*items)->push(life);
            items->reset();
            clock->advance(2s);
        },
        [&](std::span<std::shared_ptr<int>> rest, tidefall::failure const&) { returned += rest.size(); });
    for (int i = 0; i < 3; ++i) (*items)->push(life);
    log->clear();
    clock->advance(5s);
    CHECK(returned == 3);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 3 interval", "items_dropped 0 3 stopped",
                                                   "processing_stop 0 3", "partition_stop 0 deadline"});
    CHECK(life.use_count() == 1);
}

TEST_CASE("buffer: a last drain whose turn comes after the deadline does not begin") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    auto items = std::make_unique<std::unique_ptr<tidefall::queue<int>>>();
    *items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{.partitions = 1, .shutdown_timeout = 1s, .telemetry = log, .runtime = clock},
        [&](std::span<int>) {
            (*items)->push(2);
            items->reset();
            clock->advance(2s);
        },
        back);
    (*items)->push(1);
    log->clear();
    clock->advance(5s);
    CHECK(back.values() == std::vector<int>{2});
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 1 interval", "processing_stop 0 1",
                                                   "items_dropped 0 1 stopped", "partition_stop 0 deadline"});
}

TEST_CASE("buffer: the calls of later drains are watched too") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 10s, .runtime = clock},
                               [&](std::span<int>, std::stop_token const& token) {
                                   clock->advance(1s);
                                   if (++calls == 1) return;
                                   clock->advance(9s);
                                   CHECK(token.stop_requested());
                               });
    items.push(1);
    CHECK(items.flush().processed == 1);
    items.push(2);
    CHECK(items.flush().failed == 1);
}

TEST_CASE("buffer: what waits beside a call that hangs is destroyed when it is dropped") {
    auto const clock = tidefall::make_manual_runtime();
    auto const life = std::make_shared<int>(0);
    latch entered;
    latch release;
    tidefall::queue<std::shared_ptr<int>> items({.partitions = 1, .runtime = clock},
                                                [&](std::span<std::shared_ptr<int>>) {
                                                    entered.open();
                                                    release.wait();
                                                });
    items.push(nullptr);
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    for (int i = 0; i < 3; ++i) items.push(life);
    CHECK(items.stop().dropped == 3);
    CHECK(life.use_count() == 1);
    release.open();
    other.join();
}

TEST_CASE("buffer: one partition that hangs keeps the processor, and one that is not done makes a flush incomplete") {
    auto const clock = tidefall::make_manual_runtime();
    auto const hangs = GENERATE(std::size_t{0}, std::size_t{1});
    latch entered;
    latch release;
    auto const life = std::make_shared<int>(0);
    std::thread other;
    {
        tidefall::queue<int> items({.partitions = 2, .runtime = clock}, [&, life](std::span<int>) {
            entered.open();
            release.wait();
        });
        for (int key = 0; items.partition(hangs).size() == 0; ++key) {
            tidefall::queue<int> probe({.partitions = 2, .runtime = clock}, [](std::span<int>) {});
            probe.push(key, tidefall::partition_key{key});
            if (probe.partition(hangs).size() == 1) items.push(key, tidefall::partition_key{key});
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

TEST_CASE(
    "buffer: a stop that loses nothing but a running call drops nothing, and keeps its report when the call ends") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    latch entered;
    latch release;
    tidefall::queue<int> items({.partitions = 1, .telemetry = log, .runtime = clock}, [&](std::span<int>) {
        entered.open();
        release.wait();
    });
    items.push(1);
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

TEST_CASE("buffer: a threshold that is reached in a call starts the next drain after it") {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = 1h,
                                .processing_batch_size = 1,
                                .drain_threshold = 2,
                                .runtime = runtime},
                               [&](std::span<int> batch) {
                                   auto const value = batch[0];
                                   seen(batch);
                                   if (value == 0) {
                                       items.push(2);
                                       items.push(3);
                                       CHECK(items.size() == 2);
                                   }
                               });
    items.push(0);
    items.push(1);
    CHECK(items.flush().complete);
    CHECK(items.stop().complete);
    CHECK(seen.values() == std::vector<int>{0, 1, 2, 3});
}
