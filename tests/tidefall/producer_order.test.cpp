// SPDX-License-Identifier: MIT
//
// queue<T, producer_order>, and the tables that table mode splices.
#include "../support/catch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::recorder;
using tidefall::partition_by;
using tidefall::partition_key;
using tidefall::producer_order;
using tidefall::write_status;

namespace {

struct item {
    int producer;
    int number;
    int key;
};

/// Counts items of a producer that came out of a partition behind a later one.
class order_check {
public:
    void operator()(std::size_t partition, item const& one) {
        auto const [at, first] = last_.try_emplace({partition, one.producer}, -1);
        if (at->second >= one.number) ++out_of_order;
        at->second = one.number;
        if (!seen_.emplace(one.producer, one.number).second) ++doubled;
    }
    [[nodiscard]] std::size_t count() const { return seen_.size(); }

    int out_of_order = 0;
    int doubled = 0;

private:
    std::map<std::pair<std::size_t, int>, int> last_;
    std::set<std::pair<int, int>> seen_;
};

/// Writes in every form; its own partition and those of the keys get a growing sequence each.
template <typename Queue>
int produce(Queue& items, int producer, int from, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    int number = from;
    for (int step = 0; step < 60; ++step) {
        auto const key = static_cast<int>(random() % 5);
        auto const range = [&](auto made) {
            for (auto count = random() % 20; count > 0; --count) {
                made.push_back(item{producer, number++, static_cast<int>(random() % 5)});
            }
            return made;
        };
        switch (random() % 8) {
            case 0: items.push({producer, number++, key}, partition_key{key}); break;
            case 1: items.emplace(partition_key{key}, producer, number++, key); break;
            case 2: items.push_range(range(std::vector<item>()), partition_by{&item::key}); break;
            case 3: items.push_range(range(std::vector<item>()), partition_key{key}); break;
            case 4: items.push_range(range(std::vector<item>())); break;
            case 5: items.push_range(range(std::list<item>())); break;
            default: items.push({producer, number++, key}); break;
        }
    }
    return number;
}

tidefall::options with(std::shared_ptr<tidefall::manual_runtime> clock, std::size_t partitions = 1,
                       std::size_t batch = 10) {
    return {.partitions = partitions, .processing_batch_size = batch, .runtime = std::move(clock)};
}

constexpr std::size_t all_at_once = std::numeric_limits<std::size_t>::max();

}  // namespace

TEST_CASE("producer order: each producer's items keep their order in a partition, whatever brought them there") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{1}, 7, all_at_once);
    constexpr int producers = 5;
    // With one partition the order is that of all items of a producer, however they were routed.
    order_check check;
    std::array<int, producers> numbers{};
    std::size_t pushed = 0;
    {
        tidefall::queue<item, producer_order> items(with(clock, 1, batch), [&](std::span<item> all) {
            for (auto const& one : all) check(0, one);
        });
        for (int tick = 0; tick < 5; ++tick) {
            std::vector<std::thread> threads;
            for (int producer = 0; producer < producers; ++producer) {
                threads.emplace_back([&, producer, tick] {
                    auto& number = numbers[static_cast<std::size_t>(producer)];
                    number = produce(items, producer * 100 + tick, 0, static_cast<std::uint64_t>(tick * 10 + producer));
                });
            }
            for (auto& thread : threads) thread.join();
            for (auto const number : numbers) pushed += static_cast<std::size_t>(number);
            if (tick % 2 == 0) {
                clock->advance(5s);
            } else if (tick == 1) {
                items.flush();
            }
        }
    }
    CHECK(check.count() == pushed);
    CHECK(check.out_of_order == 0);
    CHECK(check.doubled == 0);
}

TEST_CASE("producer order: one thread's items come in its order across ticks, flushes and the final drain") {
    auto const clock = tidefall::make_manual_runtime();
    auto const partitions = GENERATE(std::size_t{1}, 4);
    bool const tables = GENERATE(false, true);
    order_check check;
    int number = 0;
    std::uint64_t pushed = 0;
    auto const run = [&](auto& items) {
        for (int tick = 0; tick < 10; ++tick) {
            number = produce(items, 1, number, static_cast<std::uint64_t>(tick));
            // The items of other threads, each a producer of its own, lie in other stripes.
            std::thread([&] { items.push({100 + tick, 0, 1}, partition_key{1}); }).join();
            pushed += 1;
            if (tick % 3 == 0) clock->advance(5s);
            if (tick % 3 == 1) items.flush();
        }
        items.stop();
        CHECK(items.stats().processed == static_cast<std::uint64_t>(number) + pushed);
    };
    // A call has items of one partition, in their order.
    if (tables) {
        tidefall::queue<item, producer_order> items(with(clock, partitions), [&](tidefall::queue_table<item> table) {
            std::map<int, int> last;
            for (auto const& one : table) {
                if (partitions == 1) check(0, one);
                auto const [at, first] = last.try_emplace(one.producer, -1);
                CHECK(at->second < one.number);
                at->second = one.number;
            }
        });
        run(items);
    } else {
        tidefall::queue<item, producer_order> items(with(clock, partitions, all_at_once), [&](std::span<item> all) {
            std::map<int, int> last;
            for (auto const& one : all) {
                if (partitions == 1) check(0, one);
                auto const [at, first] = last.try_emplace(one.producer, -1);
                CHECK(at->second < one.number);
                at->second = one.number;
            }
        });
        run(items);
    }
    CHECK(check.out_of_order == 0);
    CHECK(check.doubled == 0);
    if (partitions == 1) CHECK(check.count() == static_cast<std::size_t>(number) + pushed);
}

TEST_CASE("producer order: many threads at once, with real ticks, lose and reorder nothing") {
    constexpr int producers = 4;
    constexpr int count = 3'000;
    std::mutex mutex;
    order_check check;
    {
        tidefall::queue<item, producer_order> items(
            {.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 64}, [&](std::span<item> all) {
                std::lock_guard const lock(mutex);
                for (auto const& one : all) check(0, one);
            });
        std::vector<std::thread> threads;
        for (int producer = 0; producer < producers; ++producer) {
            threads.emplace_back([&, producer] {
                for (int i = 0; i < count; ++i) {
                    if (i % 3 == 0) {
                        items.push({producer, i, i % 5}, partition_key{i % 5});
                    } else {
                        items.push({producer, i, 0});
                    }
                }
            });
        }
        for (auto& thread : threads) thread.join();
    }
    CHECK(check.count() == producers * count);
    CHECK(check.out_of_order == 0);
    CHECK(check.doubled == 0);
}

TEST_CASE("producer order: batches are gathered over the producers, each full but the last") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{1}, 7, 512, all_at_once);
    recorder<std::unique_ptr<int>> const seen;
    std::vector<std::size_t> sizes;
    tidefall::queue<std::unique_ptr<int>, producer_order> items(
        with(clock, 1, batch), [&](std::span<std::unique_ptr<int>> all) { sizes.push_back(all.size()); });
    for (int producer = 0; producer < 10; ++producer) {
        std::thread([&] {
            for (int i = 0; i < 111; ++i) items.push(std::make_unique<int>(i));
        }).join();
    }
    items.flush();
    std::size_t const n = 1'110;
    std::vector<std::size_t> expected(n / batch, batch);
    if (n % batch != 0) expected.push_back(n % batch);
    CHECK(sizes == expected);
}

TEST_CASE("producer order: whole batches of each producer come before what each has left") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::vector<int>> batches;
    tidefall::queue<int, producer_order> items(
        with(clock, 1, 4), [&](std::span<int const> all) { batches.emplace_back(all.begin(), all.end()); });
    for (int filling = 0; filling < 2; ++filling) {
        batches.clear();
        for (int const count : {6, 3, 9, 4}) {
            std::thread([&] {
                for (int i = 0; i < count; ++i) items.push(100 * count + i);
            }).join();
        }
        items.flush();
        CHECK(std::ranges::is_permutation(
            std::vector(batches.begin(), batches.begin() + 4),
            std::vector<std::vector<int>>{
                {600, 601, 602, 603}, {900, 901, 902, 903}, {904, 905, 906, 907}, {400, 401, 402, 403}}));
        REQUIRE(batches.size() == 6);
        auto rest = batches[4];
        rest.insert(rest.end(), batches[5].begin(), batches[5].end());
        CHECK(batches[4].size() == 4);
        CHECK(std::ranges::is_permutation(rest, std::vector<int>{604, 605, 300, 301, 302, 908}));
    }
}

TEST_CASE("queue table: a batch of a power of two lies side by side, but for the first") {
    auto const batch = GENERATE(std::size_t{64}, 128, 512, 1024, 4096, 8192);
    tidefall::queue_table<std::uint64_t> table;
    for (int filling = 0; filling < 2; ++filling) {
        for (std::uint64_t i = 0; i < 65'536; ++i) table.emplace_back(i);
        for (std::size_t taken = 0; taken < batch;) taken += table.take(batch - taken).size();
        while (!table.empty()) REQUIRE(table.take(batch).size() == batch);
        table.clear();
    }
}

TEST_CASE("producer order: a threshold counts the items of all stripes") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int, producer_order> items(
        {.partitions = 1, .processing_batch_size = 1'000, .drain_threshold = 100, .runtime = clock}, seen);
    for (int producer = 0; producer < 9; ++producer) {
        std::thread([&] { items.push_range(std::vector<int>(11, producer)); }).join();
    }
    clock->advance(0s);
    CHECK(items.size() == 99);
    CHECK(seen.batches().empty());
    std::thread([&] { items.push(1); }).join();
    clock->advance(0s);
    CHECK(items.size() == 0);
    CHECK(seen.sizes() == std::vector<std::size_t>{100});
    for (int i = 0; i < 99; ++i) items.push(i);
    clock->advance(0s);
    CHECK(items.size() == 99);
    items.update_options({.drain_threshold = 50});
    clock->advance(0s);
    CHECK(items.size() == 0);
    items.update_options({.drain_threshold = std::optional<std::size_t>{}});
    for (int i = 0; i < 1'000; ++i) items.push(i);
    clock->advance(0s);
    CHECK(items.size() == 1'000);
}

TEST_CASE("producer order: after stop a write answers stopped and leaves its argument") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::string, producer_order> items(with(clock), [](std::span<std::string>) {});
    items.stop();
    std::string text(100, 'x');
    CHECK(items.push(std::move(text)) == write_status::stopped);
    CHECK(items.push(std::move(text), partition_key{1}) == write_status::stopped);
    CHECK(text.size() == 100);  // NOLINT(bugprone-use-after-move)
    CHECK(items.stats().refused == 2);
}

// ---- the table that absorbs

namespace {

template <typename T>
tidefall::queue_table<T> table_of(int from, int to) {
    tidefall::queue_table<T> table;
    for (int i = from; i < to; ++i) {
        if constexpr (std::is_same_v<T, int>) {
            table.emplace_back(i);
        } else {
            table.emplace_back(std::make_unique<int>(i));
        }
    }
    return table;
}

int number(int one) {
    return one;
}
int number(std::unique_ptr<int> const& one) {
    return *one;
}

template <typename T>
bool holds(tidefall::queue_table<T> const& table, int from, int to) {
    for (auto const& one : table) {
        if (from == to || number(one) != from++) return false;
    }
    return from == to;
}

}  // namespace

TEMPLATE_TEST_CASE("queue table: absorb splices the other behind, and leaves it empty and of use", "", int,
                   std::unique_ptr<int>) {
    using table_type = tidefall::queue_table<TestType>;
    auto const mine = GENERATE(0, 1, 256, 257, 3'000);
    auto const theirs = GENERATE(0, 1, 256, 257, 3'000);
    auto table = table_of<TestType>(0, mine);
    auto other = table_of<TestType>(mine, mine + theirs);
    std::vector<TestType const*> places;
    for (auto const& one : std::as_const(other)) places.push_back(&one);
    table.absorb(std::move(other));
    CHECK(table.size() == static_cast<std::size_t>(mine + theirs));
    CHECK(holds(table, 0, mine + theirs));
    CHECK(other.size() == 0);  // NOLINT(bugprone-use-after-move)
    CHECK(other.begin() == other.end());
    // No value was moved.
    std::size_t same = 0;
    std::size_t index = 0;
    for (auto const& one : std::as_const(table)) {
        if (index++ >= static_cast<std::size_t>(mine)) {
            same += &one == places[index - 1 - static_cast<std::size_t>(mine)] ? 1 : 0;
        }
    }
    CHECK(same == places.size());
    // Both go on: the one behind its last value, the other from nothing.
    auto more = table_of<TestType>(mine + theirs, mine + theirs + 300);
    for (auto& one : more) table.emplace_back(std::move(one));
    CHECK(holds(table, 0, mine + theirs + 300));
    auto again = table_of<TestType>(0, 600);
    for (auto& one : again) other.emplace_back(std::move(one));
    CHECK(holds(other, 0, 600));
    // Taken in runs, in order.
    int next = 0;
    while (table.size() > 0) {
        auto const before = table.size();
        auto const run = table.take(100);
        REQUIRE(!run.empty());
        CHECK(run.size() <= 100);
        CHECK(table.size() == before - run.size());
        for (auto const& one : run) CHECK(number(one) == next++);
        std::destroy(run.begin(), run.end());
    }
    CHECK(next == mine + theirs + 300);
    table.clear();
    CHECK(table.size() == 0);
    table_type const last(std::move(table));
    CHECK(last.empty());
}

TEST_CASE("queue table: many absorb into one, filling after filling, and keep their tails") {
    std::vector<tidefall::queue_table<std::unique_ptr<int>>> tables(4);
    std::mt19937_64 random(tests::seed());
    INFO("seed " << tests::seed());
    for (int filling = 0; filling < 200; ++filling) {
        int count = 0;
        for (auto& one : tables) {
            for (auto left = random() % (filling % 5 == 0 ? 3'000 : 30); left > 0; --left) {
                one.emplace_back(std::make_unique<int>(count++));
            }
        }
        for (std::size_t i = 1; i < tables.size(); ++i) tables[0].absorb(std::move(tables[i]));
        REQUIRE(tables[0].size() == static_cast<std::size_t>(count));
        REQUIRE(holds(tables[0], 0, count));
        if (filling % 3 == 0) {
            auto const taken_away = std::move(tables[0]);
            CHECK(holds(taken_away, 0, count));
        } else if (filling % 3 == 1) {
            auto const run = tables[0].take(10);
            std::destroy(run.begin(), run.end());
        }
        for (auto& one : tables) one.clear();
    }
}

TEST_CASE("queue table: one that absorbed into an empty one keeps a tail that it had, and its own memory") {
    auto table = table_of<int>(0, 1'000);
    table.clear();  // keeps its segments
    auto other = table_of<int>(0, 5);
    table.absorb(std::move(other));
    CHECK(holds(table, 0, 5));
    int const* const first = &*table.begin();
    table.clear();
    table.emplace_back(7);
    CHECK(&*table.begin() == first);
    // What was kept went the other way.
    for (int i = 0; i < 1'000; ++i) other.emplace_back(i);  // NOLINT(bugprone-use-after-move)
    CHECK(holds(other, 0, 1'000));
}

TEST_CASE("producer order: table mode hands over one table, to keep when the queue is gone") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<tidefall::queue_table<std::string>> kept;
    {
        tidefall::queue<std::string, producer_order> items(
            with(clock), [&](tidefall::queue_table<std::string> table) { kept.push_back(std::move(table)); });
        for (int tick = 0; tick < 20; ++tick) {
            for (int producer = 0; producer < 5; ++producer) {
                std::thread([&] {
                    for (int i = 0; i < 200; ++i) items.push(std::string(40, 'x') + std::to_string(i));
                }).join();
            }
            clock->advance(5s);
        }
        items.push("last");
    }
    REQUIRE(kept.size() == 21);
    for (std::size_t tick = 0; tick < 20; ++tick) {
        auto& table = kept[tick];
        CHECK(table.size() == 1'000);
        int index = 0;
        int wrong = 0;
        for (auto const& one : table) wrong += one.substr(40) == std::to_string(index++ % 200) ? 0 : 1;
        CHECK(wrong == 0);
    }
    CHECK(kept.back().size() == 1);
}
