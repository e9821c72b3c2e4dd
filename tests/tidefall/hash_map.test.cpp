// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::recorder;
using tests::returns;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::partition_key;
using tidefall::write_status;

namespace {

tidefall::options with(std::shared_ptr<tidefall::manual_runtime> clock, std::size_t partitions = 1,
                       std::size_t batch = 10) {
    return {.partitions = partitions, .processing_batch_size = batch, .runtime = std::move(clock)};
}

constexpr std::size_t all_at_once = std::numeric_limits<std::size_t>::max();

/// Entries by their keys; false if a key is there twice.
template <typename K, typename V>
bool by_key(std::map<K, entry<K, V>>& into, std::vector<entry<K, V>> entries) {
    for (auto& one : entries) {
        auto key = one.key;
        if (!into.emplace(std::move(key), std::move(one)).second) return false;
    }
    return true;
}

}  // namespace

// ---- against a model

namespace {

template <typename K>
K key_of(std::uint64_t number);
template <>
int key_of(std::uint64_t number) {
    return static_cast<int>(number);
}
template <>
std::string key_of(std::uint64_t number) {
    return "the key of the number " + std::to_string(number);
}

/// What a hash map is to hold, deliver and count, with a std::map for its tables.
template <typename K>
class model {
public:
    struct held {
        std::string value;
        std::uint64_t version = 0;
        std::uint64_t updates = 0;
        friend bool operator==(held const&, held const&) = default;
    };

    write_status put(K const& key, std::string value) {
        write(key);
        entries[key] = {std::move(value), 0, 0};
        return write_status::accepted;
    }
    write_status put_newer(K const& key, std::string value, std::uint64_t version) {
        auto const at = entries.find(key);
        if (at == entries.end()) {
            write(key);
            entries[key] = {std::move(value), version, 0};
        } else if (version > at->second.version) {
            write(key);
            at->second = {std::move(value), version, at->second.updates + 1};
        } else {
            ++counts.refused;
            return write_status::stale;
        }
        return write_status::accepted;
    }
    write_status update(K const& key, std::string const& first, std::string const& added) {
        write(key);
        auto const at = entries.try_emplace(key, held{first, 0, 0}).first;
        at->second.value += added;
        return write_status::accepted;
    }
    bool erase(K const& key) {
        auto const erased = entries.erase(key) > 0;
        counts.erased += erased ? 1 : 0;
        return erased;
    }
    void drained(std::uint64_t failed) {
        counts.processed += entries.size() - failed;
        counts.failed += failed;
        entries.clear();
    }

    std::map<K, held> entries;
    tidefall::buffer_stats counts;

private:
    void write(K const& key) {
        ++counts.accepted;
        counts.coalesced += entries.contains(key) ? 1 : 0;
    }
};

/// Checks the law of conservation, and every counter that the model has too.
template <typename Map, typename Model>
void check_stats(Map const& map, Model const& expected) {
    auto stats = map.stats();
    REQUIRE(stats.accepted == stats.processed + stats.failed + stats.dropped + stats.coalesced + stats.erased +
                                  stats.pending + stats.in_flight);
    auto counts = expected.counts;
    counts.pending = expected.entries.size();
    stats.ticks = 0;
    REQUIRE((stats == counts));
    REQUIRE(map.size() == expected.entries.size());
}

template <typename K>
void run_model(std::uint64_t seed, std::uint64_t keys, int steps, std::size_t partitions, bool tagged,
               std::size_t batch) {
    INFO("seed " << seed << ", keys " << keys << ", partitions " << partitions << ", tagged " << tagged << ", batch "
                 << batch);
    auto const clock = tidefall::make_manual_runtime();
    std::mt19937_64 random(seed);
    std::vector<entry<K, std::string>> delivered;
    std::uint64_t failed = 0;
    bool fails = false;
    hash_map<K, std::string> map(
        with(clock, partitions, batch),
        [&](std::span<entry<K, std::string>> entries) {
            if (fails && random() % 3 == 0) throw failed += entries.size();
            for (auto& one : entries) delivered.push_back(std::move(one));
        },
        [&](std::span<entry<K, std::string>> entries, tidefall::failure const& why) {
            CHECK(why.reason == tidefall::failure_reason::exception);
            for (auto& one : entries) delivered.push_back(std::move(one));
        });
    model<K> expected;

    // Every call on a key goes by the same tag, which is not the key.
    auto const route = [&](std::uint64_t number, auto&& call) {
        if (tagged) return call(partition_key{number / 3});
        return call();
    };
    auto const drain = [&] {
        fails = random() % 4 == 0;
        failed = 0;
        delivered.clear();
        if (random() % 2 == 0) {
            clock->advance(5s);
        } else {
            auto const report = map.flush();
            CHECK(report.complete);
            CHECK(report.processed == expected.entries.size() - failed);
            CHECK(report.failed == failed);
        }
        std::map<K, typename model<K>::held> seen;
        for (auto& one : delivered) {
            CHECK(seen.emplace(one.key, typename model<K>::held{one.value, one.version, one.updates}).second);
        }
        CHECK((seen == expected.entries));
        expected.drained(failed);
    };

    for (int step = 0; step < steps; ++step) {
        auto const number = random() % keys;
        auto const key = key_of<K>(number);
        auto const value = "a value, made in step " + std::to_string(step);
        auto status = write_status::accepted;
        auto answer = write_status::accepted;
        switch (random() % 16) {
            case 0:
                answer = expected.put(key, value);
                status = route(number, [&](auto const&... tag) { return map.put(key, value, tag...); });
                break;
            case 1: {
                auto moved_key = key;
                auto moved = value;
                answer = expected.put(key, value);
                status = route(number, [&](auto const&... tag) {
                    return map.put(std::move(moved_key), std::move(moved), tag...);
                });
                break;
            }
            case 2:
            case 3: {
                auto const version = random() % 8;
                answer = expected.put_newer(key, value, version);
                status = route(number, [&](auto const&... tag) { return map.put_newer(key, value, version, tag...); });
                break;
            }
            case 4: {
                auto const drawn = tidefall::detail::next_version();
                answer = expected.put_newer(key, value, drawn + 1);
                status = route(number, [&](auto const&... tag) { return map.put_newer(key, value, tag...); });
                break;
            }
            case 5:
                answer = expected.update(key, "", "+");
                status = route(number, [&](auto const&... tag) {
                    return map.update(
                        key, [](std::string& held) { held += '+'; }, tag...);
                });
                break;
            case 6:
                answer = expected.update(key, value, "-");
                status = route(number, [&](auto const&... tag) {
                    return map.update(
                        key, value, [](std::string& held) { held += '-'; }, tag...);
                });
                break;
            case 7:
            case 8: {
                auto const there = expected.erase(key);
                CHECK(route(number, [&](auto const&... tag) { return map.erase(key, tag...); }) == there);
                break;
            }
            case 9: {
                std::vector<std::pair<K, std::string>> pairs;
                for (auto count = random() % 30; count > 0; --count) {
                    auto const group = tagged ? number / 3 * 3 : random() % keys;
                    pairs.emplace_back(key_of<K>(group), value + std::to_string(count));
                    expected.put(pairs.back().first, pairs.back().second);
                }
                auto const size = pairs.size();
                CHECK(route(number, [&](auto const&... tag) {
                          return random() % 2 == 0 ? map.put_all(pairs, tag...) : map.put_all(std::move(pairs), tag...);
                      }) == size);
                break;
            }
            case 10: {
                std::vector<std::tuple<K, std::string, std::uint64_t>> triples;
                std::size_t accepted = 0;
                for (auto count = random() % 30; count > 0; --count) {
                    auto const group = tagged ? number / 3 * 3 : random() % keys;
                    triples.emplace_back(key_of<K>(group), value + std::to_string(count), random() % 8);
                    auto const& [k, v, version] = triples.back();
                    accepted += expected.put_newer(k, v, version) == write_status::accepted ? 1U : 0U;
                }
                CHECK(route(number, [&](auto const&... tag) {
                          return random() % 2 == 0 ? map.put_all_newer(triples, tag...)
                                                   : map.put_all_newer(std::move(triples), tag...);
                      }) == accepted);
                break;
            }
            case 11:
                if (random() % 10 == 0) drain();
                break;
            default: {
                auto const at = expected.entries.find(key);
                auto const there = at != expected.entries.end();
                auto const found = route(number, [&](auto const&... tag) { return map.get(key, tag...); });
                CHECK(found == (there ? std::optional(at->second.value) : std::nullopt));
                CHECK(route(number, [&](auto const&... tag) { return map.contains(key, tag...); }) == there);
                CHECK(route(number, [&](auto const&... tag) { return map.get_or(key, "none", tag...); }) ==
                      (there ? at->second.value : "none"));
            }
        }
        CHECK(status == answer);
        check_stats(map, expected);
    }
    drain();
    check_stats(map, expected);
    // The last drain is like any other.
    expected.put(key_of<K>(1), "last");
    CHECK(route(1, [&](auto const&... tag) { return map.put(key_of<K>(1), "last", tag...); }) ==
          write_status::accepted);
    delivered.clear();
    fails = false;
    CHECK(map.stop().processed == 1);
    expected.drained(0);
    check_stats(map, expected);
    REQUIRE(delivered.size() == 1);
    CHECK(delivered[0].value == "last");
}

}  // namespace

TEMPLATE_TEST_CASE("hash map: any sequence of calls answers, delivers and counts as a model does", "", int,
                   std::string) {
    auto const seed = tests::seed();
    bool const tagged = GENERATE(false, true);
    run_model<TestType>(seed, 5, 1'500, 1, tagged, 10);
    run_model<TestType>(seed + 1, 60, 1'500, 3, tagged, 7);
    run_model<TestType>(seed + 2, 1'000'000, 1'500, 4, tagged, 512);
    run_model<TestType>(seed + 3, 1'000, 1'500, 2, tagged, all_at_once);
}

TEST_CASE("hash map: two ticks of one key deliver it twice, each with what was written before the tick") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<std::string, int>> const seen;
    hash_map<std::string, int> map(with(clock), seen);
    for (int tick = 0; tick < 3; ++tick) {
        for (int i = 0; i <= tick; ++i) map.update("sum", [](int& sum) { sum += 10; });
        clock->advance(4s);
        CHECK(map.get("sum") == 10 * (tick + 1));
        clock->advance(1s);
        CHECK(!map.get("sum"));
    }
    std::vector<int> values;
    for (auto const& one : seen.values()) values.push_back(one.value);
    CHECK(values == std::vector<int>{10, 20, 30});
}

TEST_CASE("hash map: braces make keys and values") {
    auto const clock = tidefall::make_manual_runtime();
    using pair = std::pair<int, int>;
    struct pair_hash {
        std::size_t operator()(pair const& of) const { return static_cast<std::size_t>(of.first * 31 + of.second); }
    };
    hash_map<pair, std::vector<int>, pair_hash> map(with(clock), [](std::span<entry<pair, std::vector<int>>>) {});
    CHECK(map.put({1, 2}, {3, 4, 5}) == write_status::accepted);
    CHECK(map.put_newer({1, 2}, {6}, 7) == write_status::accepted);
    CHECK(map.get({1, 2}) == std::vector<int>{6});
    CHECK(map.get_or({1, 3}, {1}) == std::vector<int>{1});
    CHECK(map.contains({1, 2}));
    CHECK(map.update({1, 2}, [](std::vector<int>& v) { v.push_back(8); }) == write_status::accepted);
    CHECK(map.update({2, 2}, {1, 2}, [](std::vector<int>& v) { v.push_back(8); }) == write_status::accepted);
    CHECK(map.get({2, 2}) == std::vector<int>{1, 2, 8});
    CHECK(map.erase({1, 2}));
}

// ---- versions

TEST_CASE("hash map: put_newer takes what is newer, and counts how often") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, std::string>> const seen;
    hash_map<int, std::string> map(with(clock), seen);
    CHECK(map.put_newer(1, "a", 5) == write_status::accepted);
    CHECK(map.put_newer(1, "b", 5) == write_status::stale);
    CHECK(map.put_newer(1, "c", 4) == write_status::stale);
    CHECK(map.put_newer(1, "c", 0) == write_status::stale);
    CHECK(map.get(1) == "a");
    CHECK(map.put_newer(1, "d", 6) == write_status::accepted);
    CHECK(map.put_newer(1, "e", std::numeric_limits<std::uint64_t>::max()) == write_status::accepted);
    CHECK(map.put_newer(1, "f", std::numeric_limits<std::uint64_t>::max()) == write_status::stale);
    CHECK(map.stats().refused == 4);
    CHECK(map.stats().coalesced == 2);
    map.flush();
    REQUIRE(seen.values().size() == 1);
    auto const one = seen.values()[0];
    CHECK(one.value == "e");
    CHECK(one.version == std::numeric_limits<std::uint64_t>::max());
    CHECK(one.updates == 2);
    // The next tick knows nothing of this one.
    CHECK(map.put_newer(1, "g", 0) == write_status::accepted);
    map.flush();
    CHECK(seen.values()[1].version == 0);
    CHECK(seen.values()[1].updates == 0);
}

TEST_CASE("hash map: put resets version and updates, update keeps both") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, int>> const seen;
    hash_map<int, int> map(with(clock), seen);
    map.put_newer(1, 10, 7);
    map.put_newer(1, 11, 8);
    map.update(1, [](int& v) { v += 100; });
    map.update(1, 5, [](int& v) { v += 100; });
    map.put_newer(2, 10, 7);
    map.put_newer(2, 11, 8);
    map.put(2, 12);
    map.put_newer(3, 10, 7);
    map.put_newer(3, 11, 8);
    map.put(3, 12);
    CHECK(map.put_newer(3, 13, 0) == write_status::stale);
    CHECK(map.put_newer(3, 14, 1) == write_status::accepted);
    map.update(4, [](int& v) { v += 1; });
    map.update(5, 50, [](int& v) { v += 1; });
    CHECK(map.put_newer(5, 0, 0) == write_status::stale);
    map.flush();
    std::map<int, entry<int, int>> all;
    REQUIRE(by_key(all, seen.values()));
    auto const is = [&](int key, int value, std::uint64_t version, std::uint64_t updates) {
        auto const& one = all.at(key);
        return one.value == value && one.version == version && one.updates == updates;
    };
    CHECK(is(1, 211, 8, 1));
    CHECK(is(2, 12, 0, 0));
    CHECK(is(3, 14, 1, 1));
    CHECK(is(4, 1, 0, 0));
    CHECK(is(5, 51, 0, 0));
}

TEST_CASE("hash map: automatic versions strictly increase, over keys and maps") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, int>> const seen;
    recorder<entry<int, int, std::int64_t>> const signed_seen;
    hash_map<int, int> map(with(clock), seen);
    hash_map<int, int, std::hash<int>, std::equal_to<int>, std::int64_t> signed_map(with(clock), signed_seen);
    std::uint64_t last = 0;
    for (int i = 0; i < 50; ++i) {
        CHECK(map.put_newer(i % 3, i) == write_status::accepted);
        CHECK(map.put_newer(i % 3, i, partition_key{i % 3}) == write_status::accepted);
        map.flush();
        CHECK(signed_map.put_newer(1, i) == write_status::accepted);
        signed_map.flush();
        for (auto const& one : seen.batches().back()) {
            CHECK(one.version > last);
            last = one.version;
        }
        CHECK(signed_seen.values().back().version > static_cast<std::int64_t>(last));
        last = static_cast<std::uint64_t>(signed_seen.values().back().version);
    }
}

// ---- table mode and batches

TEST_CASE("hash map: table mode hands over one table of all stripes, to keep") {
    auto const clock = tidefall::make_manual_runtime();
    using table = tidefall::hash_map_table<std::string, std::unique_ptr<int>>;
    std::vector<table> kept;
    auto const count = GENERATE(1, 31, 500, 5'000);
    {
        hash_map<std::string, std::unique_ptr<int>> map(with(clock, 2, 7),
                                                        [&](table drained) { kept.push_back(std::move(drained)); });
        for (int i = 0; i < count; ++i) {
            map.put("a key of some length " + std::to_string(i), std::make_unique<int>(i));
        }
        map.flush();
        CHECK(map.stats().processed == static_cast<std::uint64_t>(count));
        CHECK(kept.size() <= 2);
        map.put("later", std::make_unique<int>(-1));
    }
    std::size_t total = 0;
    std::set<int> seen;
    for (auto& one : kept) {
        total += one.size();
        CHECK(!one.empty());
        for (auto const& each : std::as_const(one)) {
            seen.insert(*each.value);
            CHECK(one.find(each.key)->value == each.value);
            CHECK(std::as_const(one).find(each.key)->key == each.key);
        }
        for (auto& each : one) each.updates = 7;
        CHECK(std::all_of(one.begin(), one.end(), [](auto const& each) { return each.updates == 7; }));
        CHECK(std::distance(one.begin(), one.end()) == static_cast<std::ptrdiff_t>(one.size()));
        CHECK(one.find("not there") == one.end());
        CHECK(std::as_const(one).find("not there") == std::as_const(one).end());
        table const moved(std::move(one));
        CHECK(moved.begin() != moved.end());
    }
    CHECK(total == static_cast<std::size_t>(count) + 1);
    CHECK(seen.size() == static_cast<std::size_t>(count) + 1);
    CHECK(*seen.rbegin() == count - 1);
}

TEST_CASE("hash map: a processor in table mode that throws loses its table, and the next one comes") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    hash_map<int, std::string> map(with(clock), [&](tidefall::hash_map_table<int, std::string> const& table) {
        if (++calls == 1) throw std::runtime_error("no");
        CHECK(table.size() == 100);
    });
    for (int tick = 0; tick < 2; ++tick) {
        for (int i = 0; i < 100; ++i) map.put(i, "value");
        map.flush();
    }
    CHECK(map.stats().failed == 100);
    CHECK(map.stats().processed == 100);
}

TEST_CASE("hash map: batches are gathered over stripes, each full but the last") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{1}, 7, 512, all_at_once);
    auto const count = GENERATE(1, 6, 7, 8, 513, 1'024, 3'000);
    recorder<entry<int, int>> const small;
    recorder<entry<std::string, std::string>> const large;
    hash_map<int, int> ints(with(clock, 1, batch), small);
    hash_map<std::string, std::string> strings(with(clock, 1, batch), large);
    for (int i = 0; i < count; ++i) {
        ints.put(i, i);
        strings.put(std::to_string(i), std::string(40, 'x'));
    }
    clock->advance(5s);
    auto const n = static_cast<std::size_t>(count);
    std::vector<std::size_t> expected(n / batch, batch);
    if (n % batch != 0) expected.push_back(n % batch);
    CHECK(small.sizes() == expected);
    CHECK(large.sizes() == expected);
    std::set<int> keys;
    for (auto const& one : small.values()) keys.insert(one.key);
    CHECK(keys.size() == n);
    CHECK(*keys.begin() == 0);
    CHECK(*keys.rbegin() == count - 1);
}

TEST_CASE("hash map: a threshold counts the entries of all stripes, less those that were erased") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, int>> const seen;
    hash_map<int, int> map({.partitions = 1, .processing_batch_size = 1'000, .drain_threshold = 100, .runtime = clock},
                           seen);
    for (int i = 0; i < 99; ++i) map.put(i, i);
    for (int i = 0; i < 99; ++i) map.put(i, i);
    clock->advance(0s);
    CHECK(map.size() == 99);
    for (int i = 0; i < 50; ++i) map.erase(i);
    for (int i = 1'000; i < 1'050; ++i) map.put(i, i);
    clock->advance(0s);
    CHECK(map.size() == 99);
    map.update(2'000, [](int&) {});
    clock->advance(0s);
    CHECK(map.size() == 0);
    CHECK(seen.sizes() == std::vector<std::size_t>{100});
}

// ---- after stop

TEST_CASE("hash map: after stop nothing is found and nothing is taken") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, std::string>> const seen;
    hash_map<int, std::string> map(with(clock, 2), seen);
    for (int i = 0; i < 100; ++i) map.put(i, "value");
    CHECK(map.erase(5));
    auto const report = map.stop();
    CHECK(report.processed == 99);
    CHECK(report.complete);
    CHECK(seen.values().size() == 99);
    CHECK(!map.get(1));
    CHECK(map.get_or(1, "none") == "none");
    CHECK(!map.contains(1));
    CHECK(!map.erase(1));
    CHECK(map.size() == 0);
    CHECK(map.put(1, "x") == write_status::stopped);
    CHECK(map.put_newer(1, "x") == write_status::stopped);
    CHECK(map.put_newer(1, "x", 1) == write_status::stopped);
    bool ran = false;
    CHECK(map.update(1, [&](std::string&) { ran = true; }) == write_status::stopped);
    CHECK(!ran);
    CHECK(map.put_all(std::vector<std::pair<int, std::string>>{{1, "x"}, {2, "y"}}) == 0);
    auto const stats = map.stats();
    CHECK(stats.accepted == 100);
    CHECK(stats.erased == 1);
    CHECK(stats.refused == 5);
    CHECK(stats.pending == 0);
}

TEST_CASE("hash map: a stop at once drops the entries that wait, and hands each back once") {
    auto const clock = tidefall::make_manual_runtime();
    returns<entry<int, std::string>> const returned;
    int calls = 0;
    hash_map<int, std::string> map(
        with(clock, 2), [&](std::span<entry<int, std::string>>) { ++calls; }, returned);
    for (int i = 0; i < 100; ++i) map.put(i, std::string(40, 'v'));
    for (int i = 0; i < 100; ++i) map.put(i, std::string(40, 'w'));
    auto const report = map.stop(0s);
    CHECK(report.dropped == 100);
    CHECK(!report.complete);
    CHECK(calls == 0);
    std::set<int> keys;
    for (auto const& one : returned.values()) {
        keys.insert(one.key);
        CHECK(one.value == std::string(40, 'w'));
    }
    CHECK(keys.size() == 100);
    CHECK(returned.values().size() == 100);
    auto const stats = map.stats();
    CHECK(stats.accepted == stats.dropped + stats.coalesced);
}

TEST_CASE("hash map: a partition whose entries were all erased makes no tick, and its next write does") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, int>> const seen;
    hash_map<int, int> map(with(clock), seen);
    for (int i = 0; i < 50; ++i) map.put(i, i);
    for (int i = 0; i < 50; ++i) CHECK(map.erase(i));
    clock->advance(5s);
    CHECK(map.stats().ticks == 0);
    CHECK(seen.batches().empty());
    map.put(1, 1);
    clock->advance(5s);
    CHECK(map.stats().ticks == 1);
    CHECK(seen.values().size() == 1);
}

// ---- what waits, by hand

namespace {

using text_map = hash_map<std::string, int, tidefall::string_hash, std::equal_to<>>;

}  // namespace

TEST_CASE("hash map: a transparent map takes literals, arrays and views, and makes a key of a new one alone") {
    auto const clock = tidefall::make_manual_runtime();
    text_map map(with(clock), [](std::span<entry<std::string, int>>) {});
    char name[] = "w";
    std::string_view const view = "a name that is longer than any small string has room for";
    CHECK(map.put("x", 1) == write_status::accepted);
    CHECK(map.put_newer("x", 2, 7) == write_status::accepted);
    CHECK(map.update("x", [](int& held) { ++held; }) == write_status::accepted);
    CHECK(map.put(name, 4) == write_status::accepted);
    CHECK(map.put(view, 5) == write_status::accepted);
    CHECK(map.put(std::string("x"), 6) == write_status::accepted);
    CHECK(map.get("x") == 6);
    CHECK(map.get(name) == 4);
    CHECK(map.contains(view));
    CHECK(map.size() == 3);
    CHECK(map.erase("w"));
    CHECK(tidefall::string_hash{}("x") == tidefall::string_hash{}(std::string("x")));
}

TEST_CASE("hash map: a full transparent map takes what changes a key that it holds, given as an array") {
    auto const clock = tidefall::make_manual_runtime();
    text_map map({.partitions = 1, .capacity = 1, .overflow = tidefall::overflow_policy::reject, .runtime = clock},
                 [](std::span<entry<std::string, int>>) {});
    CHECK(map.put("x", 1) == write_status::accepted);
    CHECK(map.put("y", 1) == write_status::full);
    CHECK(map.put("x", 2) == write_status::accepted);
    CHECK(map.get("x") == 2);
}

TEST_CASE("hash map: visit sees each entry that waits, once, and what it throws ends it") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, std::string> map({.partitions = 3, .runtime = clock}, [](std::span<entry<int, std::string>>) {});
    map.visit([](entry<int, std::string> const&) { FAIL("there is none"); });
    std::set<int> expected;
    for (int i = 0; i < 500; ++i) {
        map.put(i, std::to_string(i));
        expected.insert(i);
    }
    std::multiset<int> seen;
    map.visit([&](entry<int, std::string> const& one) {
        CHECK(one.value == std::to_string(one.key));
        seen.insert(one.key);
    });
    CHECK(std::multiset<int>(expected.begin(), expected.end()) == seen);
    int calls = 0;
    CHECK_THROWS_AS(map.visit([&](auto const&) {
        if (++calls == 3) throw 1;
    }),
                    int);
    CHECK(calls == 3);
    CHECK(map.put(1, "the locks are open") == write_status::accepted);
    map.flush();
    map.visit([](auto const&) { FAIL("it was swapped out"); });
    map.put(1, "x");
    map.stop();
    map.visit([](auto const&) { FAIL("it stopped"); });
}

TEST_CASE("hash map: extract takes an entry out, and counts it as erased") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<int, std::string>> const seen;
    hash_map<int, std::string> map(with(clock), seen);
    map.put_newer(1, "one", 5);
    map.put_newer(1, "two", 6);
    map.put(2, "other");
    auto const out = map.extract(1);
    REQUIRE(out);
    CHECK(out->key == 1);
    CHECK(out->value == "two");
    CHECK(out->version == 6);
    CHECK(out->updates == 1);
    CHECK_FALSE(map.extract(1));
    CHECK_FALSE(map.contains(1));
    map.put(3, "elsewhere", tidefall::partition_key{7});
    CHECK(map.extract(3, tidefall::partition_key{7})->value == "elsewhere");
    CHECK(map.flush().processed == 1);
    CHECK(map.stats().erased == 2);
    map.put(4, "x");
    map.stop();
    CHECK_FALSE(map.extract(4));
    tests::check_conservation(map.stats());
}

TEST_CASE("hash map: partition_of says where a key goes, by itself or by a tag") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, int> map({.partitions = 5, .runtime = clock}, [](std::span<entry<int, int>>) {});
    std::set<std::size_t> all;
    for (int i = 0; i < 200; ++i) {
        auto const its = map.partition_of(i);
        auto const before = map.partition(its).size();
        map.put(i, i);
        CHECK(map.partition(its).size() == before + 1);
        all.insert(its);
    }
    CHECK(all.size() == 5);
    auto const tagged = map.partition_of(1000, tidefall::partition_key{7});
    auto const before = map.partition(tagged).size();
    map.put(1000, 1, tidefall::partition_key{7});
    CHECK(map.partition(tagged).size() == before + 1);
}

TEST_CASE("hash map: beside a stop nothing is found any more") {
    tests::latch entered;
    tests::latch release;
    hash_map<int, int> map({.partitions = 1, .processing_interval = 1h}, [&](std::span<entry<int, int>>) {
        entered.open();
        release.wait();
    });
    map.put(1, 1);
    map.flush(0s);
    entered.wait();
    map.put(2, 2);
    CHECK(map.get(2) == 2);
    std::thread stops([&] { map.stop(1h); });
    while (map.put(3, 3) == write_status::accepted) continue;
    CHECK_FALSE(map.get(2));
    CHECK_FALSE(map.contains(2));
    CHECK_FALSE(map.erase(2));
    release.open();
    stops.join();
    CHECK(map.stats().erased == 0);
}
