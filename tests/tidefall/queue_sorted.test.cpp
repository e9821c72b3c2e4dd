// SPDX-License-Identifier: MIT
//
// Queues whose order is a sort: by the item, or by a key that each write carries.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::check_conservation;
using tests::latch;
using tests::numbers;
using tests::one_partition;
using tests::recorder;
using tests::returns;
using tests::until;
using tidefall::drain_report;
using tidefall::failure_reason;

namespace {

struct event {
    int id;
    std::string what;
};

struct coin {
    static inline std::mt19937 random{7};
    bool operator()(double, double) const { return random() % 2 == 0; }
};
struct fails_at_the_nth {
    static inline int calls_left = 0;
    bool operator()(int a, int b) const {
        if (--calls_left == 0) throw std::runtime_error("compare");
        return a < b;
    }
};

/// Its comparison waits to be released, and may throw.
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

}  // namespace

TEST_CASE("queue: sorted_by sorts stably, each drain for itself") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{1}, 10, 100'000);
    std::vector<event> seen;
    tidefall::queue<event, tidefall::sorted_by<&event::id>> items(
        one_partition(clock, batch), [&](std::span<event> b) { seen.insert(seen.end(), b.begin(), b.end()); });
    std::mt19937 random(1);
    for (int drain = 0; drain < 2; ++drain) {
        seen.clear();
        for (int i = 0; i < 2000; ++i) items.push({static_cast<int>(random() % 50), std::to_string(i)});
        clock->advance(5s);
        REQUIRE(seen.size() == 2000);
        CHECK(std::is_sorted(seen.begin(), seen.end(), [](event const& a, event const& b) {
            return std::pair(a.id, std::stoi(a.what)) < std::pair(b.id, std::stoi(b.what));
        }));
    }
}

TEST_CASE("queue: sorted_by_key sorts by the key of the write") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<std::string> const seen;
    tidefall::queue<std::string, tidefall::sorted_by_key<int, std::greater<>>> items(one_partition(clock), seen);
    items.push("two", tidefall::sort_key{2});
    items.push(std::string("three"), tidefall::partition_key{1}, tidefall::sort_key{3});
    items.emplace(tidefall::sort_key{1}, tidefall::partition_key{1}, "one");
    std::vector<std::string> const more{"4444", "55555"};
    CHECK(items.push_range(more, tidefall::sort_key_by{&std::string::size}) == 2);
    CHECK(items.push_range(more, tidefall::sort_key{0}) == 2);
    items.flush();
    CHECK(seen.values() == std::vector<std::string>{"55555", "4444", "three", "two", "one", "4444", "55555"});
}

TEST_CASE("queue: a text can be the sort key") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int, tidefall::sorted_by_key<std::string>> items(one_partition(clock), seen);
    items.push(2, tidefall::sort_key{"b"});
    items.push(1, tidefall::sort_key{std::string("a")});
    items.flush();
    CHECK(seen.values() == std::vector<int>{1, 2});
}

TEST_CASE("queue: sorted, in table mode") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> seen;
    tidefall::queue<int, tidefall::sorted_by<std::identity{}>> items(
        one_partition(clock), [&](tidefall::queue_table<int> whole) { seen.assign(whole.begin(), whole.end()); });
    items.push_range(std::vector<int>{3, 1, 2});
    items.flush();
    CHECK(seen == std::vector<int>{1, 2, 3});
}

TEST_CASE("queue: a comparator that contradicts itself gives some order") {
    auto const clock = tidefall::make_manual_runtime();
    auto const run = [&](auto order) {
        std::vector<double> seen;
        tidefall::queue<double, decltype(order)> items(
            one_partition(clock), [&](std::span<double> b) { seen.insert(seen.end(), b.begin(), b.end()); });
        for (int i = 0; i < 1000; ++i) items.push(i % 3 == 0 ? std::nan("") : 1000.0 - i);
        items.flush();
        CHECK(seen.size() == 1000);
        CHECK(std::count_if(seen.begin(), seen.end(), [](double d) { return std::isnan(d); }) == 334);
    };
    run(tidefall::sorted_by<std::identity{}>());
    run(tidefall::sorted_by<std::identity{}, coin>());
}

TEST_CASE("queue: a comparator that throws fails the table and loses no value") {
    auto const clock = tidefall::make_manual_runtime();
    bool failed = false;
    bool succeeded = false;
    for (int n = 1; !succeeded; n += 7) {
        recorder<int> const seen;
        returns<int> const back;
        fails_at_the_nth::calls_left = n;
        auto const log = std::make_shared<tests::event_log>();
        tidefall::options how = one_partition(clock);
        how.telemetry = log;
        tidefall::queue<int, tidefall::sorted_by<std::identity{}, fails_at_the_nth>> items(how, seen, back);
        items.push_range(numbers(0, 100));
        items.flush();
        auto const stats = items.stats();
        CHECK(stats.processed + stats.failed == 100);
        succeeded = stats.processed == 100;
        if (succeeded) {
            CHECK(seen.values() == numbers(0, 100));
        } else {
            failed = true;
            CHECK(back.values() == numbers(0, 100));
            CHECK(seen.batches().empty());
            auto const lines = log->lines();
            CHECK(std::count(lines.begin(), lines.end(), "processing_exception 0 100 compare") == 1);
            CHECK(std::count(lines.begin(), lines.end(), "processing_failed 0 100 exception") == 1);
        }
    }
    CHECK(failed);
}

// ---- while it is sorted

TEST_CASE("queue: what is being sorted at the deadline of stop is dropped, and in the report") {
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
    for (int i = 0; i < 16; ++i) values.push_back({&entered, &release, false, 16 - i});
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

TEST_CASE(
    "queue: what is being sorted when a stop gives up is dropped once, in batches and in table mode, thrown or not") {
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

TEST_CASE("queue: a stop beside undelivered of a sort that threw counts nothing twice") {
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
