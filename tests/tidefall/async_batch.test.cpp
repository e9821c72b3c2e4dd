// SPDX-License-Identifier: MIT
//
// Batches that their processor ends when it likes: on which thread, how, how many at once, and what beside them waits.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/standard_error.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::check_conservation;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::one_partition;
using tests::returns;
using tidefall::async_batch;
using tidefall::batch_result;
using tidefall::broken_batch;
using tidefall::drain_report;
using tidefall::failure_reason;
using int_queue = tidefall::queue<int>;

namespace {

/// Takes batches and keeps them.
struct keeper {
    std::vector<async_batch<int>>* kept;
    void operator()(async_batch<int> batch) const { kept->push_back(std::move(batch)); }
};

std::vector<int> values_of(async_batch<int> const& batch) {
    return {batch.values().begin(), batch.values().end()};
}

tidefall::options in_flight(std::shared_ptr<tidefall::manual_runtime> const& clock, std::size_t most) {
    auto how = one_partition(clock, 2);
    how.max_in_flight = most;
    return how;
}

std::exception_ptr error(char const* text) {
    return std::make_exception_ptr(std::runtime_error(text));
}

static_assert(!std::is_copy_constructible_v<async_batch<int>>);
static_assert(std::is_nothrow_move_constructible_v<async_batch<int>>);
static_assert(tidefall::processor_for<keeper, tidefall::queue_table<int>>);

/// Spans come first, and what they are tried with is not tried with an `async_batch`.
struct takes_both {
    int* spans;
    void operator()(std::span<int const>) const { ++*spans; }
    void operator()(async_batch<int>) const {}
};

}  // namespace

TEST_CASE("async: a batch counts as a call that runs until it is completed") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<async_batch<int>> kept;
    int_queue items(in_flight(clock, 1), keeper{&kept});
    items.push_range(numbers(0, 4));
    CHECK(items.flush() == drain_report{.complete = false});
    REQUIRE(kept.size() == 1);
    CHECK(values_of(kept[0]) == std::vector{0, 1});
    CHECK(kept[0].info().drain == 1);
    CHECK(kept[0].info().remaining == 2);
    CHECK(kept[0].info().trigger == tidefall::drain_trigger::flush);
    CHECK_FALSE(kept[0].token().stop_requested());
    CHECK(items.stats().in_flight == 4);
    kept[0].complete();
    CHECK(kept[0].values().empty());
    CHECK(items.stats().processed == 2);
    CHECK(kept.size() == 1);
    clock->advance(0s);
    REQUIRE(kept.size() == 2);
    CHECK(values_of(kept[1]) == std::vector{2, 3});
    CHECK(kept[1].info().index == 1);
    items.push(4);
    CHECK_FALSE(items.flush().complete);
    CHECK(kept.size() == 2);  // the next drain begins when all batches of one have their outcome
    kept[1].complete();
    CHECK(items.flush() == drain_report{.complete = false});
    REQUIRE(kept.size() == 3);
    kept[2].complete();
    CHECK(items.stop() == drain_report{.processed = 0});
    CHECK(items.stats().processed == 5);
    check_conservation(items.stats());
}

TEST_CASE("async: so many batches of a partition are out at once, and are handed out in their order") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<async_batch<int>> kept;
    int_queue items(in_flight(clock, 3), keeper{&kept});
    items.push_range(numbers(0, 10));
    items.flush();
    REQUIRE(kept.size() == 3);
    for (int i = 0; i < 3; ++i) CHECK(values_of(kept[static_cast<std::size_t>(i)]) == std::vector{2 * i, 2 * i + 1});
    kept[1].complete();  // in whatever order
    clock->advance(0s);
    REQUIRE(kept.size() == 4);
    items.update_options({.max_in_flight = 4});
    clock->advance(0s);
    REQUIRE(kept.size() == 5);
    items.update_options({.max_in_flight = 1});
    for (auto& one : kept) one.complete();
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 10);
}

TEST_CASE("async: a batch may be completed in the call, and then the next one follows at once") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> taken;
    int_queue items(in_flight(clock, 1), [&](async_batch<int> batch) {
        for (int const one : batch.values()) taken.push_back(one);
        batch.complete();
    });
    items.push_range(numbers(0, 9));
    CHECK(items.flush() == drain_report{.processed = 9});
    CHECK(taken == numbers(0, 9));
}

TEST_CASE("async: a batch fails with what it is given, thrown or not, and without a word as broken") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    auto how = in_flight(clock, 8);
    how.telemetry = log;
    how.processing_batch_size = 1;
    int_queue items(
        how,
        [&](async_batch<int> batch) {
            switch (batch.values().front()) {
                case 0: batch.fail(error("no connection")); break;
                case 1: break;
                case 2: batch.fail(nullptr); break;
                case 3: throw std::runtime_error("thrown");
                default: kept.push_back(std::move(batch)); throw std::runtime_error("goes on");
            }
        },
        back);
    log->clear();
    items.push_range(numbers(0, 5));
    CHECK(items.flush() == drain_report{.failed = 4, .complete = false});
    CHECK(back.values() == numbers(0, 4));
    broken_batch const broken;
    std::array const texts{"no connection", broken.what(), broken.what(), "thrown"};
    for (std::size_t i = 0; i < texts.size(); ++i) {
        CHECK(back.all()[i].reason == failure_reason::exception);
        CHECK_THROWS_WITH(std::rethrow_exception(back.all()[i].error), texts[i]);
    }
    CHECK(log->lines().back() == "processing_exception 0 0 goes on");
    kept.clear();
    CHECK(items.stop() == drain_report{.failed = 0});
    CHECK(items.stats().failed == 5);
    check_conservation(items.stats());
}

TEST_CASE("async: a batch that is taken in part keeps its place, and no other is handed out before it") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    int_queue items(in_flight(clock, 2), keeper{&kept}, back);
    items.push_range(numbers(0, 8));
    items.flush();
    REQUIRE(kept.size() == 2);
    batch_result some;
    some.reject(1);
    some.refuse(0);
    some.retry_after(5ms);
    kept[1].complete(some);  // values 2 and 3
    CHECK(back.values() == std::vector{2});
    batch_result none;
    none.reject_from(0);
    none.retry_after(1ms);
    kept[0].complete(none);
    clock->advance(1ms - 1ns);
    CHECK(kept.size() == 2);
    clock->advance(1ns);
    REQUIRE(kept.size() == 3);
    CHECK(values_of(kept[2]) == std::vector{0, 1});
    CHECK(kept[2].info().attempt == 2);
    CHECK(kept[2].info().index == 0);
    kept[2].complete();
    clock->advance(3ms);
    CHECK(kept.size() == 3);
    CHECK(items.stats().in_flight == 5);
    clock->advance(1ms);
    REQUIRE(kept.size() == 5);
    CHECK(values_of(kept[3]) == std::vector{3});
    CHECK(kept[3].info().attempt == 2);
    CHECK(values_of(kept[4]) == std::vector{4, 5});
    kept[3].complete();
    kept[4].complete(none);  // once the buffer closes
    kept.reserve(8);
    items.flush(0s);
    CHECK(kept.size() == 5);
    CHECK_FALSE(items.stop().complete);  // a manual clock stands still meanwhile
    REQUIRE(kept.size() == 7);
    CHECK(values_of(kept[5]) == std::vector{4, 5});
    CHECK(values_of(kept[6]) == std::vector{6, 7});
    CHECK(kept[5].info().stopping);
    kept[5].complete(none);
    CHECK(back.values() == std::vector{2, 4, 5});
    kept[6].complete();
    check_conservation(items.stats());
    CHECK(items.stats().in_flight == 0);
}

TEST_CASE("async: while what was rejected is sorted out, no other batch takes its place") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<async_batch<int>> kept;
    std::size_t handed_out = 0;
    int_queue items(in_flight(clock, 2), keeper{&kept}, [&](std::span<int>, tidefall::failure const&) {
        clock->advance(0s);  // somebody hands out what may be handed out
        handed_out = kept.size();
    });
    items.update_options({.max_in_flight = 1});
    items.push_range(numbers(0, 8));
    items.flush();
    REQUIRE(kept.size() == 1);
    items.update_options({.max_in_flight = 2});
    auto first = std::move(kept[0]);
    kept.clear();
    batch_result some;
    some.refuse(0);
    some.reject(1);
    some.retry_after(0s);
    first.complete(some);
    CHECK(handed_out == 0);
    clock->advance(0s);
    REQUIRE(kept.size() == 2);
    CHECK(values_of(kept[0]) == std::vector{1});
    while (!kept.empty()) {
        for (auto& one : std::exchange(kept, {})) one.complete();
        clock->advance(0s);
    }
    CHECK(items.stop().complete);
}

TEST_CASE("async: an index beyond the batch fails all of it, and only the first outcome counts") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    int_queue items(in_flight(clock, 2), keeper{&kept}, back);
    items.push_range(numbers(0, 4));
    items.flush();
    REQUIRE(kept.size() == 2);
    batch_result beyond;
    beyond.reject(2);
    kept[0].complete(beyond);
    kept[0].complete();
    kept[0].fail(error("late"));
    REQUIRE(back.all().size() == 1);
    CHECK_THROWS_AS(std::rethrow_exception(back.all()[0].error), std::out_of_range);
    kept[1].complete();
    kept[1].fail(error("late"));
    kept[1] = std::move(kept[0]);  // neither holds a batch
    kept.clear();
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 2);
    CHECK(items.stats().failed == 2);
}

TEST_CASE("async: a batch that is out too long has failed, and what is said of it later is ignored") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    auto how = in_flight(clock, 2);
    how.processing_timeout = 10ms;
    how.telemetry = log;
    how.timeout_action = GENERATE(tidefall::timeout_action::wait, tidefall::timeout_action::abandon);
    bool const waits = how.timeout_action == tidefall::timeout_action::wait;
    int_queue items(how, keeper{&kept}, back);
    items.push_range(numbers(0, 12));
    items.flush();
    log->clear();
    REQUIRE(kept.size() == 2);
    auto const token = kept[0].token();
    clock->advance(10ms - 1ns);
    CHECK_FALSE(token.stop_requested());
    clock->advance(1ns);
    CHECK(token.stop_requested());
    CHECK(log->lines()[0] == "processing_failed 0 2 timeout");
    CHECK(log->lines()[1] == "processing_failed 0 2 timeout");
    CHECK(kept.size() == (waits ? 2 : 4));
    CHECK(items.stats().abandoned == (waits ? 0 : 4));
    CHECK(items.stats().failed == (waits ? 0 : 4));
    if (!waits) CHECK_FALSE(kept[2].token().stop_requested());
    CHECK(values_of(kept[0]) == std::vector{0, 1});
    clock->advance(10ms);
    CHECK(kept.size() == (waits ? 2 : 4));  // so many may be abandoned as may be out
    CHECK(items.stats().abandoned == (waits ? 0 : 4));
    for (auto& one : std::exchange(kept, {})) one.complete();
    clock->advance(0s);
    std::size_t in_time = 0;
    while (!kept.empty()) {
        for (auto& one : std::exchange(kept, {})) {
            in_time += one.values().size();
            one.complete();
        }
        clock->advance(0s);
    }
    CHECK(in_time == (waits ? 8 : 4));
    CHECK(items.stop().complete);
    CHECK(items.stats().failed == 12 - in_time);
    CHECK(items.stats().processed == in_time);
    CHECK(items.stats().abandoned == 0);
    for (auto const& one : back.all()) CHECK(one.reason == failure_reason::timeout);
    CHECK(back.values() == numbers(0, static_cast<int>(12 - in_time)));
    check_conservation(items.stats());
}

TEST_CASE("async: the deadline of a stop leaves batches that are out, and drops the rest") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    int_queue items(in_flight(clock, 1), keeper{&kept}, back);
    items.push_range(numbers(0, 6));
    items.flush();
    REQUIRE(kept.size() == 1);
    auto const token = kept[0].token();
    CHECK(items.stop(0s) == drain_report{.dropped = 4, .complete = false});
    CHECK(back.values() == numbers(2, 6));
    CHECK(items.stats().in_flight == 2);
    batch_result again;
    again.reject(0);
    again.retry_after(1ms);
    kept[0].complete(again);  // for which it is too late
    CHECK(items.stats().processed == 1);
    CHECK(items.stats().failed == 1);
    CHECK(back.values() == std::vector{2, 3, 4, 5, 0});
    check_conservation(items.stats());
}

TEST_CASE("async: the deadline of a stop may find a drain that is about to go on, and leaves what is out") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    auto how = in_flight(clock, 2);
    how.telemetry = log;
    {
        int_queue items(how, keeper{&kept}, back);
        items.push_range(numbers(0, 6));
        items.flush();
        REQUIRE(kept.size() == 2);
        kept[0].complete();  // the next one may be handed out, and nobody has come to do so
        CHECK(items.stop(0s) == drain_report{.dropped = 2, .complete = false});
        CHECK(back.values() == std::vector{4, 5});
        CHECK(items.stats().in_flight == 2);
        kept[1].complete();
        CHECK(items.stats().processed == 4);
        check_conservation(items.stats());
        CHECK(log->lines().back() == "processing_stop 0 6");
        for (auto const& line : log->lines()) CHECK_FALSE(line.starts_with("processing_exception"));
    }  // nothing is in use any more
    CHECK(kept.size() == 2);
}

TEST_CASE("async: what is to be offered again is returned where a stop's deadline passes before") {
    struct hook final : tidefall::telemetry_hook {
        void on_batch_retried(tidefall::batch_retried const&) override { std::thread(at_retry).join(); }
        std::function<void()> at_retry;
    };
    auto const clock = tidefall::make_manual_runtime();
    auto const told = std::make_shared<hook>();
    returns<int> const back;
    batch_result again;
    again.reject_from(0);
    again.retry_after(1ms);
    auto how = in_flight(clock, 1);
    std::optional<async_batch<int>> kept;
    std::optional<int_queue> items;
    SECTION("completed later") {
        how.telemetry = told;
        items.emplace(
            how, [&](async_batch<int> batch) { kept.emplace(std::move(batch)); }, back);
        told->at_retry = [&] { items->stop(0s); };
        items->push(1);
        items->flush();
        kept->complete(again);
    }
    SECTION("completed in its call, which returns later") {
        items.emplace(
            how,
            [&](async_batch<int> batch) {
                batch.complete(again);
                std::thread([&] { items->stop(0s); }).join();
            },
            back);
        items->push(1);
        items->flush();
    }
    REQUIRE(back.all().size() == 1);
    CHECK(back.all()[0].reason == failure_reason::stopped);
    CHECK(items->stats().dropped == 1);
    CHECK(items->stats().in_flight == 0);
    check_conservation(items->stats());
}

TEST_CASE("async: as many batches as may be out are handed out at once") {
    auto const polled = tidefall::make_polled_runtime();
    std::vector<async_batch<int>> kept;
    int_queue items({.partitions = 1,
                     .processing_interval = 1h,
                     .processing_batch_size = 1,
                     .max_in_flight = 2,
                     .drain_threshold = 3,
                     .runtime = polled},
                    keeper{&kept});
    items.push_range(numbers(0, 3));
    CHECK(polled->poll() == 1);
    CHECK(kept.size() == 2);
    for (auto& one : std::exchange(kept, {})) one.complete();
    while (polled->poll() > 0) {
    }
    for (auto& one : kept) one.complete();
    CHECK(items.stop().complete);
}

TEST_CASE("async: a manual runtime's destructor of a buffer leaves batches that are out") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    std::vector<async_batch<int>> kept;
    auto const life = std::make_shared<int>(1);
    {
        int_queue items(
            in_flight(clock, 1), [&kept, life](async_batch<int> batch) { kept.push_back(std::move(batch)); }, back);
        items.push_range(numbers(0, 4));
        items.flush();
        items.stop(0s);
    }
    REQUIRE(kept.size() == 1);
    CHECK(life.use_count() == 2);
    CHECK(kept[0].token().stop_requested());
    kept[0].fail(error("too late"));
    CHECK(back.values() == std::vector{2, 3, 0, 1});
    CHECK(life.use_count() == 1);
}

TEST_CASE("async: batches of a map, gathered ones, and of a whole drain") {
    auto const clock = tidefall::make_manual_runtime();
    using entry = tidefall::entry<int, std::string>;
    std::vector<async_batch<entry>> kept;
    tidefall::hash_map<int, std::string> map(in_flight(clock, 4),
                                             [&](async_batch<entry> batch) { kept.push_back(std::move(batch)); });
    for (int i = 0; i < 7; ++i) map.put(i, std::to_string(i));
    map.flush();
    REQUIRE(kept.size() == 4);
    int sum = 0;
    for (auto& one : kept) {
        for (auto const& each : one.values()) {
            CHECK(each.value == std::to_string(each.key));
            sum += each.key;
        }
        one.complete();
    }
    CHECK(sum == 21);
    CHECK(map.stop().complete);
}

TEST_CASE("async: a processor that takes spans too is called with these") {
    auto const clock = tidefall::make_manual_runtime();
    int spans = 0;
    int_queue items(one_partition(clock), takes_both{&spans});
    items.push(1);
    CHECK(items.stop().processed == 1);
    CHECK(spans == 1);
}

TEST_CASE("async: a sink with a thread of its own, and a destructor that waits for it") {
    std::mutex mutex;
    std::vector<async_batch<int>> arrived;
    latch answers;
    latch is_out;
    std::vector<int> taken;
    returns<int> const back;
    std::thread sink;
    {
        int_queue items(
            {.partitions = 1,
             .processing_interval = 1h,
             .processing_batch_size = 4,
             .max_in_flight = 2,
             .shutdown_timeout = 1h},
            [&](async_batch<int> batch) {
                std::lock_guard const lock(mutex);
                arrived.push_back(std::move(batch));
                if (arrived.size() == 2) is_out.open();
            },
            back);
        items.push_range(numbers(0, 10));
        items.flush(0s);
        is_out.wait();
        sink = std::thread([&] {
            answers.wait();
            for (std::size_t answered = 0; answered < 10;) {
                std::lock_guard const lock(mutex);
                for (auto& one : arrived) {
                    auto const size = one.values().size();
                    for (int const value : one.values()) taken.push_back(value);
                    answered += size;
                    one.complete();
                }
                arrived.clear();
            }
        });
        CHECK(items.stats().in_flight == 10);
        answers.open();
    }
    CHECK(taken.size() == 10);
    CHECK(back.values().empty());
    sink.join();
}

TEST_CASE("async: a call that hangs after it gave its batch away is no concern of the batch") {
    latch given;
    latch go_on;
    std::optional<async_batch<int>> kept;
    int_queue items({.partitions = 1, .processing_interval = 1h, .shutdown_timeout = 1h}, [&](async_batch<int> batch) {
        kept.emplace(std::move(batch));
        given.open();
        go_on.wait();
    });
    items.push(1);
    items.flush(0s);
    given.wait();
    kept->complete();
    CHECK(items.stats().processed == 1);
    go_on.open();
    CHECK(items.stop().complete);
}

TEST_CASE("async: each partition may have a processor of its own that takes batches") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<async_batch<int>> kept;
    std::vector<std::size_t> made;
    int_queue items({.partitions = 2, .runtime = clock}, tidefall::per_partition([&](std::size_t partition) {
                        made.push_back(partition);
                        return [&kept](async_batch<int> batch) { kept.push_back(std::move(batch)); };
                    }));
    for (int i = 0; i < 20; ++i) items.push(i, tidefall::partition_key{i});
    items.flush();
    CHECK(made.size() == 2);
    REQUIRE(kept.size() == 2);
    CHECK(kept[0].info().partition != kept[1].info().partition);
    kept.clear();
    CHECK(items.stop().complete);
}

TEST_CASE("async: options that cannot be are refused") {
    auto const with = [](std::size_t most) {
        int_queue const items({.max_in_flight = most, .runtime = tidefall::make_manual_runtime()},
                              [](async_batch<int>) {});
    };
    CHECK_THROWS_WITH(with(0), "tidefall: option max_in_flight is 0, but must be 1 to 1024");
    CHECK_THROWS_WITH(with(1025), "tidefall: option max_in_flight is 1025, but must be 1 to 1024");
    with(1024);
}
