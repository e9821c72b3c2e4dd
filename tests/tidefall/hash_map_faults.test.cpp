// SPDX-License-Identifier: MIT
//
// What becomes of the arguments, of a key that is held and of a tick where code of the user throws in a call of a hash
// map. `sweeps` tries what else must hold, at every turn of every call.
#include "../support/catch.hpp"
#include "../support/tracked.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

using tests::alive;
using tests::fault;
using tests::injected;
using tests::site;
using tests::tracked_key;
using tests::tracked_value;
using tests::tracked_version;
using tidefall::write_status;

namespace {

using map_type =
    tidefall::hash_map<tracked_key, tracked_value, tests::tracked_hash, tests::tracked_equal, tracked_version>;

/// Key, value, version, updates.
using row = std::tuple<int, int, int, std::uint64_t>;

/// A map of the keys 0 to 9, each with its own number for value, version 10 and updates 1, and what it delivers.
struct scene {
    std::vector<row> rows;
    map_type map;

    scene()
        : map({.partitions = 1, .processing_batch_size = 1'000, .runtime = tidefall::make_manual_runtime()},
              [this](std::span<map_type::value_type> batch) {
                  for (auto const& one : batch) {
                      rows.emplace_back(one.key.number(), one.value.number(), one.version.number(), one.updates);
                  }
              }) {
        for (int key = 0; key < 10; ++key) {
            map.put_newer(key, -1, 9);
            map.put_newer(key, key, 10);
        }
    }

    std::vector<row> drained() {
        rows.clear();
        map.flush();
        std::sort(rows.begin(), rows.end());
        return rows;
    }
};

std::vector<row> const as_it_was = [] {
    std::vector<row> rows;
    for (int key = 0; key < 10; ++key) rows.emplace_back(key, key, 10, 1);
    return rows;
}();

tracked_key const old_key(3);
tracked_key const new_key(30);
tracked_value const given(7);

}  // namespace

TEST_CASE("hash map faults: an rvalue key is not lost where the equality throws") {
    scene on;
    tracked_key key(30);
    tracked_value value(7);
    fault::arm(site::equal, 2);
    CHECK_THROWS_AS(on.map.put(std::move(key), std::move(value)), injected);
    fault::disarm();
    CHECK(key.number() == 30);
    CHECK(value.number() == 7);
    CHECK(on.map.put(std::move(key), std::move(value)) == write_status::accepted);
}

TEST_CASE("hash map faults: an rvalue value is not lost where the copy of its key throws") {
    scene on;
    tracked_value value(7);
    tracked_version version(3);
    fault::arm(site::copy_key, 1);
    CHECK_THROWS_AS(on.map.put_newer(new_key, std::move(value), std::move(version)), injected);
    fault::disarm();
    CHECK(value.number() == 7);
    CHECK(version.number() == 3);
}

TEST_CASE("hash map faults: an update that throws leaves an old key as it left it, and inserts no new one") {
    auto const alive_before = alive::count.load();
    {
        scene on;
        auto const before = on.map.stats();
        auto const change = [](tracked_value& value) {
            value.set(99);
            throw injected();
        };
        CHECK_THROWS_AS(on.map.update(old_key, change), injected);
        CHECK_THROWS_AS(on.map.update(new_key, change), injected);
        CHECK_THROWS_AS(on.map.update(new_key, given, change), injected);
        CHECK((on.map.stats() == before));
        CHECK(on.map.get(old_key)->number() == 99);
        CHECK(!on.map.contains(new_key));
        auto expected = as_it_was;
        std::get<1>(expected[3]) = 99;
        CHECK(on.drained() == expected);
    }
    CHECK(alive::count.load() == alive_before);
}

TEST_CASE("hash map faults: an update that throws in an empty map sets no tick") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<int, int> map({.partitions = 1, .runtime = clock}, [](std::span<tidefall::entry<int, int>>) {});
    CHECK_THROWS_AS(map.update(1, [](int&) { throw injected(); }), injected);
    clock->advance(std::chrono::seconds(5));
    CHECK(map.stats().ticks == 0);
    CHECK(map.size() == 0);
    CHECK(map.put(1, 1) == write_status::accepted);
    clock->advance(std::chrono::seconds(5));
    CHECK(map.stats().processed == 1);
}

TEST_CASE("hash map faults: a find in a drained table that throws leaves the table") {
    auto const alive_before = alive::count.load();
    {
        std::size_t found = 0;
        tidefall::hash_map<tracked_key, tracked_value, tests::tracked_hash, tests::tracked_equal, tracked_version> map(
            {.partitions = 1, .runtime = tidefall::make_manual_runtime()},
            [&](tidefall::hash_map_table<tracked_key, tracked_value, tests::tracked_hash, tests::tracked_equal,
                                         tracked_version>
                    table) {
                fault::arm(site::equal, 2);
                CHECK_THROWS_AS(table.find(new_key), injected);
                fault::arm(site::hash, 1);
                CHECK_THROWS_AS(table.find(new_key), injected);
                fault::disarm();
                CHECK(table.size() == 20);
                for (int key = 0; key < 20; ++key) found += table.find(key)->value.number() == key ? 1 : 0;
            });
        for (int key = 0; key < 20; ++key) map.put(key, key);
        map.flush();
        CHECK(found == 20);
    }
    CHECK(alive::count.load() == alive_before);
}
