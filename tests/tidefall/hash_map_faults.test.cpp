// SPDX-License-Identifier: MIT
//
// Whatever code of the user throws in a call of a hash map, at whichever of its turns: nothing changed, nothing is
// counted, nothing leaks, and the next write succeeds. `hash_map_memory` does the same with allocations.
#include "../support/catch.hpp"
#include "../support/tracked.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
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

struct call {
    char const* name;
    std::function<void(map_type&)> run;
};

tracked_key const old_key(3);
tracked_key const new_key(30);
tracked_value const given(7);
tracked_version const newer(11);

/// Calls that are single writes, or no writes.
std::vector<call> const calls{
    {"put a new key", [](map_type& map) { map.put(new_key, given); }},
    {"put an old key", [](map_type& map) { map.put(old_key, given); }},
    {"put of what converts", [](map_type& map) { map.put(30, 7); }},
    {"put of what converts, on an old key", [](map_type& map) { map.put(3, 7); }},
    {"put_newer of a new key", [](map_type& map) { map.put_newer(new_key, given, newer); }},
    {"put_newer of an old key", [](map_type& map) { map.put_newer(old_key, given, newer); }},
    {"put_newer of what converts", [](map_type& map) { map.put_newer(3, 7, 11); }},
    {"update a new key", [](map_type& map) { map.update(new_key, [](tracked_value&) { fault::pass(site::change); }); }},
    {"update an old key",
     [](map_type& map) { map.update(old_key, [](tracked_value&) { fault::pass(site::change); }); }},
    {"update a new key from a value",
     [](map_type& map) { map.update(new_key, given, [](tracked_value&) { fault::pass(site::change); }); }},
    {"update an old key from a value",
     [](map_type& map) { map.update(old_key, given, [](tracked_value&) { fault::pass(site::change); }); }},
    {"get", [](map_type& map) { static_cast<void>(map.get(old_key)); }},
    {"get_or", [](map_type& map) { static_cast<void>(map.get_or(new_key, given)); }},
    {"get by what converts", [](map_type& map) { static_cast<void>(map.get(3)); }},
    {"contains", [](map_type& map) { map.contains(old_key); }},
    {"erase", [](map_type& map) { map.erase(old_key); }},
    {"erase by what converts", [](map_type& map) { map.erase(3); }},
};

constexpr site sites[] = {
    site::hash,       site::equal,        site::make_key,     site::copy_key,         site::make_value,
    site::copy_value, site::make_version, site::copy_version, site::compare_versions, site::change,
};

}  // namespace

TEST_CASE("hash map faults: a call that throws changes nothing, and the next one succeeds") {
    auto const alive_before = alive::count;
    std::map<std::string, std::size_t> thrown;
    for (auto const& one : calls) {
        for (auto const where : sites) {
            bool succeeded = false;
            for (std::size_t n = 1; !succeeded; ++n) {
                INFO(one.name << ", site " << static_cast<int>(where) << ", call " << n);
                {
                    scene on;
                    auto const before = on.map.stats();
                    fault::arm(where, n);
                    try {
                        one.run(on.map);
                        succeeded = true;
                        fault::disarm();
                    } catch (injected const&) {
                        fault::disarm();
                        ++thrown[one.name];
                        CHECK((on.map.stats() == before));
                        CHECK(on.map.size() == 10);
                        CHECK(on.map.get(old_key)->number() == 3);
                        CHECK(!on.map.contains(new_key));
                        auto expected = as_it_was;
                        if (n % 2 == 0) {
                            CHECK(on.map.put(40, 1) == write_status::accepted);
                            expected.emplace_back(40, 1, 0, 0);
                        }
                        CHECK(on.drained() == expected);
                        one.run(on.map);
                    }
                }
                CHECK(alive::count == alive_before);
                REQUIRE(n < 100);
            }
        }
    }
    for (auto const& one : calls) {
        INFO(one.name);
        CHECK(thrown[one.name] > 0);
    }
}

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
    auto const alive_before = alive::count;
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
    CHECK(alive::count == alive_before);
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

TEST_CASE("hash map faults: a bulk write that throws keeps the prefix") {
    auto const alive_before = alive::count;
    {
        std::vector<std::pair<tracked_key, tracked_value>> pairs;
        std::vector<std::tuple<tracked_key, tracked_value, tracked_version>> triples;
        for (int i = 0; i < 8; ++i) {
            // Keys that are there and keys that are not, in turn.
            auto const key = i % 2 == 0 ? i : 20 + i;
            pairs.emplace_back(key, 100 + i);
            triples.emplace_back(key, 100 + i, 11);
        }
        bool const versions = GENERATE(false, true);
        for (auto const where : sites) {
            bool succeeded = false;
            for (std::size_t n = 1; !succeeded; ++n) {
                INFO("site " << static_cast<int>(where) << ", call " << n << ", versions " << versions);
                scene on;
                auto const before = on.map.stats();
                fault::arm(where, n);
                try {
                    auto const count = versions ? on.map.put_all_newer(triples) : on.map.put_all(pairs);
                    succeeded = true;
                    CHECK(count == 8);
                } catch (injected const&) {
                }
                fault::disarm();
                auto const after = on.map.stats();
                auto const accepted = after.accepted - before.accepted;
                CHECK(after.refused == before.refused);
                CHECK((succeeded ? accepted == 8 : accepted < 8));
                auto expected = as_it_was;
                for (std::size_t i = 0; i < accepted; ++i) {
                    auto const key = pairs[i].first.number();
                    row const written{key, pairs[i].second.number(), versions ? 11 : 0,
                                      versions && i % 2 == 0 ? 2U : 0U};
                    if (i % 2 == 0) {
                        expected[static_cast<std::size_t>(key)] = written;
                    } else {
                        expected.push_back(written);
                    }
                }
                CHECK(after.coalesced - before.coalesced == (accepted + 1) / 2);
                CHECK(on.map.put(90, 1) == write_status::accepted);
                expected.emplace_back(90, 1, 0, 0);
                std::sort(expected.begin(), expected.end());
                CHECK(on.drained() == expected);
                REQUIRE(n < 1'000);
            }
        }
    }
    CHECK(alive::count == alive_before);
}

TEST_CASE("hash map faults: a function of partition_by that throws keeps the prefix") {
    scene on;
    std::vector<std::pair<int, int>> pairs{{20, 1}, {21, 2}, {22, 3}};
    auto const before = on.map.stats();
    int called = 0;
    auto const by = [&](std::pair<int, int> const&) {
        if (++called == 3) throw injected();
        return 1;
    };
    CHECK_THROWS_AS(on.map.put_all(pairs, tidefall::partition_by{by}), injected);
    CHECK(on.map.stats().accepted == before.accepted + 2);
}

TEST_CASE("hash map faults: a find in a drained table that throws leaves the table") {
    auto const alive_before = alive::count;
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
    CHECK(alive::count == alive_before);
}
