// SPDX-License-Identifier: MIT
//
// put_all and put_all_newer.
#include "../support/catch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

using tests::recorder;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::partition_by;
using tidefall::partition_key;

namespace {

tidefall::options with(std::shared_ptr<tidefall::manual_runtime> clock, std::size_t partitions = 1) {
    return {.partitions = partitions, .processing_batch_size = 10, .runtime = std::move(clock)};
}

struct named_pair {
    int value;
    std::string key;
};
struct named_triple {
    std::uint64_t version;
    std::string key;
    int value;
};
struct first_second {
    std::string a;
    int b;
};
struct three_members {
    std::string a;
    int b;
    unsigned c;
};

std::map<std::string, int> delivered_by(recorder<entry<std::string, int>> const& seen) {
    std::map<std::string, int> all;
    for (auto const& one : seen.values()) all.emplace(one.key, one.value);
    return all;
}

}  // namespace

TEST_CASE("hash map: put_all takes maps, pairs, tuples and structs") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<std::string, int>> const seen;
    hash_map<std::string, int> map(with(clock), seen);
    std::map<std::string, int> const expected{{"one", 1}, {"two", 2}};
    SECTION("a map") {
        CHECK(map.put_all(expected) == 2);
    }
    SECTION("an rvalue map") {
        CHECK(map.put_all(std::map(expected)) == 2);
    }
    SECTION("an unordered map") {
        CHECK(map.put_all(std::unordered_map<std::string, int>{{"one", 1}, {"two", 2}}) == 2);
    }
    SECTION("pairs of what converts") {
        CHECK(map.put_all(std::vector<std::pair<char const*, short>>{{"one", short{1}}, {"two", short{2}}}) == 2);
    }
    SECTION("tuples") {
        CHECK(map.put_all(std::vector<std::tuple<std::string, int>>{{"one", 1}, {"two", 2}}) == 2);
    }
    SECTION("structs with key and value, in any order") {
        std::vector<named_pair> const pairs{{1, "one"}, {2, "two"}};
        CHECK(map.put_all(pairs) == 2);
    }
    SECTION("structs of two members") {
        std::vector<first_second> pairs{{"one", 1}, {"two", 2}};
        CHECK(map.put_all(pairs) == 2);
        CHECK(pairs[0].a == "one");
    }
    SECTION("entries") {
        std::vector<entry<std::string, int>> const entries{{.key = "one", .value = 1, .version = 7, .updates = 3},
                                                           {.key = "two", .value = 2, .version = 7, .updates = 3}};
        CHECK(map.put_all(entries) == 2);
    }
    SECTION("an array") {
        std::pair<std::string, int> const pairs[]{{"one", 1}, {"two", 2}};
        CHECK(map.put_all(pairs) == 2);
    }
    SECTION("tuples of references") {
        std::string const one = "one";
        std::string two = "two";
        std::vector<std::tuple<std::string const&, int>> const a{{one, 1}};
        std::vector<std::tuple<std::string&, int>> b{{two, 2}};
        CHECK(map.put_all(a) == 1);
        CHECK(map.put_all(std::move(b)) == 1);
        CHECK(two == "two");
    }
    SECTION("the last of equal keys wins") {
        CHECK(map.put_all(std::vector<std::pair<std::string, int>>{{"one", 7}, {"two", 2}, {"one", 1}}) == 3);
        CHECK(map.stats().coalesced == 1);
    }
    CHECK(map.put_all(std::vector<std::pair<std::string, int>>()) == 0);
    map.flush();
    CHECK(delivered_by(seen) == expected);
    for (auto const& one : seen.values()) CHECK(one.version == 0);
}

TEST_CASE("hash map: put_all_newer takes tuples, structs by name, entries, and structs of three members") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<std::string, int>> const seen;
    hash_map<std::string, int> map(with(clock), seen);
    map.put_newer("stale", 0, 100);
    SECTION("tuples") {
        std::vector<std::tuple<std::string, int, int>> const triples{{"stale", 9, 4}, {"one", 1, 4}, {"two", 2, 4}};
        CHECK(map.put_all_newer(triples) == 2);
    }
    SECTION("structs with key, value and version") {
        CHECK(map.put_all_newer(std::vector<named_triple>{{4, "one", 1}, {4, "stale", 9}, {4, "two", 2}}) == 2);
    }
    SECTION("entries") {
        std::vector<entry<std::string, int>> const entries{{.key = "one", .value = 1, .version = 4, .updates = 9},
                                                           {.key = "two", .value = 2, .version = 4, .updates = 9},
                                                           {.key = "stale", .value = 9, .version = 4, .updates = 9}};
        CHECK(map.put_all_newer(entries) == 2);
        CHECK(entries[0].key == "one");
    }
    SECTION("structs of three members") {
        std::vector<three_members> triples{{"one", 1, 4}, {"two", 2, 4}, {"stale", 9, 4}};
        CHECK(map.put_all_newer(triples) == 2);
        CHECK(triples[0].a == "one");
        CHECK(map.put_all_newer(std::move(triples)) == 0);
        CHECK(triples[0].a == "one");  // NOLINT(bugprone-use-after-move): stale is untouched
        CHECK(map.stats().refused == 4);
    }
    CHECK(map.stats().refused >= 1);
    CHECK(map.stats().coalesced == 0);
    map.flush();
    CHECK(delivered_by(seen) == std::map<std::string, int>{{"one", 1}, {"two", 2}, {"stale", 0}});
    for (auto const& one : seen.values()) {
        CHECK(one.version == (one.key == "stale" ? 100U : 4U));
        CHECK(one.updates == 0);
    }
}

TEST_CASE("hash map: a bulk write copies from lvalues and views, and moves from containers of its own") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<char const*> keys;
    std::vector<char const*> values;
    hash_map<std::string, std::string> map(with(clock), [&](std::span<entry<std::string, std::string>> batch) {
        for (auto const& one : batch) {
            keys.push_back(one.key.data());
            values.push_back(one.value.data());
        }
    });
    std::vector<std::pair<std::string, std::string>> source{{std::string(50, 'k'), std::string(50, 'v')}};
    auto const before = source;
    map.put_all(source);
    map.put_all(std::as_const(source));
    map.put_all(std::span(source));
    CHECK(source == before);
    map.erase(source[0].first);
    char const* const key = source[0].first.data();
    char const* const value = source[0].second.data();
    SECTION("pairs") {
        map.put_all(std::move(source));
    }
    SECTION("versions too") {
        std::vector<std::tuple<std::string, std::string, int>> triples;
        triples.emplace_back(std::move(source[0].first), std::move(source[0].second), 1);
        map.put_all_newer(triples);
        CHECK(std::get<0>(triples[0]) == before[0].first);
        map.erase(before[0].first);
        map.put_all_newer(std::move(triples));
    }
    SECTION("from a map the values, since its keys are constant") {
        std::map<std::string, std::string> pairs;
        pairs.emplace(std::move(source[0].first), std::move(source[0].second));
        map.put_all(std::move(pairs));
        map.flush();
        REQUIRE(values.size() == 1);
        CHECK(values[0] == value);
        return;
    }
    map.flush();
    REQUIRE(keys.size() == 1);
    CHECK(keys[0] == key);
    CHECK(values[0] == value);
}

TEST_CASE("hash map: move-only values go in from a container that is given away") {
    auto const clock = tidefall::make_manual_runtime();
    int sum = 0;
    hash_map<int, std::unique_ptr<int>> map(with(clock), [&](std::span<entry<int, std::unique_ptr<int>>> batch) {
        for (auto const& one : batch) sum += *one.value;
    });
    std::vector<std::pair<int, std::unique_ptr<int>>> pairs;
    std::unordered_map<int, std::unique_ptr<int>> unordered;
    std::deque<std::tuple<int, std::unique_ptr<int>, int>> triples;
    for (int i = 1; i <= 10; ++i) {
        pairs.emplace_back(i, std::make_unique<int>(i));
        unordered.emplace(10 + i, std::make_unique<int>(i));
        triples.emplace_back(20 + i, std::make_unique<int>(i), 1);
    }
    CHECK(map.put_all(std::move(pairs)) == 10);
    CHECK(map.put_all(std::move(unordered)) == 10);
    CHECK(map.put_all_newer(std::move(triples)) == 10);
    map.flush();
    CHECK(sum == 165);
}

TEST_CASE("hash map: partition_by takes a function of the pair or of the key, or a member") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<std::string, int> map(with(clock, 16), [](std::span<entry<std::string, int>>) {});
    std::vector<named_triple> items;
    for (int i = 0; i < 50; ++i) items.push_back({1, std::to_string(i), i % 4});
    auto const by_value = [](named_triple const& one) { return one.value; };
    auto const by_key = [](std::string const& key) { return key.size(); };
    auto const by_text = [](std::string const& key) { return std::string(40, key[0]); };
    SECTION("the pair") {
        CHECK(map.put_all(items, partition_by{by_value}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{one.value}));
    }
    SECTION("the pair, with versions") {
        CHECK(map.put_all_newer(items, partition_by{by_value}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{one.value}));
    }
    SECTION("a member") {
        CHECK(map.put_all_newer(std::vector(items), partition_by{&named_triple::value}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{one.value}));
    }
    SECTION("the key") {
        CHECK(map.put_all(std::vector(items), partition_by{by_key}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{one.key.size()}));
    }
    SECTION("the key, by something large that is not kept") {
        CHECK(map.put_all_newer(std::vector(items), partition_by{by_text}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{std::string(40, one.key[0])}));
    }
    SECTION("one place for all") {
        CHECK(map.put_all(items, partition_key{"place"}) == 50);
        for (auto const& one : items) CHECK(map.contains(one.key, partition_key{"place"}));
    }
    CHECK(map.size() == 50);
}

namespace {

/// Pairs of which reading the n-th stops the map.
template <typename Map>
struct stopping_range {
    Map& map;
    std::vector<std::pair<std::string, std::string>>& pairs;
    std::size_t stops_at;

    struct iterator {
        using value_type = std::pair<std::string, std::string>;
        using difference_type = std::ptrdiff_t;
        stopping_range const* of = nullptr;
        std::size_t index = 0;
        value_type& operator*() const {
            if (index == of->stops_at) of->map.stop();
            return of->pairs[index];
        }
        iterator& operator++() {
            ++index;
            return *this;
        }
        void operator++(int) { ++index; }
        friend bool operator==(iterator const& a, iterator const& b) { return a.index == b.index; }
    };
    iterator begin() const { return {this, 0}; }
    iterator end() const { return {this, pairs.size()}; }
};

}  // namespace

TEST_CASE("hash map: a bulk write ends at the first that is answered stopped, and leaves the rest untouched") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<std::string, std::string>> const seen;
    using map_type = hash_map<std::string, std::string>;
    map_type map(with(clock), seen);
    std::vector<std::pair<std::string, std::string>> pairs;
    for (int i = 0; i < 10; ++i) pairs.emplace_back(std::string(50, 'k') + std::to_string(i), std::string(50, 'v'));
    auto const before = pairs;
    // A type of the user's that owns what it refers to, so that its items are moved from.
    CHECK(map.put_all(stopping_range<map_type>{map, pairs, 4}) == 4);
    for (std::size_t i = 0; i < 4; ++i) CHECK(pairs[i].second.empty());
    for (std::size_t i = 4; i < 10; ++i) CHECK(pairs[i] == before[i]);
    CHECK(seen.values().size() == 4);
    CHECK(map.stats().refused == 1);
    CHECK(map.stats().accepted == 4);
    CHECK(map.put_all(std::vector(before)) == 0);
    auto copy = before;
    CHECK(map.put_all(std::move(copy)) == 0);
    CHECK(copy == before);  // NOLINT(bugprone-use-after-move)
    CHECK(map.stats().refused == 3);
}
