// SPDX-License-Identifier: MIT
//
// What a write to a full partition does.
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::check_conservation;
using tests::event_log;
using tests::latch;
using tests::recorder;
using tests::returns;
using tests::until;
using tidefall::failure_reason;
using tidefall::overflow_policy;
using tidefall::write_status;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();

/// A thread that makes one write, which blocks, and what that answered.
class writer {
public:
    explicit writer(std::function<write_status()> write)
        : thread_([this, write = std::move(write)] {
              number_ = tests::this_thread_number();
              begun_ = true;
              result_ = write();
          }) {
        until([&] { return begun_.load(); });
        until([&] { return tests::is_asleep(number_); });
    }
    ~writer() {
        if (thread_.joinable()) thread_.join();
    }
    writer(writer const&) = delete;
    writer& operator=(writer const&) = delete;

    write_status result() {
        thread_.join();
        return *result_;
    }

private:
    std::atomic<bool> begun_{false};
    long number_ = 0;
    std::optional<write_status> result_;
    std::thread thread_;
};

}  // namespace

// ---- reject

TEST_CASE("capacity: reject answers full, leaves the argument, and a drain has been started") {
    auto const clock = tidefall::make_manual_runtime();
    auto const events = std::make_shared<event_log>();
    recorder<std::string> seen;
    tidefall::queue<std::string> items({.partitions = 1,
                                        .processing_interval = forever,
                                        .capacity = 2,
                                        .overflow = overflow_policy::reject,
                                        .telemetry = events,
                                        .runtime = clock},
                                       seen);
    CHECK(items.push("a") == write_status::accepted);
    CHECK(items.push("b") == write_status::accepted);
    std::string third = "c";
    CHECK(items.push(std::move(third)) == write_status::full);
    CHECK(third == "c");
    CHECK(items.emplace("d") == write_status::full);
    CHECK(items.size() == 2);
    CHECK(items.stats().refused == 2);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<std::string>{"a", "b"});
    CHECK(events->lines_of_drains().at(0) == "processing_start 0 2 capacity");
    CHECK(items.push(std::move(third)) == write_status::accepted);
    check_conservation(items.stats());
}

TEST_CASE("capacity: a bulk write goes up to the first value that is full and leaves the rest") {
    auto const clock = tidefall::make_manual_runtime();
    auto const capacity = GENERATE(std::size_t{1}, 255, 256, 257, 600);
    recorder<std::string> seen;
    tidefall::queue<std::string> items(
        {.partitions = 1, .capacity = capacity, .overflow = overflow_policy::reject, .runtime = clock}, seen);
    std::vector<std::string> range(1000, "x");
    SECTION("side by side") {
        CHECK(items.push_range(std::move(range)) == capacity);
    }
    SECTION("one by one") {
        CHECK(items.push_range(std::move(range), tidefall::partition_by{[](auto const&) { return 1; }}) == capacity);
    }
    CHECK(items.stats().refused == 1);
    CHECK(std::count(range.begin(), range.end(), "x") == static_cast<std::ptrdiff_t>(1000 - capacity));
    CHECK(range[capacity] == "x");
    CHECK(items.size() == capacity);
    clock->advance(0s);
    CHECK(seen.values().size() == capacity);
}

TEST_CASE("capacity: it is counted over the stripes of a partition") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<int, int> map(
        {.partitions = 1, .capacity = 100, .overflow = overflow_policy::reject, .runtime = clock},
        [](std::span<tidefall::entry<int, int>>) {});
    int accepted = 0;
    for (int key = 0; key < 1000; ++key) accepted += map.put(key, key) == write_status::accepted ? 1 : 0;
    CHECK(accepted == 100);
    CHECK(map.size() == 100);
    clock->advance(0s);
    CHECK(map.size() == 0);
    accepted = 0;
    for (int key = 0; key < 1000; ++key) accepted += map.put(key, key) == write_status::accepted ? 1 : 0;
    CHECK(accepted == 100);
    check_conservation(map.stats());
}

TEST_CASE("capacity: a write that only changes what a map holds is never refused") {
    auto const clock = tidefall::make_manual_runtime();
    auto const policy = GENERATE(overflow_policy::reject, overflow_policy::block);
    tidefall::hash_map<int, int> map({.partitions = 1,
                                      .processing_interval = forever,
                                      .capacity = 2,
                                      .overflow = policy,
                                      .overflow_timeout = 0s,
                                      .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    map.put_newer(1, 10, 5);
    map.put(2, 20);
    CHECK(map.put(2, 21) == write_status::accepted);
    CHECK(map.update(2, [](int& value) { ++value; }) == write_status::accepted);
    CHECK(map.put_newer(1, 11, 6) == write_status::accepted);
    CHECK(map.put_newer(1, 12, 6) == write_status::stale);
    CHECK(map.get(2) == 22);
    if (policy == overflow_policy::reject) {
        CHECK(map.put(3, 30) == write_status::full);
        CHECK(map.update(3, [](int&) {}) == write_status::full);
        CHECK(map.put_newer(3, 30) == write_status::full);
        CHECK(map.put_all(std::vector<std::pair<int, int>>{{1, 1}, {3, 3}, {2, 2}}) == 1);
        CHECK(map.get(2) == 22);
        CHECK(map.erase(1));
        CHECK(map.put(3, 30) == write_status::accepted);
        CHECK(map.put(1, 10) == write_status::full);
    }
    check_conservation(map.stats());
}

// ---- block

TEST_CASE("capacity: a blocked writer is woken by the swap") {
    latch begun;
    latch go_on;
    std::atomic<int> processed{0};
    tidefall::queue<int> items({.partitions = 1, .capacity = 2, .overflow_timeout = forever},
                               [&](std::span<int> batch) {
                                   begun.open();
                                   go_on.wait();
                                   processed += static_cast<int>(batch.size());
                               });
    items.push(1);
    items.push(2);  // fills it: the drain begins at once
    begun.wait();
    items.push(3);
    items.push(4);  // two capacities are in memory
    writer blocked([&] { return items.push(5); });
    CHECK(items.size() == 2);
    go_on.open();
    CHECK(blocked.result() == write_status::accepted);
    CHECK(items.stop().complete);
    CHECK(processed == 5);
    CHECK(items.stats().refused == 0);
}

TEST_CASE("capacity: a blocked writer is woken by a stop, and its argument is untouched") {
    latch begun;
    latch go_on;
    tidefall::queue<std::string> items({.partitions = 1, .capacity = 1, .overflow_timeout = forever},
                                       [&](std::span<std::string>) {
                                           begun.open();
                                           go_on.wait();
                                       });
    items.push("a");
    begun.wait();
    items.push("b");
    std::string third(100, 'c');
    writer blocked([&] { return items.push(std::move(third)); });
    std::thread stops([&] { items.stop(); });
    CHECK(blocked.result() == write_status::stopped);
    CHECK(third == std::string(100, 'c'));
    go_on.open();
    stops.join();
    CHECK(items.stats().refused == 1);
    check_conservation(items.stats());
}

TEST_CASE("capacity: a blocked writer is woken by an update of the options") {
    latch begun;
    latch go_on;
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow_timeout = forever}, [&](std::span<int>) {
        begun.open();
        go_on.wait();
    });
    items.push(1);
    begun.wait();
    items.push(2);
    writer blocked([&] { return items.push(3); });
    SECTION("by more room") {
        items.update_options({.capacity = 2});
        CHECK(blocked.result() == write_status::accepted);
    }
    SECTION("by no capacity") {
        items.update_options({.capacity = std::optional<std::size_t>{}});
        CHECK(blocked.result() == write_status::accepted);
    }
    SECTION("by less time, counted from the start of the write") {
        items.update_options({.overflow_timeout = 0s});
        CHECK(blocked.result() == write_status::full);
        CHECK(items.stats().refused == 1);
    }
    go_on.open();
}

TEST_CASE("capacity: a writer blocked by a map is woken by an erase") {
    latch begun;
    latch go_on;
    tidefall::hash_map<int, int> map({.partitions = 1, .capacity = 1, .overflow_timeout = forever},
                                     [&](std::span<tidefall::entry<int, int>>) {
                                         begun.open();
                                         go_on.wait();
                                     });
    map.put(1, 1);
    begun.wait();
    map.put(2, 2);
    writer blocked([&] { return map.put(3, 3); });
    CHECK(map.erase(2));
    CHECK(blocked.result() == write_status::accepted);
    CHECK(map.get(3) == 3);
    go_on.open();
}

TEST_CASE("capacity: with no time to wait, block answers full at once") {
    latch begun;
    latch go_on;
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow_timeout = 0s}, [&](std::span<int>) {
        begun.open();
        go_on.wait();
    });
    items.push(1);
    begun.wait();
    CHECK(items.push(2) == write_status::accepted);
    CHECK(items.push(3) == write_status::full);
    CHECK(items.push_range(std::vector<int>{4, 5}) == 0);
    CHECK(items.stats().refused == 2);
    go_on.open();
}

TEST_CASE("capacity: without threads a blocking write drains, or answers full where its partition is processing") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> processed;
    std::vector<write_status> inside;
    tidefall::queue<int>* self = nullptr;
    tidefall::queue<int> items({.partitions = 1, .capacity = 2, .runtime = clock}, [&](std::span<int> batch) {
        processed.insert(processed.end(), batch.begin(), batch.end());
        if (inside.empty()) {
            for (int i = 0; i < 3; ++i) inside.push_back(self->push(100 + i));
        }
    });
    self = &items;
    items.push(1);
    items.push(2);
    CHECK(processed.empty());
    CHECK(items.push(3) == write_status::accepted);
    CHECK(std::vector<int>(processed.begin(), processed.begin() + 2) == std::vector<int>{1, 2});
    CHECK(inside == std::vector<write_status>{write_status::accepted, write_status::accepted, write_status::full});
    clock->advance(5s);
    CHECK(processed == std::vector<int>{1, 2, 100, 101, 3});
    check_conservation(items.stats());
}

TEST_CASE("capacity: no write from inside a processor, hook or undelivered blocks, to whatever buffer") {
    latch begun;
    latch go_on;
    tidefall::queue<int> full({.partitions = 1, .capacity = 1, .overflow_timeout = forever}, [&](std::span<int>) {
        begun.open();
        go_on.wait();
    });
    full.push(1);
    begun.wait();
    full.push(2);

    auto const clock = tidefall::make_manual_runtime();
    std::vector<write_status> inside;
    auto const events = std::make_shared<event_log>();
    events->then = [&](std::string const& name) {
        if (name == "processing_start") inside.push_back(full.push(3));
    };
    tidefall::queue<int> other(
        {.partitions = 1, .telemetry = events, .runtime = clock},
        [&](std::span<int>) {
            inside.push_back(full.push(4));
            throw std::runtime_error("not today");
        },
        [&](std::span<int>, tidefall::failure const&) { inside.push_back(full.push(5)); });
    other.push(1);
    clock->advance(5s);
    CHECK(inside == std::vector<write_status>(3, write_status::full));
    go_on.open();
}

TEST_CASE("capacity: writers of several stripes go over it by one value each at most") {
    constexpr int threads = 4;
    latch begun;
    latch go_on;
    std::atomic<std::size_t> processed{0};
    tidefall::queue<int, tidefall::producer_order> items(
        {.partitions = 1, .capacity = 100, .overflow = overflow_policy::reject}, [&](std::span<int> batch) {
            begun.open();
            go_on.wait();
            processed += batch.size();
        });
    for (int i = 0; i < 100; ++i) items.push(i);
    begun.wait();
    std::vector<std::thread> writers;
    for (int thread = 0; thread < threads; ++thread) {
        writers.emplace_back([&] {
            while (items.push(1) == write_status::accepted) {
            }
        });
    }
    for (auto& one : writers) one.join();
    CHECK(items.size() >= 100);
    CHECK(items.size() < 100 + threads);
    go_on.open();
    items.stop();
    CHECK(processed == items.stats().accepted);
}

TEST_CASE("capacity: nothing is lost while writers block all the time") {
    std::atomic<std::uint64_t> sum{0};
    tidefall::queue<int> items({.partitions = 2, .processing_batch_size = 100, .capacity = 50},
                               [&](std::span<int> batch) {
                                   for (int const one : batch) sum += static_cast<std::uint64_t>(one);
                               });
    std::vector<std::thread> writers;
    for (int thread = 0; thread < 4; ++thread) {
        writers.emplace_back([&] {
            for (int i = 1; i <= 5000; ++i) items.push(i);
        });
    }
    for (auto& one : writers) one.join();
    CHECK(items.stop().complete);
    CHECK(sum == 4U * 5000U * 5001U / 2);
    CHECK(items.stats().refused == 0);
}

// ---- drop_oldest

TEST_CASE("capacity: drop_oldest takes the new item and hands the oldest to undelivered, on the writer's thread") {
    auto const clock = tidefall::make_manual_runtime();
    auto const events = std::make_shared<event_log>();
    recorder<std::string> seen;
    returns<std::string> lost;
    std::thread::id where;
    tidefall::queue<std::string> items({.partitions = 1,
                                        .processing_interval = 1s,
                                        .capacity = 3,
                                        .overflow = overflow_policy::drop_oldest,
                                        .telemetry = events,
                                        .runtime = clock},
                                       seen, [&](std::span<std::string> values, tidefall::failure const& why) {
                                           where = std::this_thread::get_id();
                                           lost(values, why);
                                       });
    for (auto const* item : {"a", "b", "c", "d", "e"}) CHECK(items.push(item) == write_status::accepted);
    CHECK(where == std::this_thread::get_id());
    CHECK(lost.values() == std::vector<std::string>{"a", "b"});
    CHECK(lost.all().at(0).reason == failure_reason::overflow);
    CHECK(lost.all().at(0).error == nullptr);
    CHECK(items.size() == 3);
    auto const stats = items.stats();
    CHECK(stats.accepted == 5);
    CHECK(stats.dropped == 2);
    CHECK(stats.coalesced == 0);
    CHECK(stats.refused == 0);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<std::string>{"c", "d", "e"});
    // Summed at the next drain.
    CHECK(events->lines_of_drains() == std::vector<std::string>{"items_dropped 0 2 overflow",
                                                                "processing_start 0 3 capacity",
                                                                "processing_stop 0 3"});
    events->clear();
    items.push("f");
    clock->advance(1s);
    CHECK(events->lines() == std::vector<std::string>{"processing_start 0 1 interval", "processing_stop 0 1"});
    check_conservation(items.stats());
}

TEST_CASE("capacity: drop_oldest over many segments keeps the newest in order, in bulk too") {
    auto const clock = tidefall::make_manual_runtime();
    auto const capacity = GENERATE(std::size_t{1}, 2, 100, 5000);
    recorder<int> seen;
    returns<int> lost;
    tidefall::queue<int> items({.partitions = 1,
                                .processing_batch_size = 1000,
                                .capacity = capacity,
                                .overflow = overflow_policy::drop_oldest,
                                .runtime = clock},
                               seen, lost);
    std::vector<int> expected;
    for (int round = 0; round < 20; ++round) {
        std::vector<int> range(20'000);
        for (std::size_t i = 0; i < range.size(); ++i) range[i] = round * 100'000 + static_cast<int>(i);
        CHECK(items.push_range(range) == range.size());
        expected.insert(expected.end(), range.end() - static_cast<std::ptrdiff_t>(capacity), range.end());
        clock->advance(0s);
    }
    CHECK(seen.values() == expected);
    CHECK(lost.values().size() == 400'000 - expected.size());
    auto const all_lost = lost.values();
    CHECK(std::is_sorted(all_lost.begin(), all_lost.end()));
    check_conservation(items.stats());
}

TEST_CASE("capacity: a write from inside the undelivered of drop_oldest drops nothing, from a processor it does") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<write_status> from_undelivered;
    std::vector<write_status> from_processor;
    std::vector<int> lost;
    tidefall::queue<int>* self = nullptr;
    tidefall::queue<int> items(
        {.partitions = 1, .capacity = 1, .overflow = overflow_policy::drop_oldest, .runtime = clock},
        [&](std::span<int>) {
            if (from_processor.empty()) {
                from_processor.push_back(self->push(10));
                from_processor.push_back(self->push(11));
            }
        },
        [&](std::span<int> values, tidefall::failure const&) {
            lost.push_back(values[0]);
            from_undelivered.push_back(self->push(99));
        });
    self = &items;
    items.push(1);
    items.push(2);
    CHECK(lost == std::vector<int>{1});
    CHECK(from_undelivered == std::vector<write_status>{write_status::full});
    clock->advance(0s);
    CHECK(from_processor == std::vector<write_status>(2, write_status::accepted));
    CHECK(lost == std::vector<int>{1, 10});
    check_conservation(items.stats());
}

// ---- updates

TEST_CASE("capacity: one that is set below what waits starts a drain at once, and one taken away refuses nothing") {
    auto const clock = tidefall::make_manual_runtime();
    auto const events = std::make_shared<event_log>();
    recorder<int> seen;
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = forever,
                                .overflow = overflow_policy::reject,
                                .telemetry = events,
                                .runtime = clock},
                               seen);
    for (int i = 0; i < 5; ++i) items.push(i);
    items.update_options({.capacity = 5});
    CHECK(items.push(5) == write_status::full);
    clock->advance(0s);
    CHECK(seen.values().size() == 5);
    CHECK(events->lines_of_drains().at(0) == "processing_start 0 5 capacity");
    items.update_options({.capacity = std::optional<std::size_t>{}});
    for (int i = 0; i < 100; ++i) CHECK(items.push(i) == write_status::accepted);
}

TEST_CASE("capacity: beside a lower threshold the threshold starts the drains") {
    auto const clock = tidefall::make_manual_runtime();
    auto const events = std::make_shared<event_log>();
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = forever,
                                .drain_threshold = 2,
                                .capacity = 4,
                                .overflow = overflow_policy::reject,
                                .telemetry = events,
                                .runtime = clock},
                               [](std::span<int>) {});
    for (int i = 0; i < 4; ++i) CHECK(items.push(i) == write_status::accepted);
    CHECK(items.push(4) == write_status::full);
    clock->advance(0s);
    CHECK(events->lines_of_drains().at(0) == "processing_start 0 4 threshold");
}

TEST_CASE("capacity: an update of the one limit leaves the other") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = forever,
                                .drain_threshold = 3,
                                .capacity = 4,
                                .overflow = overflow_policy::reject,
                                .runtime = clock},
                               seen);
    SECTION("of the threshold") {
        items.update_options({.drain_threshold = std::optional<std::size_t>{}});
        for (int i = 0; i < 4; ++i) CHECK(items.push(i) == write_status::accepted);
        CHECK(items.push(4) == write_status::full);
    }
    SECTION("of the capacity") {
        items.update_options({.capacity = 100});
        for (int i = 0; i < 2; ++i) items.push(i);
        clock->advance(0s);
        CHECK(seen.batches().empty());
        items.push(2);
        clock->advance(0s);
        CHECK(seen.sizes() == std::vector<std::size_t>{3});
    }
}

TEST_CASE("capacity: a threshold that is set to just what waits starts a drain, one above does not") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = forever, .runtime = clock}, seen);
    for (int i = 0; i < 3; ++i) items.push(i);
    items.update_options({.drain_threshold = 4});
    clock->advance(0s);
    CHECK(seen.values().empty());
    items.update_options({.drain_threshold = 3});
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{0, 1, 2});
}

TEST_CASE("capacity: after a stop a full partition answers stopped") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 1, .capacity = 1, .overflow = overflow_policy::reject, .runtime = clock},
                               [](std::span<int>) {});
    items.push(1);
    CHECK(items.push(1) == write_status::full);
    items.stop();
    CHECK(items.push(1) == write_status::stopped);
    items.update_options({.capacity = 10});
    CHECK(items.push(1) == write_status::stopped);
}

TEST_CASE("capacity: drop_oldest only with a capacity and on a queue in insertion order") {
    auto const refused = [](auto construct) {
        try {
            construct();
        } catch (tidefall::invalid_options const& error) {
            return std::string(error.what()).find("option overflow is drop_oldest, but must be") != std::string::npos;
        }
        return false;
    };
    tidefall::options const how{.capacity = 1, .overflow = overflow_policy::drop_oldest};
    auto const ignore = [](auto) {};
    CHECK(refused([&] { tidefall::queue<int>({.overflow = overflow_policy::drop_oldest}, ignore); }));
    CHECK(refused([&] { tidefall::queue<int, tidefall::producer_order>(how, ignore); }));
    CHECK(refused([&] { tidefall::queue<int, tidefall::sorted_by<std::identity{}>>(how, ignore); }));
    CHECK(refused([&] { tidefall::hash_map<int, int>(how, ignore); }));
    CHECK_FALSE(refused([&] { tidefall::queue<int>(how, ignore); }));
}
