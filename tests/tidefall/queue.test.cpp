// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <array>
#include <forward_list>
#include <limits>
#include <list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::numbers;
using tests::one_partition;
using tests::recorder;
using tidefall::write_status;

namespace {

struct event {
    int id;
    std::string what;
};

/// The words of a stream, to be read once.
struct words {
    std::istream& in;
    [[nodiscard]] auto begin() const { return std::istream_iterator<std::string>(in); }
    [[nodiscard]] static auto end() { return std::istream_iterator<std::string>(); }
};

}  // namespace

TEST_CASE("queue: every write form accepts, and the items arrive in insertion order") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> seen;
    tidefall::queue<event> events(one_partition(clock), [&](std::span<event> batch) {
        for (auto const& one : batch) seen.push_back(std::to_string(one.id) + one.what);
    });
    event const constant{3, "c"};
    event variable{4, "d"};
    CHECK(events.push(event{1, "a"}) == write_status::accepted);
    CHECK(events.push({2, "b"}) == write_status::accepted);
    CHECK(events.push(constant) == write_status::accepted);
    CHECK(events.push(variable) == write_status::accepted);
    CHECK(variable.what == "d");
    CHECK(events.push(std::move(variable)) == write_status::accepted);
    CHECK(events.emplace(5, "e") == write_status::accepted);
    CHECK(events.emplace(tidefall::partition_key{std::string("user")}, 6, "f") == write_status::accepted);
    std::vector<event> const more{{7, "g"}, {8, "h"}};
    CHECK(events.push_range(more) == 2);
    CHECK(events.push({9, "i"}, tidefall::partition_key{9}) == write_status::accepted);
    CHECK(events.push_range(more, tidefall::partition_by{&event::id}) == 2);
    CHECK(events.push_range(more, tidefall::partition_key{"text"}) == 2);
    CHECK(events.size() == 14);
    clock->advance(5s);
    CHECK(events.size() == 0);
    CHECK(seen ==
          std::vector<std::string>{"1a", "2b", "3c", "4d", "4d", "5e", "6f", "7g", "8h", "9i", "7g", "8h", "7g", "8h"});
}

TEST_CASE("queue: order holds across ticks, through a flush and through the final drain") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    int next = 0;
    {
        tidefall::queue<int> items(one_partition(clock, 3), seen);
        for (int tick = 0; tick < 20; ++tick) {
            for (int i = 0; i < tick; ++i) items.push(next++);
            if (tick % 3 == 0)
                items.flush();
            else
                clock->advance(5s);
        }
        for (int i = 0; i < 10; ++i) items.push(next++);
    }
    CHECK(seen.values() == numbers(0, next));
}

TEST_CASE("queue: an item whose push returned before another's began comes first, over producers") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items(one_partition(clock), seen);
    for (int i = 0; i < 40; ++i) std::thread([&] { items.push(i); }).join();
    items.flush();
    CHECK(seen.values() == numbers(0, 40));
}

TEST_CASE("queue: threads are spread evenly over the partitions and each stays with its own") {
    auto const partitions = GENERATE(std::size_t{1}, 2, 3, 7, 8, 100);
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = partitions, .runtime = clock}, [](std::span<int>) {});
    for (std::size_t i = 0; i < 2 * partitions; ++i) {
        std::thread([&] {
            items.push(1);
            items.push(2);
            items.push(3);
        }).join();
    }
    for (std::size_t i = 0; i < partitions; ++i) CHECK(items.partition(i).size() == 6);
}

TEST_CASE("queue: a partition key routes by its hash, and a character array or pointer as a string") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<event> items({.partitions = 64, .runtime = clock}, [](std::span<event>) {});
    auto const where = [&](auto const& write) {
        write();
        std::size_t found = 64;
        for (std::size_t i = 0; i < 64; ++i) {
            if (items.partition(i).size() > 0) found = i;
        }
        items.flush();
        return found;
    };
    char const array[8] = "user-1";
    char const* const pointer = array;
    auto const expected = where([&] { items.push({1, ""}, tidefall::partition_key{std::string("user-1")}); });
    CHECK(expected == where([&] { items.push({1, ""}, tidefall::partition_key{"user-1"}); }));
    CHECK(expected == where([&] { items.push({1, ""}, tidefall::partition_key{array}); }));
    CHECK(expected == where([&] { items.push({1, ""}, tidefall::partition_key{pointer}); }));
    CHECK(expected == where([&] { items.push({1, ""}, tidefall::partition_key{std::string_view("user-1")}); }));
    CHECK(expected == where([&] { items.emplace(tidefall::partition_key{"user-1"}, 1, ""); }));
    std::vector<event> const by_name{{1, "user-1"}};
    CHECK(expected == where([&] { items.push_range(by_name, tidefall::partition_by{&event::what}); }));
    CHECK(expected == where([&] {
              items.push_range(by_name, tidefall::partition_by{[](event const& e) { return e.what.c_str(); }});
          }));
    CHECK(expected == where([&] { items.push_range(by_name, tidefall::partition_key{"user-1"}); }));

    // Consecutive integers, whose std::hash is themselves, spread too.
    std::vector<event> ids;
    for (int i = 0; i < 6400; ++i) ids.push_back({i, ""});
    items.push_range(ids, tidefall::partition_by{&event::id});
    for (std::size_t i = 0; i < 64; ++i) {
        CHECK(items.partition(i).size() > 50);
        CHECK(items.partition(i).size() < 200);
    }
}

TEST_CASE("queue: a bit-field can be a key") {
    struct flags {
        unsigned kind : 3;
        unsigned rest : 5;
    };
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 4, .runtime = clock}, [](std::span<int>) {});
    flags const f{5, 1};
    CHECK(items.push(1, tidefall::partition_key{f.kind}) == write_status::accepted);
}

TEST_CASE("queue: push_range takes any input range and returns how many were accepted") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<std::string> const seen;
    tidefall::queue<std::string> items(one_partition(clock, 100), seen);

    SECTION("containers of other types") {
        std::list<char const*> const texts{"a", "b", "c"};
        CHECK(items.push_range(texts) == 3);
    }
    SECTION("single pass") {
        std::istringstream stream("a b c");
        CHECK(items.push_range(words{stream}) == 3);
    }
    SECTION("not sized") {
        std::forward_list<std::string> const list{"a", "b", "c"};
        CHECK(items.push_range(list) == 3);
    }
    SECTION("an array") {
        std::string const array[] = {"a", "b", "c"};
        CHECK(items.push_range(array) == 3);
    }
    SECTION("a view does not own: it is copied from") {
        std::vector<std::string> source{"a", "b", "c"};
        CHECK(items.push_range(std::span(source)) == 3);
        CHECK(source == std::vector<std::string>{"a", "b", "c"});
    }
    SECTION("an rvalue container is moved from") {
        std::string const text(100, 'a');
        std::vector<std::string> source{text};
        char const* const storage = source[0].data();
        char const* delivered = nullptr;
        tidefall::queue<std::string> moved(one_partition(clock),
                                           [&](std::span<std::string> batch) { delivered = batch[0].data(); });
        CHECK(moved.push_range(std::move(source)) == 1);
        moved.flush();
        CHECK(delivered == storage);
        items.push_range(std::list<std::string>{"a", "b", "c"});
    }
    items.flush();
    CHECK(seen.values() == std::vector<std::string>{"a", "b", "c"});
    CHECK(items.push_range(std::vector<std::string>()) == 0);
    CHECK(items.size() == 0);
}

TEST_CASE("queue: an lvalue range is copied from, a long one in order") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<std::string> const seen;
    tidefall::queue<std::string> items(one_partition(clock, 512), seen);
    std::vector<std::string> source;
    for (int i = 0; i < 5000; ++i) source.push_back("item number " + std::to_string(i));
    auto const before = source;
    CHECK(items.push_range(source) == 5000);
    CHECK(source == before);
    items.flush();
    CHECK(seen.values() == before);
}

TEST_CASE("queue: after stop a write answers stopped and leaves its argument") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<std::string> const seen;
    tidefall::queue<std::string> items(one_partition(clock), seen);
    items.push("first");
    items.stop();
    std::string item(100, 'x');
    CHECK(items.push(std::move(item)) == write_status::stopped);
    CHECK(item == std::string(100, 'x'));
    std::vector<std::string> range{item, item};
    CHECK(items.push_range(std::move(range)) == 0);
    CHECK(range == std::vector<std::string>{item, item});
    std::list<std::string> list{item};
    CHECK(items.push_range(std::move(list)) == 0);
    CHECK(list.front() == item);
    CHECK(items.emplace("y") == write_status::stopped);
    CHECK(items.size() == 0);
    auto const stats = items.stats();
    CHECK(stats.accepted == 1);
    CHECK(stats.refused == 4);
    CHECK(seen.values() == std::vector<std::string>{"first"});
}

TEST_CASE("queue: a value is moved at most twice before the processor sees it") {
    struct counted {
        counted() = default;
        counted(counted const& other) : copies(other.copies + 1), moves(other.moves) {}
        counted(counted&& other) noexcept : copies(other.copies), moves(other.moves + 1) {}
        int copies = 0;
        int moves = 0;
    };
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{1}, 10, 100, std::numeric_limits<std::size_t>::max());
    int most_moves = 0;
    int most_copies = 0;
    tidefall::queue<counted> items(one_partition(clock, batch), [&](std::span<counted> b) {
        for (auto const& one : b) {
            most_moves = std::max(most_moves, one.moves);
            most_copies = std::max(most_copies, one.copies);
        }
    });
    SECTION("moved in") {
        for (int i = 0; i < 1000; ++i) items.push(counted());
        for (int i = 0; i < 1000; ++i) items.emplace();
        items.push_range(std::vector<counted>(1000));
        items.flush();
        CHECK(most_copies == 0);
        CHECK(most_moves <= 2);
    }
    SECTION("copied in: one copy") {
        counted const source;
        std::vector<counted> const range(100);
        for (int i = 0; i < 1000; ++i) items.push(source);
        items.push_range(range);
        items.flush();
        CHECK(most_copies == 1);
        CHECK(most_moves <= 2);
    }
}

// ---- table mode

TEST_CASE("queue: table mode hands over the whole table, which outlives the queue") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<tidefall::queue_table<std::string>> kept;
    {
        tidefall::queue<std::string> items(one_partition(clock, 2), [&](tidefall::queue_table<std::string> whole) {
            kept.push_back(std::move(whole));
        });
        for (int i = 0; i < 1000; ++i) items.push(std::to_string(i));
        clock->advance(5s);
        items.push("late");
        CHECK(items.stats().processed == 1000);
    }
    REQUIRE(kept.size() == 2);
    CHECK(kept[0].size() == 1000);
    CHECK_FALSE(kept[0].empty());
    int next = 0;
    for (auto& text : kept[0]) CHECK(text == std::to_string(next++));
    auto const& constant = kept[1];
    CHECK(std::vector<std::string>(constant.begin(), constant.end()) == std::vector<std::string>{"late"});
    CHECK(tidefall::queue_table<int>().begin() == tidefall::queue_table<int>().end());
}

// ---- writers and the processor

TEST_CASE("queue: a processor may push and emplace into its own queue") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<write_status> answers;
    tidefall::queue<int> items(one_partition(clock), [&](std::span<int> batch) {
        answers.push_back(items.push(batch[0]));
        answers.push_back(items.emplace(batch[0]));
    });
    items.push(0);
    clock->advance(5s);
    CHECK(items.size() == 2);
    items.stop();
    CHECK(answers == std::vector<write_status>{write_status::accepted, write_status::accepted, write_status::stopped,
                                               write_status::stopped});
}

TEST_CASE("queue: a million pushes complete while the processor is held") {
    tests::latch entered;
    tests::latch release;
    std::size_t processed = 0;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 512},
                               [&](std::span<int> batch) {
                                   entered.open();
                                   release.wait();
                                   processed += batch.size();
                               });
    items.push(0);
    entered.wait();
    for (int i = 1; i < 1'000'000; ++i) items.push(i);
    CHECK(items.size() == 999'999);
    CHECK(items.stats().in_flight == 1);
    release.open();
    CHECK(items.stop().complete);
    CHECK(processed == 1'000'000);
}

TEST_CASE("queue: partition_of says where a partition key leads") {
    tidefall::queue<int> items({.partitions = 5, .runtime = tidefall::make_manual_runtime()}, [](std::span<int>) {});
    tidefall::queue<int, tidefall::producer_order> ordered(
        {.partitions = 5, .runtime = tidefall::make_manual_runtime()}, [](std::span<int>) {});
    for (int key = 0; key < 100; ++key) {
        auto const its = items.partition_of(key);
        auto const before = items.partition(its).size();
        items.push(key, tidefall::partition_key{key});
        CHECK(items.partition(its).size() == before + 1);
        auto const too = ordered.partition_of(key);
        auto const size = ordered.partition(too).size();
        ordered.push(key, tidefall::partition_key{key});
        CHECK(ordered.partition(too).size() == size + 1);
    }
}

TEST_CASE("queue: where a value cannot be moved into a batch, no call is made with what is left of it") {
    struct heavy {
        int number = 0;
        bool* breaks = nullptr;
        std::array<char, 200> padding{};  // a few of them fill a segment, so that a batch is gathered

        heavy(int its, bool& flag) : number(its), breaks(&flag) {}
        heavy(heavy&& other) : number(other.number), breaks(other.breaks) {
            if (*breaks) throw std::runtime_error("no move");
        }
        heavy& operator=(heavy&&) = delete;
    };
    bool breaks = false;
    std::size_t calls = 0;
    std::size_t back = 0;
    {
        tidefall::queue<heavy> items(
            {.partitions = 1, .processing_batch_size = 100, .runtime = tidefall::make_manual_runtime()},
            [&](std::span<heavy>) { ++calls; },
            [&](std::span<heavy> values, tidefall::failure const&) { back += values.size(); });
        for (int i = 0; i < 30; ++i) items.push(heavy(i, breaks));
        breaks = true;
        CHECK(items.flush() == tidefall::drain_report{.failed = 30});
    }
    CHECK(calls == 0);
    CHECK(back == 30);
}
