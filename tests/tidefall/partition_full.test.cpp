// SPDX-License-Identifier: MIT
//
// What is told of a partition that is full: `partition_full` by the first write that finds no room, `partition_room` at
// the swap that ends it.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using lines = std::vector<std::string>;
using tests::any_buffer;
using tests::check_conservation;
using tests::latch;
using tests::numbers;
using tests::until;
using tidefall::overflow_policy;
using tidefall::write_status;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();

/// Keeps what is told of fullness, beside the lines of all events.
class fullness final : public tests::event_log {
public:
    struct full {
        std::string buffer;
        std::size_t partition;
        std::chrono::system_clock::time_point system_time;
        std::size_t size;
        std::thread::id thread;
    };
    struct room {
        std::string buffer;
        std::size_t partition;
        std::chrono::nanoseconds duration;
        std::uint64_t refused;
    };

    /// Called at the end of the event.
    std::function<void()> at_full;
    std::function<void()> at_room;

    [[nodiscard]] std::vector<full> fulls() const {
        std::lock_guard const lock(mutex_);
        return fulls_;
    }
    [[nodiscard]] std::vector<room> rooms() const {
        std::lock_guard const lock(mutex_);
        return rooms_;
    }
    /// In all rooms.
    [[nodiscard]] std::uint64_t refused() const {
        std::uint64_t sum = 0;
        for (auto const& one : rooms()) sum += one.refused;
        return sum;
    }

    void on_partition_full(tidefall::partition_full const& e) override {
        {
            std::lock_guard const lock(mutex_);
            fulls_.push_back({std::string(e.buffer), e.partition, e.system_time, e.size, std::this_thread::get_id()});
        }
        event_log::on_partition_full(e);
        if (at_full) at_full();
    }
    void on_partition_room(tidefall::partition_room const& e) override {
        {
            std::lock_guard const lock(mutex_);
            rooms_.push_back({std::string(e.buffer), e.partition, e.duration, e.refused});
        }
        event_log::on_partition_room(e);
        if (at_room) at_room();
    }

private:
    mutable std::mutex mutex_;
    std::vector<full> fulls_;
    std::vector<room> rooms_;
};

/// One partition, which drains when it is full or when the test says so.
struct stage {
    std::shared_ptr<tidefall::manual_runtime> clock = tidefall::make_manual_runtime();
    std::shared_ptr<fullness> told = std::make_shared<fullness>();

    [[nodiscard]] tidefall::options holding(std::size_t capacity, overflow_policy policy) const {
        return {.partitions = 1,
                .processing_interval = 1h,
                .capacity = capacity,
                .overflow = policy,
                .telemetry = told,
                .runtime = clock};
    }
};

template <typename Value>
void ignore(std::span<Value>) {
}

using int_map = tidefall::hash_map<int, int>;
constexpr auto ignore_entries = ignore<int_map::value_type>;

/// Of a partition that was full once: that it is told so before its room, and the room before what comes then.
void check_order(lines const& all, std::string const& full, std::string const& room, std::string const& then) {
    auto const place = [&](std::string const& line) { return std::find(all.begin(), all.end(), line); };
    CAPTURE(all);
    CHECK(std::count(all.begin(), all.end(), full) == 1);
    CHECK(std::count(all.begin(), all.end(), room) == 1);
    CHECK(place(full) < place(room));
    CHECK(place(room) < place(then));
    CHECK(place(then) != all.end());
}

}  // namespace

// ---- reject

BUFFER_TEST_CASE("partition full: it is told by the first write that finds no room, once, and its end by the swap",
                 EVERY_BUFFER) {
    stage const on;
    any_buffer items(kind, on.holding(2, overflow_policy::reject), ignore<int>);
    items.write(0);
    CHECK(items.write(1) == write_status::accepted);
    CHECK(on.told->lines() == lines{"partition_start 0"});  // it is full, and nobody was in need of room
    CHECK(items.write(2) == write_status::full);
    CHECK(on.told->lines() == lines{"partition_start 0", "partition_full 0 2"});
    CHECK(items.write(3) == write_status::full);
    CHECK(items.write(4) == write_status::full);
    on.clock->advance(0s);
    CHECK(items.write(5) == write_status::accepted);
    items.write(6);
    CHECK(items.write(7) == write_status::full);  // anew
    items.flush();
    CHECK(on.told->lines() == lines{"partition_start 0", "partition_full 0 2", "partition_room 0 3",
                                    "processing_start 0 2 capacity", "processing_stop 0 2", "partition_full 0 2",
                                    "partition_room 0 1", "processing_start 0 2 flush", "processing_stop 0 2"});
    CHECK(items.stats().refused == 4);
    CHECK(items.stats().hook_failures == 0);
}

TEST_CASE("partition full: of one that is filled, and needed no more, nothing is told") {
    stage const on;
    {
        tidefall::queue<int> items(on.holding(4, overflow_policy::reject), ignore<int>);
        CHECK(items.push_range(numbers(0, 4)) == 4);
        on.clock->advance(0s);
        CHECK(items.push_range(numbers(0, 4)) == 4);
        items.update_options({.capacity = 2});  // holds more than it may, and still nobody is in need
    }
    CHECK(on.told->fulls().empty());
    CHECK(on.told->rooms().empty());
}

TEST_CASE("partition full: what the events carry") {
    stage const on;
    std::vector<write_status> inside;
    tidefall::queue<int>* self = nullptr;
    auto how = on.holding(2, overflow_policy::reject);
    how.name = "spans";
    tidefall::queue<int> items(how, [&](std::span<int>) {
        if (!inside.empty()) return;
        on.clock->advance(1s);
        for (int i = 0; i < 3; ++i) inside.push_back(self->push(i));
        on.clock->advance(3s);
        inside.push_back(self->push(3));
        on.clock->advance(500ms);
    });
    self = &items;
    items.push(1);
    items.flush();
    CHECK(inside == std::vector<write_status>{write_status::accepted, write_status::accepted, write_status::full,
                                              write_status::full});
    on.clock->advance(0s);
    auto const fulls = on.told->fulls();
    auto const rooms = on.told->rooms();
    REQUIRE(fulls.size() == 1);
    REQUIRE(rooms.size() == 1);
    CHECK(fulls[0].buffer == "spans");
    CHECK(fulls[0].partition == 0);
    CHECK(fulls[0].size == 2);
    CHECK(std::chrono::abs(std::chrono::system_clock::now() - fulls[0].system_time) < 1h);
    CHECK(fulls[0].thread == std::this_thread::get_id());
    CHECK(rooms[0].buffer == "spans");
    CHECK(rooms[0].partition == 0);
    CHECK(rooms[0].duration == 3500ms);  // by the runtime's clock, from the write to the swap
    CHECK(rooms[0].refused == 2);
}

TEST_CASE("partition full: each partition tells for itself") {
    auto const told = std::make_shared<fullness>();
    tidefall::queue<int> items({.partitions = 4,
                                .processing_interval = 1h,
                                .capacity = 3,
                                .overflow = overflow_policy::reject,
                                .telemetry = told,
                                .runtime = tidefall::make_manual_runtime()},
                               ignore<int>);
    for (int key = 0; key < 1'000; ++key) items.push(key, tidefall::partition_key{key});
    std::set<std::size_t> full;
    for (auto const& one : told->fulls()) {
        full.insert(one.partition);
        CHECK(one.size == 3);
    }
    CHECK(full == std::set<std::size_t>{0, 1, 2, 3});
    CHECK(told->fulls().size() == 4);
    items.stop();
    std::set<std::size_t> made_room;
    for (auto const& one : told->rooms()) made_room.insert(one.partition);
    CHECK(made_room == full);
    CHECK(told->rooms().size() == 4);
    CHECK(told->refused() == 1'000 - 12);
    CHECK(items.stats().refused == 1'000 - 12);
}

TEST_CASE("partition full: of one that is full by itself, room in all partitions together is not the end") {
    auto const clock = tidefall::make_manual_runtime();
    auto const told = std::make_shared<fullness>();
    std::vector<tidefall::async_batch<int>> kept;
    tidefall::queue<int> items({.partitions = 2,
                                .processing_interval = 1h,
                                .capacity = 2,
                                .total_capacity = 3,
                                .overflow = overflow_policy::reject,
                                .telemetry = told,
                                .runtime = clock},
                               [&](tidefall::async_batch<int> batch) { kept.push_back(std::move(batch)); });
    std::vector<tidefall::partition_key<int>> keys;
    for (int key = 0; keys.size() < 2; ++key) {
        if (items.partition_of(key) == keys.size()) keys.push_back(tidefall::partition_key{key});
    }
    auto const rooms_of = [&](std::size_t partition) {
        auto const rooms = told->rooms();
        return std::count_if(rooms.begin(), rooms.end(), [&](auto const& one) { return one.partition == partition; });
    };
    // The first is full for want of room in all.
    for (int i = 0; i < 2; ++i) CHECK(items.push(i, keys[1]) == write_status::accepted);
    CHECK(items.push(0, keys[0]) == write_status::accepted);
    CHECK(items.push(1, keys[0]) == write_status::full);
    clock->advance(0s);
    CHECK(rooms_of(0) == 1);
    REQUIRE(kept.size() == 2);
    kept.erase(kept.begin() + (kept[0].info().partition == 0 ? 1 : 0));  // that of the second is over
    // Then by itself, while its batch is out.
    for (int i = 0; i < 2; ++i) CHECK(items.push(i, keys[0]) == write_status::accepted);
    CHECK(items.push(2, keys[0]) == write_status::full);
    CHECK(items.push(2, keys[1]) == write_status::accepted);
    CHECK(items.push(3, keys[1]) == write_status::full);
    clock->advance(0s);
    CHECK(items.partition(1).size() == 0);
    CHECK(rooms_of(1) == 1);
    CHECK(rooms_of(0) == 1);
    kept.clear();
    clock->advance(0s);
    CHECK(rooms_of(0) == 2);
}

TEST_CASE("partition full: whatever makes the swap ends it") {
    stage const on;
    tidefall::queue<int> items(on.holding(2, overflow_policy::reject), ignore<int>);
    items.push_range(numbers(0, 2));
    items.push(2);
    SECTION("the drain that the filling write started") {
        on.clock->advance(0s);
        check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "processing_start 0 2 capacity");
    }
    SECTION("a flush") {
        items.flush();
        check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "processing_start 0 2 flush");
    }
    SECTION("a stop") {
        items.stop();
        check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "processing_start 0 2 stop");
    }
}

TEST_CASE("partition full: a bulk write tells of it at the value for which there is no room") {
    stage const on;
    auto const capacity = GENERATE(std::size_t{1}, 4, 256, 300);
    tidefall::queue<int> items(on.holding(capacity, overflow_policy::reject), ignore<int>);
    SECTION("side by side") {
        CHECK(items.push_range(numbers(0, 1'000)) == capacity);
    }
    SECTION("one by one") {
        CHECK(items.push_range(numbers(0, 1'000), tidefall::partition_by{[](int) { return 1; }}) == capacity);
    }
    REQUIRE(on.told->fulls().size() == 1);
    CHECK(on.told->fulls()[0].size == capacity);
    CHECK(items.push_range(numbers(0, 10)) == 0);
    on.clock->advance(0s);
    CHECK(on.told->fulls().size() == 1);
    REQUIRE(on.told->rooms().size() == 1);
    // A bulk write ends at the first value that is answered so.
    CHECK(on.told->rooms()[0].refused == 2);
    CHECK(items.stats().refused == 2);
}

TEST_CASE("partition full: a program that ignores what push answers is told of all that it loses") {
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    tidefall::queue<int> spans({.name = "spans",
                                .partitions = 1,
                                .processing_batch_size = 100,
                                .capacity = 100,
                                .overflow = overflow_policy::reject,
                                .telemetry = metrics,
                                .runtime = clock},
                               ignore<int>);
    auto const has = [&](std::string const& line) {
        return metrics->prometheus().find("\n" + line + "\n") != std::string::npos;
    };
    for (int i = 0; i < 10'000; ++i) {
        spans.push(i);
        if (i == 150) CHECK(has(R"(tidefall_partitions_full{buffer="spans",partition="0"} 1)"));
        if (i % 2'500 == 2'499) clock->advance(1ms);
    }
    spans.stop();
    CHECK(spans.stats().refused == 9'600);
    CHECK(has(R"(tidefall_partitions_full{buffer="spans",partition="0"} 0)"));
    CHECK(has(R"(tidefall_partition_full_total{buffer="spans",partition="0"} 4)"));
    CHECK(has(R"(tidefall_refused_values_total{buffer="spans",partition="0"} 9600)"));
}

// ---- hash maps, of many stripes

TEST_CASE("partition full: it is one fullness over all stripes") {
    stage const on;
    int_map map(on.holding(100, overflow_policy::reject), ignore_entries);
    for (int round = 0; round < 2; ++round) {
        for (int key = 0; key < 1'000; ++key) map.put(key, key);
        on.clock->advance(0s);
    }
    auto const fulls = on.told->fulls();
    auto const rooms = on.told->rooms();
    REQUIRE(fulls.size() == 2);
    REQUIRE(rooms.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(fulls[i].size == 100);
        CHECK(rooms[i].refused == 900);
    }
}

TEST_CASE("partition full: every write of a new key tells, and one that only changes what is there does not") {
    stage const on;
    int_map map(on.holding(2, overflow_policy::reject), ignore_entries);
    map.put_newer(1, 10, 5);
    map.put(2, 20);
    CHECK(map.put(2, 21) == write_status::accepted);
    CHECK(map.update(2, [](int& value) { ++value; }) == write_status::accepted);
    CHECK(map.put_newer(1, 12, 4) == write_status::stale);
    CHECK(map.put_all(std::vector<std::pair<int, int>>{{1, 1}, {2, 2}}) == 2);
    CHECK(on.told->fulls().empty());
    SECTION("put") {
        CHECK(map.put(3, 30) == write_status::full);
    }
    SECTION("put_newer") {
        CHECK(map.put_newer(3, 30) == write_status::full);
    }
    SECTION("update") {
        CHECK(map.update(3, [](int&) {}) == write_status::full);
    }
    SECTION("put_all") {
        CHECK(map.put_all(std::vector<std::pair<int, int>>{{1, 1}, {3, 3}, {2, 2}}) == 1);
    }
    CHECK(on.told->fulls().size() == 1);
    map.put_newer(1, 11, 7);
    CHECK(map.put_newer(1, 12, 6) == write_status::stale);  // refused, but not for want of room
    CHECK(map.put(2, 22) == write_status::accepted);
    on.clock->advance(0s);
    CHECK(on.told->fulls().size() == 1);
    REQUIRE(on.told->rooms().size() == 1);
    CHECK(on.told->rooms()[0].refused == 1);
    CHECK(map.stats().refused == 3);
}

TEST_CASE("partition full: room that an erase makes does not end it, a swap does") {
    stage const on;
    int_map map(on.holding(2, overflow_policy::reject), ignore_entries);
    map.put(1, 1);
    map.put(2, 2);
    CHECK(map.put(3, 3) == write_status::full);
    CHECK(map.erase(1));
    CHECK(map.put(3, 3) == write_status::accepted);
    CHECK(map.put(4, 4) == write_status::full);
    CHECK(on.told->fulls().size() == 1);
    CHECK(on.told->rooms().empty());
    on.clock->advance(0s);
    CHECK(on.told->fulls().size() == 1);
    REQUIRE(on.told->rooms().size() == 1);
    CHECK(on.told->rooms()[0].refused == 2);
}

TEST_CASE("partition full: one that is emptied by erasures tells of its room once all the same") {
    stage const on;
    {
        int_map map(on.holding(2, overflow_policy::reject), ignore_entries);
        map.put(1, 1);
        map.put(2, 2);
        map.put(3, 3);
        map.erase(1);
        map.erase(2);
        on.clock->advance(0s);
        SECTION("before what is written then is drained") {
            map.put(4, 4);
            map.flush();
            check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "processing_start 0 1 flush");
        }
        SECTION("or before it stops") {
            map.stop();
            check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "partition_stop 0 stopped");
        }
    }
    CHECK(on.told->rooms().size() == 1);
}

TEST_CASE("partition full: a swap that finds all erased does not end it") {
    stage const on;
    int_map map(on.holding(2, overflow_policy::reject), ignore_entries);
    map.put(1, 1);
    map.put(2, 2);
    CHECK(map.put(3, 3) == write_status::full);
    map.erase(1);
    map.erase(2);
    on.clock->advance(3s);
    map.put(4, 4);
    map.flush();
    REQUIRE(on.told->rooms().size() == 1);
    CHECK(on.told->rooms()[0].duration == 3s);
}

// ---- block

TEST_CASE("partition full: a write that waits tells of it before, on its own thread") {
    latch begun;
    latch go_on;
    latch found;
    auto const told = std::make_shared<fullness>();
    told->at_full = [&] { found.open(); };
    tidefall::queue<int> items({.partitions = 1, .capacity = 2, .overflow_timeout = forever, .telemetry = told},
                               [&](std::span<int>) {
                                   begun.open();
                                   go_on.wait();
                               });
    items.push(1);
    items.push(2);
    begun.wait();
    items.push(3);
    items.push(4);
    CHECK(told->fulls().empty());
    std::thread::id first;
    std::vector<write_status> answers(2);
    std::thread one([&] {
        first = std::this_thread::get_id();
        answers[0] = items.push(5);
    });
    found.wait();
    std::atomic<long> number{-1};
    std::thread other([&] {
        number = tests::this_thread_number();
        answers[1] = items.push(6);
    });
    until([&] { return number != -1 && tests::is_asleep(number); });
    auto const rooms_before = told->rooms();
    go_on.open();
    one.join();
    other.join();
    CHECK(rooms_before.empty());
    CHECK(answers == std::vector<write_status>(2, write_status::accepted));
    CHECK(items.stop().complete);
    REQUIRE(told->fulls().size() == 1);
    CHECK(told->fulls()[0].thread == first);
    CHECK(told->fulls()[0].size == 2);
    REQUIRE(told->rooms().size() == 1);
    CHECK(told->rooms()[0].refused == 0);
}

TEST_CASE("partition full: a write that waited in vain counts as refused") {
    latch begun;
    latch go_on;
    auto const told = std::make_shared<fullness>();
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow_timeout = 0s, .telemetry = told},
                               [&](std::span<int>) {
                                   begun.open();
                                   go_on.wait();
                               });
    items.push(1);
    begun.wait();
    CHECK(items.push(2) == write_status::accepted);
    CHECK(items.push(3) == write_status::full);
    CHECK(items.push_range(numbers(0, 5)) == 0);
    go_on.open();
    items.stop();
    CHECK(told->fulls().size() == 1);
    CHECK(told->refused() == 2);
}

TEST_CASE("partition full: without threads a write that would wait tells of it, and drains") {
    stage const on;
    tidefall::queue<int> items(on.holding(4, overflow_policy::block), ignore<int>);
    SECTION("one by one") {
        for (int i = 0; i < 10; ++i) CHECK(items.push(i) == write_status::accepted);
    }
    SECTION("in bulk") {
        CHECK(items.push_range(numbers(0, 10)) == 10);
    }
    CHECK(on.told->lines() == lines{"partition_start 0", "partition_full 0 4", "partition_room 0 0",
                                    "processing_start 0 4 capacity", "processing_stop 0 4", "partition_full 0 4",
                                    "partition_room 0 0", "processing_start 0 4 capacity", "processing_stop 0 4"});
}

TEST_CASE("partition full: a writer that a stop wakes was not refused for want of room") {
    latch begun;
    latch go_on;
    latch found;
    auto const told = std::make_shared<fullness>();
    told->at_full = [&] { found.open(); };
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow_timeout = forever, .telemetry = told},
                               [&](std::span<int>) {
                                   begun.open();
                                   go_on.wait();
                               });
    items.push(1);
    begun.wait();
    items.push(2);
    write_status answer{};
    std::thread blocked([&] { answer = items.push(3); });
    found.wait();
    std::thread stops([&] { items.stop(); });
    blocked.join();
    go_on.open();
    stops.join();
    CHECK(answer == write_status::stopped);
    check_order(told->lines(), "partition_full 0 1", "partition_room 0 0", "partition_stop 0 stopped");
}

// ---- drop_oldest

TEST_CASE("partition full: a write that makes room for itself by dropping the oldest tells of it as well") {
    stage const on;
    tidefall::queue<int> items(on.holding(3, overflow_policy::drop_oldest), ignore<int>);
    SECTION("one by one") {
        for (int i = 0; i < 3; ++i) items.push(i);
        CHECK(on.told->fulls().empty());
        CHECK(items.push(3) == write_status::accepted);
        CHECK(on.told->fulls().size() == 1);
        items.push(4);
    }
    SECTION("in bulk") {
        CHECK(items.push_range(numbers(0, 5)) == 5);
    }
    REQUIRE(on.told->fulls().size() == 1);
    CHECK(on.told->fulls()[0].size == 3);
    CHECK(on.told->fulls()[0].thread == std::this_thread::get_id());
    on.clock->advance(0s);
    check_order(on.told->lines(), "partition_full 0 3", "partition_room 0 0", "processing_start 0 3 capacity");
    CHECK(on.told->lines_of_drains() ==
          lines{"items_dropped 0 2 overflow", "processing_start 0 3 capacity", "processing_stop 0 3"});
    check_conservation(items.stats());
}

TEST_CASE("partition full: a write from inside the undelivered of drop_oldest is refused, and told so") {
    stage const on;
    tidefall::queue<int>* self = nullptr;
    tidefall::queue<int> items(on.holding(1, overflow_policy::drop_oldest), ignore<int>,
                               [&](std::span<int>, tidefall::failure const& why) {
                                   if (why.reason == tidefall::failure_reason::overflow)
                                       CHECK(self->push(99) == write_status::full);
                               });
    self = &items;
    items.push(1);
    items.push(2);
    items.push(3);
    on.clock->advance(0s);
    CHECK(on.told->fulls().size() == 1);
    REQUIRE(on.told->rooms().size() == 1);
    CHECK(on.told->rooms()[0].refused == 2);
    CHECK(items.stats().refused == 2);
}

// ---- where the hook is called

TEST_CASE("partition full: no lock is held while it is told, nor while its end is") {
    stage const on;
    auto const policy = GENERATE(overflow_policy::reject, overflow_policy::drop_oldest);
    tidefall::queue<int> items(on.holding(2, policy), ignore<int>);
    auto const accepted_or_full = policy == overflow_policy::reject ? write_status::full : write_status::accepted;
    int events = 0;
    /// Calls what takes every lock that there is, on this thread and on another one.
    auto const call = [&](std::size_t size, write_status expected) {
        ++events;
        CHECK(items.size() == size);
        CHECK(items.stats().pending == size);
        CHECK(items.push(10) == expected);
        CHECK(tests::deadlock_would_occur([&] { items.flush(); }));
        CHECK(tests::deadlock_would_occur([&] { items.stop(); }));
        latch done;
        std::thread other([&] {
            static_cast<void>(items.size());
            static_cast<void>(items.stats());
            items.push(11);
            items.update_options({.processing_batch_size = 5});
            done.open();
        });
        done.wait();
        other.join();
    };
    on.told->at_full = [&] { call(2, accepted_or_full); };
    on.told->at_room = [&] { call(0, write_status::accepted); };
    items.push(1);
    items.push(2);
    CHECK(items.push(3) == accepted_or_full);
    CHECK(events == 1);
    on.clock->advance(0s);
    on.told->at_full = on.told->at_room = {};
    CHECK(events == 2);
    items.stop();
    CHECK(items.stats().hook_failures == 0);
    // What the hook pushed in vain was refused while the partition was full.
    CHECK(on.told->refused() == items.stats().refused);
    check_conservation(items.stats());
}

TEST_CASE("partition full: a write from inside a processor, a hook or undelivered tells of it, and does not wait") {
    stage const on;
    auto const policy = GENERATE(overflow_policy::reject, overflow_policy::block);
    tidefall::queue<int> full(on.holding(1, policy), ignore<int>);
    full.push(1);
    auto const clock = tidefall::make_manual_runtime();
    auto const events = std::make_shared<tests::event_log>();
    auto const where = GENERATE(as<std::string>{}, "processor", "hook", "undelivered");
    auto const write_in = [&](std::string const& place) {
        if (place == where) CHECK(full.push(2) == write_status::full);
    };
    events->then = [&](std::string const& name) {
        if (name == "processing_start") write_in("hook");
    };
    tidefall::queue<int> other(
        {.partitions = 1, .telemetry = events, .runtime = clock},
        [&](std::span<int>) {
            write_in("processor");
            throw std::runtime_error("not today");
        },
        [&](std::span<int>, tidefall::failure const&) { write_in("undelivered"); });
    other.push(1);
    other.flush();
    CHECK(on.told->fulls().size() == 1);
    full.stop();
    CHECK(on.told->refused() == 1);
}

TEST_CASE("partition full: what a hook throws changes nothing, and is counted") {
    stage const on;
    on.told->at_full = on.told->at_room = [] { throw std::runtime_error("hook"); };
    tidefall::queue<std::string> items(on.holding(1, overflow_policy::reject), ignore<std::string>);
    items.push("a");
    std::string second = "b";
    CHECK(items.push(std::move(second)) == write_status::full);
    CHECK(second == "b");
    CHECK(items.stats().hook_failures == 1);
    CHECK(items.push(std::move(second)) == write_status::full);  // it was told, whatever the hook made of it
    CHECK(items.stats().hook_failures == 1);
    on.clock->advance(0s);
    CHECK(items.stats().hook_failures == 2);
    CHECK(items.stats().processed == 1);
    CHECK(items.push(std::move(second)) == write_status::accepted);
}

// ---- updates

TEST_CASE("partition full: room that an update makes does not end it, a swap does") {
    stage const on;
    tidefall::queue<int> items(on.holding(2, overflow_policy::reject), ignore<int>);
    items.push_range(numbers(0, 2));
    CHECK(items.push(2) == write_status::full);
    SECTION("by more capacity, until that is used up as well") {
        items.update_options({.capacity = 4});
        CHECK(items.push(3) == write_status::accepted);
        CHECK(items.push(4) == write_status::accepted);
        CHECK(items.push(5) == write_status::full);
        CHECK(on.told->fulls().size() == 1);
        CHECK(on.told->rooms().empty());
        on.clock->advance(0s);
        check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 2", "processing_start 0 4 capacity");
        CHECK(items.push_range(numbers(0, 5)) == 4);
        CHECK(on.told->fulls().size() == 2);
    }
    SECTION("by no capacity") {
        items.update_options({.capacity = std::optional<std::size_t>{}});
        for (int i = 0; i < 100; ++i) CHECK(items.push(i) == write_status::accepted);
        CHECK(on.told->rooms().empty());
        on.clock->advance(0s);
        check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 1", "processing_start 0 102 capacity");
        items.push_range(numbers(0, 1'000));
        items.flush();
        CHECK(on.told->fulls().size() == 1);
        CHECK(on.told->rooms().size() == 1);
    }
}

TEST_CASE("partition full: one whose new capacity is below what waits is full to the next write") {
    stage const on;
    tidefall::queue<int> items(on.holding(10, overflow_policy::reject), ignore<int>);
    items.push_range(numbers(0, 5));
    items.update_options({.capacity = 3});
    CHECK(on.told->fulls().empty());
    CHECK(items.push(5) == write_status::full);
    REQUIRE(on.told->fulls().size() == 1);
    CHECK(on.told->fulls()[0].size == 5);
    on.clock->advance(0s);
    check_order(on.told->lines(), "partition_full 0 5", "partition_room 0 1", "processing_start 0 5 capacity");
}

// ---- ends

TEST_CASE("partition full: a stop that has no time for what waits tells of the room before the end") {
    stage const on;
    tidefall::queue<int> items(on.holding(2, overflow_policy::reject), ignore<int>);
    items.push_range(numbers(0, 2));
    items.push(2);
    items.push(3);
    items.stop(0s);
    check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 2", "items_dropped 0 2 stopped");
    check_order(on.told->lines(), "partition_full 0 2", "partition_room 0 2", "partition_stop 0 deadline");
    CHECK(items.push(4) == write_status::stopped);  // not told: it is not for want of room
    CHECK(on.told->fulls().size() == 1);
    CHECK(on.told->refused() == 2);
    CHECK(items.stats().refused == 3);
}

TEST_CASE("partition full: one that is full again before its drain has begun tells of both times") {
    stage const on;
    tidefall::queue<int> items(on.holding(2, overflow_policy::reject), ignore<int>);
    for (int i = 0; i < 3; ++i) items.push(i);
    items.flush(0s);  // swaps, and does not wait
    for (int i = 0; i < 4; ++i) items.push(i);
    CHECK(on.told->fulls().size() == 2);
    SECTION("and drains") {
        on.clock->advance(0s);
        CHECK(items.stats().processed == 4);
    }
    SECTION("and stops") {
        items.stop();
        CHECK(items.stats().processed == 4);
        CHECK(on.told->lines().back() == "partition_stop 0 stopped");
    }
    SECTION("and stops without time for either") {
        items.stop(0s);
        CHECK(items.stats().dropped == 4);
        CHECK(on.told->lines().back() == "partition_stop 0 deadline");
    }
    REQUIRE(on.told->rooms().size() == 2);
    CHECK(on.told->rooms()[0].refused == 1);
    CHECK(on.told->rooms()[1].refused == 2);
}

TEST_CASE("partition full: where a call hangs, and no swap comes, a stop at its deadline ends it") {
    latch begun;
    latch go_on;
    auto const told = std::make_shared<fullness>();
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow = overflow_policy::reject, .telemetry = told},
                               [&](std::span<int>) {
                                   begun.open();
                                   go_on.wait();
                               });
    items.push(1);
    begun.wait();
    items.push(2);
    CHECK(items.push(3) == write_status::full);
    items.stop(0s);
    check_order(told->lines(), "partition_full 0 1", "partition_room 0 1", "partition_stop 0 deadline");
    go_on.open();
}

TEST_CASE("partition full: a buffer that is destroyed while it is full tells of the room before its end") {
    stage const on;
    {
        tidefall::queue<int> items(on.holding(1, overflow_policy::reject), ignore<int>);
        items.push(1);
        items.push(2);
    }
    check_order(on.told->lines(), "partition_full 0 1", "partition_room 0 1", "partition_stop 0 stopped");
}

// ---- many writers

TEST_CASE("partition full: of many writers that find no room at once, one tells") {
    constexpr int threads = 4;
    latch begun;
    latch go_on;
    latch start;
    auto const told = std::make_shared<fullness>();
    tidefall::queue<int, tidefall::producer_order> items(
        {.partitions = 1, .capacity = 100, .overflow = overflow_policy::reject, .telemetry = told},
        [&](std::span<int>) {
            begun.open();
            go_on.wait();
        });
    for (int i = 0; i < 100; ++i) items.push(i);
    begun.wait();
    std::vector<std::thread> writers;
    for (int thread = 0; thread < threads; ++thread) {
        writers.emplace_back([&] {
            start.wait();
            for (int i = 0; i < 1'000; ++i) items.push(i);
        });
    }
    start.open();
    for (auto& one : writers) one.join();
    REQUIRE(told->fulls().size() == 1);
    CHECK(told->fulls()[0].size >= 100);
    CHECK(told->fulls()[0].size < 100 + threads);
    go_on.open();
    items.stop();
    REQUIRE(told->rooms().size() == 1);
    CHECK(told->rooms()[0].refused == items.stats().refused);
}

BUFFER_TEST_CASE("partition full: each time has its end, and each value refused is told of once", EVERY_BUFFER) {
    auto const told = std::make_shared<fullness>();
    any_buffer items(kind, {.partitions = 2, .capacity = 10, .overflow = overflow_policy::reject, .telemetry = told},
                     ignore<int>);
    std::atomic<int> next{0};
    std::vector<std::thread> writers;
    for (int thread = 0; thread < 4; ++thread) {
        writers.emplace_back([&] {
            for (int i = 0; i < 5'000; ++i) items.write(next++);
        });
    }
    for (auto& one : writers) one.join();
    items.stop();
    CHECK(told->fulls().size() == told->rooms().size());
    CHECK(told->refused() == items.stats().refused);
    for (auto const& one : told->rooms()) CHECK(one.duration >= 0s);
    check_conservation(items.stats());
}
