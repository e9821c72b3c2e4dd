// SPDX-License-Identifier: MIT
//
// What a hash map allocates, and what it does where an allocation fails.
#include "../support/allocations.hpp"
#include "../support/catch.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::allocated;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::write_status;

namespace {

using texts = hash_map<std::string, std::string>;

/// Longer than what a string holds in place.
std::string text(int number) {
    return "a text that is longer than what fits " + std::to_string(number);
}

struct call {
    char const* name;
    std::function<void(texts&)> run;
};

std::vector<call> const calls{
    {"put a new key", [](texts& map) { map.put(text(100), text(1)); }},
    {"put an old key", [](texts& map) { map.put(text(3), text(1)); }},
    {"put a literal",
     [](texts& map) { map.put("a key that is longer than what fits in place", "and so is this value"); }},
    {"put_newer of a new key", [](texts& map) { map.put_newer(text(100), text(1), 20); }},
    {"put_newer of an old key", [](texts& map) { map.put_newer(text(3), text(1), 20); }},
    {"update a new key", [](texts& map) { map.update(text(100), [](std::string& v) { v = text(1); }); }},
    {"update from a value", [](texts& map) { map.update(text(100), text(5), [](std::string& v) { v += text(1); }); }},
    {"get", [](texts& map) { static_cast<void>(map.get(text(3))); }},
    {"erase", [](texts& map) { map.erase(text(3)); }},
};

std::map<std::string, std::string> fill(texts& map, int count) {
    std::map<std::string, std::string> expected;
    for (int i = 0; i < count; ++i) {
        map.put_newer(text(i), text(1'000 + i), 10);
        expected.emplace(text(i), text(1'000 + i));
    }
    return expected;
}

}  // namespace

TEST_CASE("hash map memory: whichever allocation of a call fails, nothing changed") {
    auto const clock = tidefall::make_manual_runtime();
    // 13 and 416 entries of one stripe fill their groups: the next one has the table grow.
    auto const count = GENERATE(0, 5, 13, 416);
    for (auto const& one : calls) {
        INFO(one.name << " beside " << count);
        bool succeeded = false;
        auto const live = allocated().live_bytes;
        for (std::uint64_t n = 1; !succeeded; ++n) {
            std::map<std::string, std::string> seen;
            std::map<std::string, std::string> expected;
            {
                texts map({.partitions = 1, .runtime = clock}, [&](std::span<entry<std::string, std::string>> batch) {
                    for (auto const& each : batch) seen.emplace(each.key, each.value);
                });
                expected = fill(map, count);
                auto const before = map.stats();
                tests::fail_allocation(n);
                try {
                    one.run(map);
                    succeeded = true;
                    tests::fail_allocation(0);
                } catch (std::bad_alloc const&) {
                    tests::fail_allocation(0);
                    CHECK((map.stats() == before));
                    map.flush();
                    CHECK(seen == expected);
                    one.run(map);
                }
            }
            seen.clear();
            expected.clear();
            CHECK(allocated().live_bytes == live);
        }
    }
}

TEST_CASE("hash map memory: whichever allocation of a bulk write fails, the prefix stays") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::pair<std::string, std::string>> pairs;
    for (int i = 0; i < 60; ++i) pairs.emplace_back(text(i), text(500 + i));
    bool succeeded = false;
    for (std::uint64_t n = 1; !succeeded; ++n) {
        std::map<std::string, std::string> seen;
        texts map({.partitions = 1, .runtime = clock}, [&](std::span<entry<std::string, std::string>> batch) {
            for (auto const& each : batch) seen.emplace(each.key, each.value);
        });
        tests::fail_allocation(n);
        try {
            succeeded = map.put_all(pairs) == 60;
        } catch (std::bad_alloc const&) {
        }
        tests::fail_allocation(0);
        auto const accepted = static_cast<std::ptrdiff_t>(map.stats().accepted);
        CHECK(map.size() == static_cast<std::size_t>(accepted));
        CHECK((accepted == 60) == succeeded);
        map.flush();
        CHECK(seen == std::map<std::string, std::string>(pairs.begin(), pairs.begin() + accepted));
    }
}

TEST_CASE("hash map memory: whichever allocation of a drain fails, each entry has one outcome") {
    auto const clock = tidefall::make_manual_runtime();
    bool const tables = GENERATE(false, true);
    auto const live = allocated().live_bytes;
    bool succeeded = false;
    for (std::uint64_t n = 1; !succeeded; ++n) {
        std::size_t delivered = 0;
        std::size_t returned = 0;
        {
            auto const undelivered = [&](std::span<texts::value_type> rest, tidefall::failure const&) {
                returned += rest.size();
            };
            auto const run = [&](texts& map) {
                fill(map, 300);
                tests::fail_allocation(n);
                clock->advance(5s);
                tests::fail_allocation(0);
                CHECK(delivered + returned == 300);
                CHECK(map.stats().processed == delivered);
                CHECK(map.stats().failed == returned);
                succeeded = delivered == 300;
                map.put("next", "value");
                map.flush();
                CHECK(map.stats().processed == delivered);
            };
            tidefall::options const how{.partitions = 1, .processing_batch_size = 100, .runtime = clock};
            if (tables) {
                texts map(
                    how, [&](texts::table_type const& table) { delivered += table.size(); }, undelivered);
                run(map);
            } else {
                texts map(
                    how, [&](std::span<texts::value_type> batch) { delivered += batch.size(); }, undelivered);
                run(map);
            }
        }
        CHECK(allocated().live_bytes == live);
    }
}

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
