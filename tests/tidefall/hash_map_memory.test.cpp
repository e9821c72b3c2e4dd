// SPDX-License-Identifier: MIT
//
// What a hash map allocates.
#include "../support/allocations.hpp"
#include "../support/catch.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <span>

using namespace std::chrono_literals;
using tests::allocated;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::write_status;

TEST_CASE("hash map memory: a hundred warm ticks allocate nothing, whatever the batch size") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{10}, 1'000, std::numeric_limits<std::size_t>::max());
    auto const count = GENERATE(1, 100, 20'000);
    hash_map<int, int> map({.partitions = 2, .processing_batch_size = batch, .runtime = clock},
                           [](std::span<entry<int, int>>) {});
    std::uint64_t before = 0;
    for (int tick = 0; tick < 150; ++tick) {
        if (tick == 50) before = allocated().count;
        for (int i = 0; i < count; ++i) {
            map.put(i, i);
            map.put_newer(i, i);
            map.update(i, [](int& v) { ++v; });
            if (i % 3 == 0) map.erase(i);
        }
        clock->advance(5s);
    }
    CHECK(allocated().count == before);
}

TEST_CASE("hash map memory: writes and look-ups of keys that are held allocate nothing, nor do refused ones") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, std::uint64_t> map({.runtime = clock}, [](std::span<entry<int, std::uint64_t>>) {});
    for (int i = 0; i < 100; ++i) map.put(i, 1);
    auto const before = allocated().count;
    for (int i = 0; i < 100; ++i) {
        map.put(i, 2);
        map.put_newer(i, 3U, 1);
        map.put_newer(i, 3U, 1);
        map.update(i, [](std::uint64_t& v) { ++v; });
        static_cast<void>(map.get(i));
        map.erase(i);
        map.put(i, 2);
    }
    CHECK(allocated().count == before);
    map.stop();
    auto const stopped = allocated().count;
    CHECK(map.put(1, 1) == write_status::stopped);
    CHECK(allocated().count == stopped);
}

TEST_CASE("hash map memory: a burst is given back after eleven idle intervals, or while small ticks go on") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, std::uint64_t> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<entry<int, std::uint64_t>>) {});
    auto const before = allocated().live_bytes;
    auto const burst = [&] {
        for (int round = 0; round < 2; ++round) {
            for (int i = 0; i < 50'000; ++i) map.put(i, 1);
            clock->advance(1s);
        }
        CHECK(allocated().live_bytes - before > 2'000'000);
    };
    burst();
    clock->advance(11s);
    CHECK(allocated().live_bytes == before);
    burst();
    for (int tick = 0; tick < 80; ++tick) {
        map.put(1, 1);
        clock->advance(1s);
    }
    CHECK(allocated().live_bytes - before < 20'000);
}

TEST_CASE("hash map memory: keys of one hash take no more memory than others") {
    struct one_hash {
        std::size_t operator()(int) const { return 42; }
    };
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, int, one_hash> map({.partitions = 1, .runtime = clock}, [](std::span<entry<int, int>>) {});
    auto const before = allocated().live_bytes;
    for (int i = 0; i < 10'000; ++i) map.put(i, i);
    CHECK(allocated().live_bytes - before < 100 * 10'000);
}
