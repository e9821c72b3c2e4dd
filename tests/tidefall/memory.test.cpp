// SPDX-License-Identifier: MIT
//
// What the library allocates, counted by replaced operators new and delete.
#include "../support/allocations.hpp"
#include "../support/catch.hpp"
#include "../support/latch.hpp"

#include <tidefall/detail/tables/destroy_to_reuse.hpp>
#include <tidefall/detail/tables/spare_memory.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::allocated;
using tests::latch;

namespace {

/// Runs `tick` until it is warm and returns what a hundred more ticks allocate.
template <typename Tick>
std::uint64_t allocations_when_warm(Tick tick) {
    for (int i = 0; i < 50; ++i) tick();
    auto const before = allocated().count;
    for (int i = 0; i < 100; ++i) tick();
    return allocated().count - before;
}

}  // namespace

TEST_CASE("memory: a hundred warm ticks allocate nothing") {
    auto const clock = tidefall::make_manual_runtime();
    auto const count = GENERATE(1, 100, 5000);
    auto const batch = GENERATE(std::size_t{10}, 1000, std::numeric_limits<std::size_t>::max());
    tidefall::options const how{.partitions = 2, .processing_batch_size = batch, .runtime = clock};
    std::vector<int> const range(100);

    SECTION("in insertion order, every write form") {
        tidefall::queue<int> items(how, [](std::span<int>) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(i, tidefall::partition_key{i});
                  items.emplace(1);
                  items.push_range(range);
                  items.push_range(range, tidefall::partition_by{std::identity()});
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("with a stop token and timeouts") {
        tidefall::queue<int> items(how, [](std::span<int>, std::stop_token const&) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(i);
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("sorted") {
        tidefall::queue<int, tidefall::sorted_by<std::identity{}>> items(how, [](std::span<int>) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(-i);
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("sorted by key") {
        tidefall::queue<int, tidefall::sorted_by_key<int>> items(how, [](std::span<int>) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(i, tidefall::sort_key{-i});
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("in producer order") {
        tidefall::queue<int, tidefall::producer_order> items(how, [](std::span<int>) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(i);
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("coalescing, every write form") {
        tidefall::hash_map<int, int> map(how, [](std::span<tidefall::entry<int, int>>) {});
        std::vector<std::pair<int, int>> const pairs(100);
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) {
                      map.put(i, i);
                      map.put_newer(i, i);
                      map.update(-i, [](int& value) { ++value; });
                  }
                  map.put_all(pairs);
                  map.erase(1);
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("with a hook, after a batch that throws") {
        tidefall::queue<int> items(
            {.partitions = 1, .telemetry = std::make_shared<tidefall::telemetry_hook>(), .runtime = clock},
            [](std::span<int>) {});
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < count; ++i) items.push(i);
                  clock->advance(5s);
              }) == 0);
    }
}

TEST_CASE("memory: with threads a warm drain allocates nothing either") {
    std::atomic<int> processed{0};
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = 1h, .processing_batch_size = 100, .drain_threshold = 1000},
        [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    int pushed = 0;
    CHECK(allocations_when_warm([&] {
              for (int i = 0; i < 1000; ++i) items.push(i);
              pushed += 1000;
              while (processed != pushed) std::this_thread::yield();
          }) == 0);
}

TEST_CASE("memory: what serves a batch that waits, or is out, serves others after it") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::options how{.partitions = 1, .processing_batch_size = 10, .runtime = clock};
    SECTION("offered again") {
        tidefall::queue<int> items(how, [](std::span<int const>, tidefall::batch_info const& info) {
            tidefall::batch_result result;
            if (info.attempt == 1 && info.index != 1) result.reject_from(0);
            return result.retry_after(1s);
        });
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < 35; ++i) items.push(i);
                  clock->advance(10s);
              }) == 0);
    }
    SECTION("kept and offered again, while others are completed in their calls") {
        how.max_in_flight = 2;
        std::vector<tidefall::async_batch<int>> out;
        out.reserve(10);
        tidefall::queue<int> items(how, [&](tidefall::async_batch<int> batch) {
            if (batch.info().index == 0 && batch.info().attempt == 1) return out.push_back(std::move(batch));
            batch.complete();
        });
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < 35; ++i) items.push(i);
                  clock->advance(5s);
                  tidefall::batch_result again;
                  again.reject_from(0);
                  out.front().complete(again.retry_after(1s));
                  out.clear();
                  clock->advance(2s);
              }) == 0);
        CHECK(items.stats().in_flight == 0);
    }
    SECTION("completed in its call") {
        tidefall::queue<int> items(how, [](tidefall::async_batch<int> batch) { batch.complete(); });
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < 35; ++i) items.push(i);
                  clock->advance(5s);
              }) == 0);
    }
    SECTION("completed later") {
        how.max_in_flight = 3;
        std::vector<tidefall::async_batch<int>> out;
        out.reserve(10);
        tidefall::queue<int> items(how, [&](tidefall::async_batch<int> batch) { out.push_back(std::move(batch)); });
        CHECK(allocations_when_warm([&] {
                  for (int i = 0; i < 35; ++i) items.push(i);
                  do {
                      clock->advance(5s);
                      for (auto& one : out) one.complete();
                      out.clear();
                      clock->advance(0s);
                  } while (!out.empty());
              }) == 0);
    }
}

TEST_CASE("memory: the first batch of a partition allocates nothing") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, [](std::span<int>) {});
    items.push(1);
    auto const before = allocated().count;
    clock->advance(5s);
    CHECK(allocated().count == before);
    CHECK(items.stats().processed == 1);
}

TEST_CASE("memory: a refused push allocates nothing") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::string> items({.runtime = clock}, [](std::span<std::string>) {});
    items.stop();
    std::string item(1000, 'x');
    auto const before = allocated().count;
    for (int i = 0; i < 1000; ++i) items.push(std::move(item));
    CHECK(allocated().count == before);
    CHECK(item.size() == 1000);
}

TEST_CASE("memory: an idle partition is small, and full segments cost little more than their values") {
    auto const clock = tidefall::make_manual_runtime();
    auto const before = allocated().live_bytes;
    tidefall::queue<std::uint64_t> items({.partitions = 100, .runtime = clock}, [](std::span<std::uint64_t>) {});
    CHECK(allocated().live_bytes - before < 100 * 4096);

    auto const idle = allocated().live_bytes;
    std::int64_t count = 0;
    for (; count < 1'048'064; ++count) items.push(1);  // the last segment is full
    CHECK(allocated().live_bytes - idle < 10 * count);
}

TEST_CASE("memory: a refused put allocates nothing") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<std::string, std::string> map({.runtime = clock},
                                                     [](std::span<tidefall::entry<std::string, std::string>>) {});
    map.stop();
    std::string const key(1000, 'k');
    std::string value(1000, 'x');
    auto const before = allocated().count;
    for (int i = 0; i < 1000; ++i) map.put(key, std::move(value));
    CHECK(allocated().count == before);
    CHECK(value.size() == 1000);
}

TEST_CASE("memory: an idle partition of a map is small") {
    auto const clock = tidefall::make_manual_runtime();
    auto const before = allocated().live_bytes;
    tidefall::hash_map<int, int> map({.partitions = 100, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    CHECK(allocated().live_bytes - before < 100 * 8192);
}

TEST_CASE("memory: an entry of 8 and 8 bytes takes under 60 just before its table grows") {
    auto const before = allocated().live_bytes;
    tidefall::hash_map_table<std::uint64_t, std::uint64_t> table;
    std::int64_t bytes = 0;
    std::int64_t at_its_fullest = 0;
    for (std::uint64_t key = 0; key < 1'000'000; ++key) {
        tidefall::hash_map_table<std::uint64_t, std::uint64_t>::displaced none;
        table.put(tidefall::detail::mixed_hash(key), key, std::uint64_t{1}, std::uint64_t{}, none);
        auto const now = allocated().live_bytes - before;
        if (now != bytes && key > 100) {
            at_its_fullest = bytes / static_cast<std::int64_t>(key);
            CHECK(at_its_fullest < 60);
            CHECK(now / static_cast<std::int64_t>(key + 1) < 80);
        }
        bytes = now;
    }
    CHECK(at_its_fullest == 35);
}

TEST_CASE("memory: a burst is given back after eleven idle intervals") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t, tidefall::sorted_by<std::identity{}>> sorted(
        {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<std::uint64_t>) {});
    tidefall::queue<std::uint64_t> items({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                         [](std::span<std::uint64_t>) {});
    tidefall::queue<std::uint64_t, tidefall::producer_order> striped(
        {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<std::uint64_t>) {});
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    auto const before = allocated().live_bytes;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 100'000; ++i) {
            items.push(1);
            sorted.push(1);
            striped.push(1);
            map.put(i, 1);
        }
        clock->advance(1s);
    }
    CHECK(allocated().live_bytes - before > 2'000'000);
    clock->advance(11s);
    CHECK(allocated().live_bytes == before);
}

TEST_CASE("memory: a queue that drops its oldest items all the time stays small, and gives back what it had") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t> items({.partitions = 1,
                                          .processing_interval = 1s,
                                          .capacity = 20'000,
                                          .overflow = tidefall::overflow_policy::drop_oldest,
                                          .runtime = clock},
                                         [](std::span<std::uint64_t>) {});
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 1'000'000; ++i) items.push(1);
    CHECK(allocated().live_bytes - before < 400'000);
    for (int tick = 0; tick < 64; ++tick) {
        items.push(1);
        clock->advance(1s);
    }
    CHECK(allocated().live_bytes - before < 80'000);  // a long segment came to the front
    clock->advance(11s);
    CHECK(allocated().live_bytes == before);
}

TEST_CASE("memory: what stays unused is given back while ticks go on") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t> items({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                         [](std::span<std::uint64_t>) {});
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 1'000'000; ++i) items.push(1);
    clock->advance(1s);
    CHECK(allocated().live_bytes - before > 8'000'000);
    for (int tick = 0; tick < 64; ++tick) {
        items.push(1);
        clock->advance(1s);
    }
    CHECK(allocated().live_bytes - before < 8'192);
}

TEST_CASE("memory: what one partition drained another one fills") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t> items({.partitions = 4, .processing_interval = 1s, .runtime = clock},
                                         [](std::span<std::uint64_t>) {});
    std::vector<int> keys;  // one of each partition
    keys.reserve(4);
    auto const before = allocated().live_bytes;
    for (int key = 0; keys.size() < 4; ++key) {
        items.push(1, tidefall::partition_key{key});
        if (items.partition(keys.size()).size() > 0) keys.push_back(key);
        clock->advance(1s);
    }
    for (std::size_t round = 0; round < 12; ++round) {
        auto const allocations = allocated().count;
        for (int i = 0; i < 1'000'000; ++i) items.push(1, tidefall::partition_key{keys[round % 4]});
        clock->advance(1s);
        // Segments that are not of the longest kind stay with their table, of which a partition has two.
        if (round > 0) CHECK(allocated().count - allocations < 12);
    }
    CHECK(allocated().live_bytes - before < 10'000'000);
    clock->advance(11s);
    CHECK(allocated().live_bytes == before);
}

TEST_CASE("memory: threads that take turns in producer order need no memory of their own each") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t, tidefall::producer_order> items(
        {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<std::uint64_t>) {});
    auto const before = allocated().live_bytes;
    for (int n = 0; n < 8; ++n) {
        std::thread([&] {
            for (int i = 0; i < 1'000'000; ++i) items.push(1);
        }).join();
        clock->advance(1s);
    }
    CHECK(allocated().live_bytes - before < 10'000'000);
    clock->advance(11s);
    CHECK(allocated().live_bytes == before);
}

TEST_CASE("memory: a value that was processed leaves a line that was written") {
    auto const clock = tidefall::make_manual_runtime();
    constexpr auto all_bits = (std::numeric_limits<std::uint64_t>::max)();
    unsigned char const* place = nullptr;
    auto const first_byte = [&] { return *place; };

    tidefall::queue<std::uint64_t> items({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                         [&](std::span<std::uint64_t const> batch) {
                                             place = reinterpret_cast<unsigned char const*>(batch.data());
                                             CHECK(first_byte() == 0xFF);
                                         });
    items.push(all_bits);
    clock->advance(1s);
    CHECK(first_byte() == 0);

    // What was taken of a batch goes by itself, beside what was refused.
    tidefall::queue<std::uint64_t> in_part(
        {.partitions = 1, .processing_interval = 1s, .unheard = tidefall::unheard_action::ignore, .runtime = clock},
        [&](std::span<std::uint64_t const> batch) {
            place = reinterpret_cast<unsigned char const*>(batch.data());
            CHECK(first_byte() == 0xFF);
            tidefall::batch_result result;
            result.refuse(1);
            return result;
        });
    in_part.push(all_bits);
    in_part.push(all_bits);
    clock->advance(1s);
    CHECK(first_byte() == 0);

    // Of a map the values are moved to where their batch is gathered, and the line in the table is what counts.
    tidefall::hash_map<std::uint64_t, std::uint64_t, std::hash<std::uint64_t>, std::equal_to<>, void> map(
        {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](auto) {});
    map.put(all_bits, all_bits);
    map.put(all_bits - 1, all_bits);
    map.update(all_bits, [&](std::uint64_t& value) { place = reinterpret_cast<unsigned char const*>(&value) - 8; });
    CHECK(first_byte() == 0xFF);
    clock->advance(1s);
    CHECK(first_byte() == 0);
}

TEST_CASE("memory: a queue whose every seventh filling is large keeps what that needs") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<std::uint64_t> items({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                         [](std::span<std::uint64_t>) {});
    std::uint64_t before = 0;
    for (int tick = 0; tick < 400; ++tick) {
        if (tick == 100) before = tests::allocated().count;
        for (int i = 0; i < (tick % 7 == 0 ? 10'000 : 1); ++i) items.push(1);
        clock->advance(1s);
    }
    CHECK(tests::allocated().count == before);
}

TEST_CASE("memory: a buffer that its registry stopped gives up what its partitions shared, though it is held on to") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::registry<tidefall::queue<std::uint64_t>> all;
    auto const items = all.start("items", {.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                 [](std::span<std::uint64_t>) {});
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 1'000'000; ++i) items->push(1);
    clock->advance(1s);
    CHECK(allocated().live_bytes - before > 8'000'000);
    all.stop("items");
    CHECK(allocated().live_bytes < before);
}

TEST_CASE("memory: a map that its registry stopped keeps no entry's memory, though it is held on to") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::registry<tidefall::hash_map<int, std::array<char, 1024>>> all;
    auto const map = all.start(
        "map", {.partitions = 1, .processing_interval = 1s, .processing_batch_size = 20'000, .runtime = clock},
        [](auto) {});
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 2'000; ++i) map->put(i, std::array<char, 1024>{});
    clock->advance(1s);
    CHECK(allocated().live_bytes - before > 2'000'000);
    all.stop("map");
    CHECK(allocated().live_bytes < before);
}

TEST_CASE("memory: what an abandoned call had is freed once it has returned and the drain is over") {
    latch entered;
    latch told;
    latch go_on;
    tidefall::queue<std::uint64_t> items({.partitions = 1,
                                          .processing_interval = 1h,
                                          .processing_batch_size = 8192,
                                          .processing_timeout = 1ms,
                                          .timeout_action = tidefall::timeout_action::abandon,
                                          .shutdown_timeout = std::chrono::nanoseconds::max(),
                                          .unheard = tidefall::unheard_action::ignore},
                                         [&](std::span<std::uint64_t> batch, std::stop_token const& token) {
                                             if (batch.size() == 1 || entered.is_open()) return;
                                             entered.open();
                                             while (!token.stop_requested()) std::this_thread::yield();
                                             told.open();
                                             go_on.wait();
                                         });
    items.push(1);
    items.flush();
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 500'000; ++i) items.push(1);
    items.flush();
    told.wait();
    CHECK(allocated().live_bytes - before > 4'000'000);
    go_on.open();
    // Without an end, where it is kept.
    while (allocated().live_bytes - before > 1'000'000) std::this_thread::yield();
}

TEST_CASE("memory: a range of large values takes the segments that are there") {
    auto const clock = tidefall::make_manual_runtime();
    using large = std::array<char, 1024>;
    tidefall::queue<large> items({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                 [](std::span<large>) {});
    std::vector<large> const range(2'000);
    std::uint64_t before = 0;
    for (int tick = 0; tick < 40; ++tick) {
        if (tick == 20) before = allocated().count;
        items.push_range(range);
        clock->advance(1s);
    }
    CHECK(allocated().count == before);
}

TEST_CASE("memory: segments double up to 64 KiB, but for the second") {
    auto const before = tests::allocated().count;
    tidefall::queue_table<std::uint64_t> table;
    for (int i = 0; i < 1'000'000; ++i) table.emplace_back(1U);
    CHECK(tests::allocated().count - before == 129);
}

TEST_CASE("memory: sorted by key, a burst is given back") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int, tidefall::sorted_by_key<std::uint64_t>> items(
        {.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<int>) {});
    auto const before = tests::allocated().live_bytes;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 10'000; ++i) items.push(1, tidefall::sort_key{1U});
        clock->advance(1s);
    }
    clock->advance(11s);
    CHECK(tests::allocated().live_bytes == before);
}

TEST_CASE("memory: memory that no table needs goes to the one that wants it, the last that came first") {
    using table = tidefall::queue_table<std::array<char, 40'000>>;  // a segment each
    tidefall::detail::spare_memory<table> memory;
    auto const written = [](table& into, int count) {
        std::vector<void const*> places;
        for (int i = 0; i < count; ++i) places.push_back(&into.emplace_back());
        return places;
    };
    std::array<table, 2> tables;
    auto const first = written(tables[0], 4);
    auto const second = written(tables[1], 3);
    for (auto& one : tables) one.clear();
    memory.gather(tables, true);
    CHECK(tables[0].take_spare() == nullptr);
    CHECK(tables[1].take_spare() == nullptr);

    table other;
    CHECK(memory.provide(other, 1) == 1);  // a table that was never written to makes its first segment itself
    CHECK(&other.emplace_back() != second[2]);
    std::vector<void const*> found;
    for (int i = 0; i < 6; ++i) {
        CHECK(memory.provide(other, 1) == 1);
        found.push_back(&other.emplace_back());
    }
    CHECK(std::vector(found.begin(), found.begin() + 5) ==
          std::vector{second[2], second[1], first[3], first[2], first[1]});
    CHECK(std::find(second.begin(), second.end(), found[5]) == second.end());
    CHECK(std::find(first.begin(), first.end(), found[5]) == first.end());
}

TEST_CASE("memory: a table wants a segment where the next one is of the longest kind, and it has kept none") {
    tidefall::queue_table<std::uint64_t> table;
    CHECK_FALSE(table.wants_segment(1));
    for (int i = 0; i < 8'192; ++i) {
        CHECK_FALSE(table.wants_segment(1));
        table.emplace_back(1U);
    }
    CHECK(table.wants_segment(1));
    table.emplace_back(1U);
    CHECK_FALSE(table.wants_segment(8'191));
    CHECK(table.wants_segment(8'192));
    table.clear();
    for (int i = 0; i < 8'192; ++i) table.emplace_back(1U);
    CHECK_FALSE(table.wants_segment(1));  // it has one
}

TEST_CASE("memory: memory is freed that no table wanted while each partition drained sixteen times, or none is left") {
    using table = tidefall::queue_table<std::array<char, 40'000>>;
    constexpr std::int64_t segment = 40'000;
    tidefall::detail::spare_memory<table> memory;
    std::vector<table> tables(1);
    auto const drain = [&](int values, bool is_new) {
        for (int i = 0; i < values; ++i) {
            CHECK(memory.provide(tables[0], 1) == 1);
            tables[0].emplace_back();
        }
        tables[0].clear();
        memory.gather(tables, is_new);
    };
    auto const before = tests::allocated().live_bytes;
    auto const kept = [&] { return (tests::allocated().live_bytes - before) / segment; };
    drain(20, true);
    drain(5, true);  // of another partition
    for (int i = 2; i < 32; ++i) drain(5, false);
    CHECK(kept() == 20);  // nothing was here when the first of them began
    for (int i = 0; i < 31; ++i) drain(5, false);
    CHECK(kept() == 20);
    drain(5, false);
    CHECK(kept() == 5);
    for (int i = 0; i < 100; ++i) drain(i % 7 == 0 ? 5 : 1, false);
    CHECK(kept() == 5);

    drain(9, false);
    memory.leave();  // what one needed of late stays for the other
    CHECK(kept() >= 5);
    drain(1, false);
    memory.leave();
    CHECK(kept() == 1);  // the table's own
    drain(9, true);      // it begins anew
    for (int i = 1; i < 16; ++i) drain(1, false);
    CHECK(kept() == 9);
    memory.leave();
    tables[0].shrink_to_fit();
    CHECK(tests::allocated().live_bytes == before);
}

TEST_CASE("memory: what there is no memory to note is freed, or stays until the next look") {
    using table = tidefall::queue_table<std::array<char, 40'000>>;
    auto const before = tests::allocated().live_bytes;
    {
        tidefall::detail::spare_memory<table> memory;
        std::vector<table> tables(1);
        for (int i = 0; i < 5; ++i) tables[0].emplace_back();
        tables[0].clear();
        auto const with_five = tests::allocated().live_bytes;
        tests::fail_allocation(1);
        memory.gather(tables, true);
        CHECK_FALSE(tests::allocation_is_to_fail());
        CHECK((with_five - tests::allocated().live_bytes) / 40'000 == 4);

        for (int i = 0; i < 5; ++i) tables[0].emplace_back();
        tables[0].clear();
        for (int i = 1; i < 31; ++i) memory.gather(tables, false);
        auto const gathered = tests::allocated().live_bytes;
        tests::fail_allocation(1);
        memory.gather(tables, false);
        CHECK_FALSE(tests::allocation_is_to_fail());
        CHECK(tests::allocated().live_bytes == gathered);
        for (int i = 0; i < 16; ++i) memory.gather(tables, false);
        CHECK(tests::allocated().live_bytes < gathered - 4 * 40'000);
    }
    CHECK(tests::allocated().live_bytes == before);
}

TEST_CASE("memory: of memory that was read a byte is written in each cache line, and none beside it") {
    for (std::size_t const offset : {0U, 1U, 60U, 63U}) {
        for (std::size_t const size : {0U, 1U, 3U, 4U, 64U, 65U, 200U}) {
            CAPTURE(offset, size);
            alignas(64) std::array<unsigned char, 512> memory;
            memory.fill(0xFF);
            tidefall::detail::leave_written(std::span(memory).subspan(64 + offset, size));
            for (std::size_t line = 0; line < memory.size(); line += 64) {
                auto const from = (std::max)(line, 64 + offset);
                auto const to = (std::min)(line + 64, 64 + offset + size);
                auto const written = std::count(memory.begin() + static_cast<std::ptrdiff_t>(line),
                                                memory.begin() + static_cast<std::ptrdiff_t>(line) + 64, 0);
                CHECK(written == (from < to ? 1 : 0));
                if (from < to) CHECK(memory[from] == 0);
            }
        }
    }
}
