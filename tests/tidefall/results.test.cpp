// SPDX-License-Identifier: MIT
//
// What a processor says of its batch, and what it is told: results in parts, batches that are offered again, infos.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/tracked.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::check_conservation;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::one_partition;
using tests::returns;
using tests::until;
using tidefall::batch_info;
using tidefall::batch_result;
using tidefall::drain_report;
using tidefall::failure_reason;
using batches = std::vector<std::vector<int>>;

namespace {

/// Rejects the numbers for which `which` says so.
template <typename Which>
batch_result rejecting(std::span<int const> batch, Which which) {
    batch_result result;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        if (which(batch[i])) result.reject(i);
    }
    return result;
}

std::vector<int> copied(std::span<int const> batch) {
    return {batch.begin(), batch.end()};
}

bool is_odd(int number) {
    return number % 2 == 1;
}

}  // namespace

BUFFER_TEST_CASE("results: what is rejected has failed and goes to undelivered, the rest is processed", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    any_buffer items(
        kind, {.partitions = 1, .processing_batch_size = 4, .telemetry = log, .runtime = clock},
        [](std::span<int> batch, batch_info const&) {
            return rejecting(batch, is_odd).because(std::make_exception_ptr(std::runtime_error("odd")));
        },
        back);
    log->clear();
    items.write_all(numbers(0, 8));
    CHECK(items.flush() == drain_report{.processed = 4, .failed = 4});
    CHECK(kind.arranged(back.values()) == std::vector{1, 3, 5, 7});
    for (auto const& one : back.all()) {
        CHECK(one.reason == failure_reason::rejected);
        CHECK_THROWS_WITH(std::rethrow_exception(one.error), "odd");
    }
    std::size_t failed = 0;
    for (auto const& line : log->lines()) failed += line.starts_with("processing_failed") ? 1U : 0U;
    CHECK(failed == back.all().size());
    if (kind.in_order) {
        CHECK(log->lines() == std::vector<std::string>{"processing_start 0 8 flush", "processing_failed 0 2 rejected",
                                                       "processing_failed 0 2 rejected", "processing_stop 0 8"});
    }
    check_conservation(items.stats());
}

BUFFER_TEST_CASE("results: with retry_after what is rejected is offered again, in its order, as the next batch",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    std::vector<std::string> infos;
    any_buffer items(kind, {.partitions = 1, .processing_interval = 10ms, .processing_batch_size = 4, .runtime = clock},
                     [&](std::span<int> batch, batch_info const& info) {
                         seen.push_back(copied(batch));
                         infos.push_back(std::to_string(info.drain) + "." + std::to_string(info.index) + "." +
                                         std::to_string(info.attempt) + " " + std::to_string(info.remaining));
                         batch_result result;
                         if (seen.size() == 1) {
                             result.reject(3);
                             result.reject(1);
                             result.reject(1);
                             result.retry_after(50ms);
                         }
                         return result;
                     });
    items.write_all(numbers(0, 6));
    clock->advance(10ms);
    REQUIRE(seen.size() == 1);
    auto const waiting = items.stats();
    CHECK(waiting.processed == 2);
    CHECK(waiting.in_flight == 4);
    check_conservation(waiting);
    items.write(10);  // the next drain waits for this one
    clock->advance(50ms - 1ns);
    CHECK(seen.size() == 1);
    CHECK(items.size() == 1);
    clock->advance(1ns);
    REQUIRE(seen.size() >= 3);
    CHECK(seen[1] == std::vector{seen[0][1], seen[0][3]});
    CHECK(seen[1].size() + seen[2].size() == 4);
    clock->advance(10ms);
    CHECK(infos == std::vector<std::string>{"1.0.1 2", "1.0.2 2", "1.1.1 0", "2.0.1 0"});
    CHECK(items.stats().processed == 7);
}

BUFFER_TEST_CASE("results: what is refused is never offered again, whatever retry_after says", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    auto const log = std::make_shared<event_log>();
    batches seen;
    any_buffer items(
        kind, {.partitions = 1, .processing_interval = 10ms, .telemetry = log, .runtime = clock},
        [&](std::span<int> batch, batch_info const&) {
            seen.push_back(copied(batch));
            batch_result result;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                if (batch[i] == 2 || batch[i] == 5) {
                    result.reject(i);
                    result.refuse(i);
                } else if (is_odd(batch[i]) && seen.size() == 1) {
                    result.reject(i);
                }
            }
            return result.retry_after(10ms);
        },
        back);
    log->clear();
    items.write_all(numbers(0, 8));
    clock->advance(10ms);
    CHECK(kind.arranged(back.values()) == std::vector{2, 5});
    clock->advance(10ms);
    REQUIRE(seen.size() == 2);
    CHECK(kind.arranged(seen[1]) == std::vector{1, 3, 7});
    CHECK(items.stats().processed == 6);
    CHECK(items.stats().failed == 2);
    CHECK(log->lines_of_drains() ==
          std::vector<std::string>{"processing_start 0 8 interval", "processing_failed 0 2 rejected",
                                   "batch_retried 0 3 attempt 1 10ms", "processing_stop 0 8"});
}

TEST_CASE("results: what is said of indices") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::optional<batch_result> said;
    tidefall::queue<int> items(
        one_partition(clock, 4), [&](std::span<int const>) { return *said; }, back);
    auto const flushed = [&](batch_result const& result) {
        said = result;
        items.push_range(numbers(0, 4));
        return items.flush();
    };
    batch_result result;
    SECTION("nothing is said") {
        CHECK(flushed(result).processed == 4);
        CHECK(flushed(result.because(std::make_exception_ptr(1)).retry_after(1s)).processed == 4);
        CHECK(back.all().empty());
    }
    SECTION("from one on") {
        result.reject_from(2);
        result.reject_from(3);
        CHECK(flushed(result).failed == 2);
        CHECK(back.values() == std::vector{2, 3});
    }
    SECTION("from the end on, or beyond it") {
        result.reject_from(4);
        CHECK(flushed(result).processed == 4);
        batch_result more;
        more.reject_from(1000);
        CHECK(flushed(more).processed == 4);
    }
    SECTION("the whole") {
        result.reject_from(0);
        CHECK(flushed(result).failed == 4);
        REQUIRE(back.all().size() == 1);
        CHECK(back.values() == std::vector{0, 1, 2, 3});
        CHECK(back.all()[0].error == nullptr);
    }
    SECTION("beyond the batch: it fails whole") {
        result.reject(1);
        result.reject(4);
        CHECK(flushed(result).failed == 4);
        REQUIRE(back.all().size() == 1);
        CHECK(back.all()[0].reason == failure_reason::exception);
        CHECK_THROWS_AS(std::rethrow_exception(back.all()[0].error), std::out_of_range);
        CHECK_THROWS_WITH(std::rethrow_exception(back.all()[0].error),
                          "tidefall: a batch_result names the value 4 of a batch of 4, counted from 0");
        batch_result more;
        more.refuse(1000);
        CHECK(flushed(more.retry_after(1s)).failed == 4);
        CHECK(items.stats().in_flight == 0);
    }
    check_conservation(items.stats());
}

TEST_CASE("results: a delay of nothing puts the batch behind what is queued, the longest lasts until the close") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> order;
    auto const how = [&](std::string name) {
        return tidefall::options{.name = name, .partitions = 1, .processing_interval = 10ms, .runtime = clock};
    };
    std::chrono::nanoseconds delay{};
    auto const process = [&](std::span<int const>, batch_info const& info) {
        order.push_back(std::string(info.buffer) + std::to_string(info.attempt) + (info.stopping ? " last" : ""));
        batch_result result;
        if (info.buffer == "a" && info.attempt < 4) result.reject_from(0);
        return result.retry_after(delay);
    };
    tidefall::queue<int> a(how("a"), process);
    tidefall::queue<int> b(how("b"), process);
    a.push(1);
    b.push(1);
    SECTION("nothing, or less") {
        delay = GENERATE(as<std::chrono::nanoseconds>(), 0s, -1s);
        clock->advance(10ms);
        CHECK(order == std::vector<std::string>{"a1", "b1", "a2", "a3", "a4"});
    }
    SECTION("the longest") {
        delay = std::chrono::nanoseconds::max();
        clock->advance(1000h);
        CHECK(order == std::vector<std::string>{"a1", "b1"});
        CHECK(a.stop().failed == 1);  // offered at once, and for the last time
        CHECK(order == std::vector<std::string>{"a1", "b1", "a2 last"});
    }
}

TEST_CASE("results: while a batch waits for its time the worker serves others, and flush waits for it") {
    auto const shared = tidefall::make_runtime({.workers = 1});
    std::atomic<int> calls{0};
    latch gone_away;
    tidefall::queue<int> away({.partitions = 1, .runtime = shared}, [&](std::span<int const>, batch_info const& info) {
        ++calls;
        batch_result result;
        if (info.attempt > 1) return result;
        result.reject_from(0);
        gone_away.open();
        return result.retry_after(20ms);
    });
    tidefall::queue<int> healthy({.partitions = 1, .runtime = shared}, [](std::span<int const>) {});
    away.push(1);
    std::thread flusher([&] { CHECK(away.flush() == drain_report{.processed = 1}); });
    gone_away.wait();
    healthy.push(1);
    CHECK(healthy.flush() == drain_report{.processed = 1});
    flusher.join();
    CHECK(calls == 2);
}

TEST_CASE("results: a flush in another buffer's processor, on the only worker, does the batch that waits") {
    auto const shared = tidefall::make_runtime({.workers = 1});
    tidefall::queue<int> inner({.partitions = 1, .runtime = shared}, [](std::span<int const>, batch_info const& info) {
        batch_result result;
        if (info.attempt < 3) result.reject_from(0);
        return result.retry_after(1ms);
    });
    drain_report seen;
    tidefall::queue<int> outer({.partitions = 1, .runtime = shared}, [&](std::span<int const>) {
        inner.push(1);
        seen = inner.flush();
    });
    outer.push(1);
    CHECK(outer.flush().complete);
    CHECK(seen == drain_report{.processed = 1});
}

BUFFER_TEST_CASE("results: once the buffer closes, what waits is offered at once and for the last time", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::vector<bool> stopping;
    any_buffer items(
        kind, {.partitions = 1, .processing_interval = 10ms, .processing_batch_size = 2, .runtime = clock},
        [&](std::span<int>, batch_info const& info) {
            stopping.push_back(info.stopping);
            batch_result result;
            result.reject(0);
            return result.retry_after(1h);
        },
        back);
    items.write_all(numbers(0, 4));
    clock->advance(10ms);
    items.write(4);
    CHECK(items.stop() == drain_report{.processed = 1, .failed = 3});
    CHECK(stopping == std::vector<bool>{false, true, true, true});
    CHECK(back.values().size() == 3);
    check_conservation(items.stats());
}

BUFFER_TEST_CASE("results: at stop's deadline a batch that waits is dropped", EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    int calls = 0;
    any_buffer items(
        kind,
        {.partitions = 1, .processing_interval = 10ms, .processing_batch_size = 2, .telemetry = log, .runtime = clock},
        [&](std::span<int>, batch_info const&) {
            ++calls;
            batch_result result;
            result.reject_from(0);
            return result.retry_after(1h);
        },
        back);
    items.write_all(numbers(0, 4));
    clock->advance(10ms);
    items.write(4);
    CHECK(items.stop(0s) == drain_report{.dropped = 5, .complete = false});
    CHECK(calls == 1);
    CHECK(kind.arranged(back.values()) == numbers(0, 5));
    for (auto const& one : back.all()) CHECK(one.reason == failure_reason::stopped);
    CHECK(log->lines().back() == "partition_stop 0 deadline");
    check_conservation(items.stats());
}

TEST_CASE("results: a flush on a manual runtime leaves what waits for its time") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tidefall::queue<int> items(one_partition(clock), [&](std::span<int const>, batch_info const&) {
        batch_result result;
        if (++calls == 1) result.reject_from(0);
        return result.retry_after(1s);
    });
    items.push(1);
    CHECK(items.flush() == drain_report{.complete = false});
    clock->advance(1s);
    CHECK(calls == 2);
    CHECK(items.flush() == drain_report{});
}

TEST_CASE("results: the result of a call that timed out is ignored, and a timeout is for one attempt") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    int calls = 0;
    auto how = one_partition(clock);
    how.processing_timeout = 10s;
    how.processing_interval = 1s;
    tidefall::queue<int> items(
        how,
        [&](std::span<int const>, batch_info const& info) {
            ++calls;
            clock->advance(info.attempt < 3 ? 9s : 10s);
            batch_result result;
            result.reject(0);
            return result.retry_after(1s);
        },
        back);
    items.push_range(std::vector{1, 2});
    clock->advance(1min);
    CHECK(calls == 3);
    CHECK(items.stats().processed == 1);
    CHECK(back.values() == std::vector{1});
    CHECK(back.all().at(0).reason == failure_reason::timeout);
}

TEST_CASE("results: a call that was abandoned says nothing any more") {
    latch go_on;
    latch abandoned;
    returns<int> const back;
    struct tells final : tidefall::telemetry_hook {
        explicit tells(latch& which) : opened(which) {}
        void on_processing_failed(tidefall::processing_failed const&) override { opened.open(); }
        latch& opened;
    };
    std::atomic<int> calls{0};
    tidefall::queue<int> items(
        {.partitions = 1,
         .processing_interval = 1ms,
         .processing_batch_size = 2,
         .processing_timeout = 1ms,
         .timeout_action = tidefall::timeout_action::abandon,
         .telemetry = std::make_shared<tells>(abandoned)},
        [&](std::span<int const> batch, batch_info const& info) {
            ++calls;
            batch_result result;
            if (batch[0] != 0) return result;
            CHECK(info.attempt == 1);
            go_on.wait();
            result.reject_from(0);
            return result.retry_after(0s);
        },
        back);
    items.push_range(numbers(0, 4));
    abandoned.wait();
    until([&] { return items.stats().processed == 2; });
    go_on.open();
    auto const report = items.stop();
    CHECK(report.processed + report.failed <= 4);
    until([&] { return items.stats().abandoned == 0; });
    CHECK(back.values() == std::vector{0, 1});
    CHECK(calls == 2);
    check_conservation(items.stats());
}

namespace {

using heavy = tests::tracked<tests::site::make_value, tests::site::copy_value, tests::site::move_value>;

}  // namespace

TEST_CASE("results: what a stop drops while its batch is sorted out is returned as dropped, also where a move throws") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::pair<int, failure_reason>> returned;
    std::optional<tidefall::queue<heavy>> items;
    auto const log = std::make_shared<tests::event_log>();
    auto how = one_partition(clock);
    how.telemetry = log;
    items.emplace(
        how,
        [](std::span<heavy const>, batch_info const&) {
            batch_result result;
            result.refuse(0);
            result.reject(2);
            result.reject(4);
            return result.retry_after(1s);
        },
        [&](std::span<heavy> values, tidefall::failure const& why) {
            for (auto const& one : values) returned.emplace_back(one.number(), why.reason);
            if (why.reason != failure_reason::rejected) return;
            std::thread([&] { items->stop(0s); }).join();
            tests::fault::arm(tests::site::move_value, 1);
        });
    for (int i = 0; i < 5; ++i) items->emplace(i);
    items->flush();
    tests::fault::disarm();
    CHECK(returned == std::vector<std::pair<int, failure_reason>>{
                          {0, failure_reason::rejected}, {2, failure_reason::stopped}, {4, failure_reason::stopped}});
    for (auto const& line : log->lines()) CHECK_FALSE(line.starts_with("processing_exception"));  // of no value
    auto const s = items->stats();
    CHECK(s.processed == 2);
    CHECK(s.failed == 1);
    CHECK(s.dropped == 2);
    CHECK(s.in_flight == 0);
    check_conservation(s);
}

TEST_CASE("results: a value whose move throws is counted once, and returned") {
    auto const clock = tidefall::make_manual_runtime();
    for (std::size_t nth = 1; nth <= 12; ++nth) {
        for (bool const again : {false, true}) {
            std::vector<int> returned;
            std::vector<int> taken;
            int calls = 0;
            std::size_t by_exception = 0;
            auto const log = std::make_shared<tests::event_log>();
            auto const alive_before = tests::alive::count.load();
            {
                auto how = one_partition(clock, 6);
                how.processing_interval = 1s;
                how.telemetry = log;
                tidefall::queue<heavy> items(
                    how,
                    [&](std::span<heavy const> batch, batch_info const&) {
                        ++calls;
                        CHECK_FALSE(batch.empty());
                        batch_result result;
                        if (calls == 1) {
                            result.reject(1);
                            result.reject(3);
                            result.reject(4);
                            if (again) {
                                result.refuse(5);
                                result.retry_after(1s);
                            }
                            tests::fault::arm(tests::site::move_value, nth);
                        }
                        for (std::size_t i = 0; i < batch.size(); ++i) {
                            if (calls > 1 || i == 0 || i == 2 || (i == 5 && !again)) taken.push_back(batch[i].number());
                        }
                        return result;
                    },
                    [&](std::span<heavy> values, tidefall::failure const& why) {
                        CHECK(why.reason != failure_reason::stopped);
                        if (why.reason == failure_reason::exception) by_exception += values.size();
                        for (auto const& one : values) returned.push_back(one.number());
                    });
                for (int i = 0; i < 8; ++i) items.emplace(i);
                clock->advance(1min);
                tests::fault::disarm();
                auto const s = items.stats();
                check_conservation(s);
                CHECK(s.in_flight == 0);
                CHECK(s.processed == taken.size());
                CHECK(s.failed == returned.size());
            }
            auto all = taken;
            all.insert(all.end(), returned.begin(), returned.end());
            std::sort(all.begin(), all.end());
            CHECK(all == numbers(0, 8));
            CHECK(tests::alive::count.load() == alive_before);
            auto const told = log->lines();
            auto const of_exception = [](std::string const& line) { return line.starts_with("processing_exception"); };
            CHECK(std::any_of(told.begin(), told.end(), of_exception) == (by_exception > 0));
        }
    }
}

BUFFER_TEST_CASE("results: a buffer that is destroyed while a batch waits offers it once more", EVERY_BUFFER) {
    returns<int> const back;
    std::atomic<int> calls{0};
    latch called;
    {
        any_buffer items(
            kind, {.partitions = 1, .processing_interval = 1ms},
            [&](std::span<int>, batch_info const& info) {
                ++calls;
                called.open();
                batch_result result;
                if (!info.stopping) result.reject_from(0);
                return result.retry_after(1h);
            },
            back);
        items.write(1);
        called.wait();
    }
    CHECK(calls == 2);
    CHECK(back.all().empty());
}

TEST_CASE("results: a change of the options does not cut a batch anew that is offered again") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> sizes;
    auto how = one_partition(clock, 4);
    how.processing_interval = 1s;
    tidefall::queue<int> items(how, [&](std::span<int const> batch, batch_info const&) {
        sizes.push_back(batch.size());
        batch_result result;
        if (sizes.size() == 1) result.reject_from(0);
        return result.retry_after(1s);
    });
    items.push_range(numbers(0, 6));
    clock->advance(1s);
    items.update_options({.processing_interval = 1ms, .processing_batch_size = 1});
    clock->advance(1s);
    CHECK(sizes == std::vector<std::size_t>{4, 4, 1, 1});
}

// ---- infos and forms

namespace {

template <typename F>
std::vector<std::string> told(F process) {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> said;
    tidefall::queue<int> items(one_partition(clock), process(said));
    items.push(1);
    items.flush();
    return said;
}

std::string text(batch_info const& info) {
    return std::string(info.buffer) + " " + std::to_string(info.partition);
}

}  // namespace

TEST_CASE("results: each form of a processor is told what its batch is about") {
    using said = std::vector<std::string>;
    using tidefall::queue_table;
    CHECK(told([](said& to) {
              return [&to](std::span<int>, batch_info const& info, std::stop_token token) {
                  to.push_back(text(info) + (token.stop_possible() ? " token" : ""));
              };
          }) == said{"tidefall 0 token"});
    CHECK(told([](said& to) {
              return [&to](std::span<int const>, batch_info const& info, std::stop_token const&) {
                  to.push_back(text(info) + " const token");
              };
          }) == said{"tidefall 0 const token"});
    CHECK(told([](said& to) { return [&to](std::span<int>, batch_info const& info) { to.push_back(text(info)); }; }) ==
          said{"tidefall 0"});
    CHECK(told([](said& to) {
              return [&to](std::span<int const>, batch_info info) { to.push_back(text(info) + " const"); };
          }) == said{"tidefall 0 const"});
    CHECK(told([](said& to) {
              return [&to](queue_table<int>, batch_info const& info) {
                  to.push_back(text(info) + " table " + std::to_string(info.remaining));
              };
          }) == said{"tidefall 0 table 0"});
    CHECK(told([](said& to) {
              return [&to](queue_table<int>, batch_info const& info, std::stop_token const&) {
                  to.push_back(text(info) + " table token");
              };
          }) == said{"tidefall 0 table token"});
}

namespace {

/// Can be called in many ways, and says in which it was.
struct many_forms {
    std::vector<std::string>& to;
    void operator()(std::span<int const>, batch_info const&, std::stop_token) { to.emplace_back("all, const"); }
    void operator()(std::span<int>, std::stop_token) { to.emplace_back("token"); }
    void operator()(std::span<int>, batch_info const&) { to.emplace_back("info"); }
    void operator()(std::span<int>) { to.emplace_back("batch"); }
};
struct fewer_forms {
    std::vector<std::string>& to;
    void operator()(std::span<int const>, std::stop_token) { to.emplace_back("token, const"); }
    void operator()(std::span<int>, batch_info const&) { to.emplace_back("info"); }
    void operator()(std::span<int>) { to.emplace_back("batch"); }
};
struct two_forms {
    std::vector<std::string>& to;
    void operator()(std::span<int const>, batch_info const&) { to.emplace_back("info, const"); }
    void operator()(std::span<int>) { to.emplace_back("batch"); }
};

}  // namespace

TEST_CASE("results: the forms are tried in their order") {
    using said = std::vector<std::string>;
    CHECK(told([](said& to) { return many_forms{to}; }) == said{"all, const"});
    CHECK(told([](said& to) { return fewer_forms{to}; }) == said{"token, const"});
    CHECK(told([](said& to) { return two_forms{to}; }) == said{"info, const"});
}

TEST_CASE("results: an info names the buffer, the drain, the trigger and when the tables were exchanged") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::uint64_t> drains;
    std::vector<tidefall::drain_trigger> triggers;
    std::vector<std::chrono::nanoseconds> swaps;
    std::vector<std::size_t> partitions;
    tidefall::queue<int> items({.name = "events",
                                .partitions = 2,
                                .processing_interval = 10ms,
                                .processing_batch_size = 1,
                                .drain_threshold = 3,
                                .runtime = clock},
                               [&](std::span<int const>, batch_info const& info) {
                                   CHECK(info.buffer == "events");
                                   CHECK(info.attempt == 1);
                                   if (info.index > 0) return;
                                   drains.push_back(info.drain);
                                   triggers.push_back(info.trigger);
                                   swaps.push_back(info.swapped_at.time_since_epoch());
                                   partitions.push_back(info.partition);
                               });
    auto const key = [&](std::size_t partition) {
        int k = 0;
        while (true) {
            items.push(k, tidefall::partition_key{k});
            bool const hit = items.partition(partition).size() > 0;
            items.flush();
            if (hit) return k;
            ++k;
        }
    };
    int const first = key(0);
    int const second = key(1);
    drains.clear(), triggers.clear(), swaps.clear(), partitions.clear();
    auto const before = clock->now();
    items.push(1, tidefall::partition_key{second});
    clock->advance(10ms);
    for (int i = 0; i < 3; ++i) items.push(i, tidefall::partition_key{second});
    clock->advance(0ms);
    items.push(1, tidefall::partition_key{first});
    items.flush();
    items.push(1, tidefall::partition_key{first});
    items.stop();
    using tidefall::drain_trigger;
    CHECK(triggers ==
          std::vector{drain_trigger::interval, drain_trigger::threshold, drain_trigger::flush, drain_trigger::stop});
    CHECK(partitions == std::vector<std::size_t>{1, 1, 0, 0});
    REQUIRE(drains.size() == 4);
    CHECK(drains[1] == drains[0] + 1);
    CHECK(drains[3] == drains[2] + 1);
    CHECK(swaps[0] == (before + 10ms).time_since_epoch());
}
