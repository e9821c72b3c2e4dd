// SPDX-License-Identifier: MIT
//
// Hash maps by their keys and values: hashes and equalities of all sorts, types of all sorts, look-up by other types.
#include "../support/catch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::recorder;
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

}  // namespace

// ---- keys

namespace {

std::mt19937_64& chance() {
    static std::mt19937_64 random(tests::seed());
    return random;
}

/// What the test at hand makes of it.
struct any_hash {
    static inline std::size_t (*of)(int) = nullptr;
    std::size_t operator()(int key) const { return of(key); }
};
struct any_equal {
    static inline bool (*of)(int, int) = nullptr;
    bool operator()(int a, int b) const { return of(a, b); }
};

constexpr std::size_t (*hashes[])(int) = {
    [](int) { return std::size_t{42}; },
    [](int) { return static_cast<std::size_t>(chance()() % 64); },
    [](int) { return static_cast<std::size_t>(chance()()); },
    [](int key) { return static_cast<std::size_t>(key); },
};
constexpr bool (*equalities[])(int, int) = {
    [](int a, int b) { return a == b; },
    [](int, int) { return true; },
    [](int, int) { return false; },
    [](int a, int b) { return a / 2 == b / 2; },
    [](int a, int b) { return (chance()() % 4 == 0) != (a == b); },
};

/// All calls, by a hash or equality that breaks its promise. Some keys may be there twice, but each accepted write has
/// one outcome.
template <typename Map>
void abuse() {
    auto const clock = tidefall::make_manual_runtime();
    std::uint64_t delivered = 0;
    auto& random = chance();
    bool const tables = random() % 2 == 0;
    auto const run = [&](Map& map) {
        for (int i = 0; i < 2'000; ++i) {
            auto const key = static_cast<int>(random() % 100);
            switch (random() % 8) {
                case 0: map.put_newer(key, "put newer", random() % 5); break;
                case 1: map.update(key, [](std::string& v) { v += "updated"; }); break;
                case 2: map.erase(key); break;
                case 3: static_cast<void>(map.get(key)); break;
                case 4: map.contains(key); break;
                default: map.put(key, "a value that is longer than fits in place"); break;
            }
            if (random() % 1'000 == 0) clock->advance(5s);
        }
        map.flush();
        auto const stats = map.stats();
        CHECK(stats.accepted == stats.processed + stats.coalesced + stats.erased);
        CHECK(stats.pending == 0);
        CHECK(delivered == stats.processed);
    };
    if (tables) {
        Map map(with(clock), [&](typename Map::table_type table) {
            for (auto const& one : table) delivered += one.key >= 0 ? 1 : 0;
            for (int key = 0; key < 100; ++key) static_cast<void>(table.find(key));
        });
        run(map);
    } else {
        Map map(with(clock), [&](std::span<typename Map::value_type> batch) { delivered += batch.size(); });
        run(map);
    }
}

}  // namespace

TEST_CASE("hash map: ten thousand keys of one hash are correct") {
    auto const clock = tidefall::make_manual_runtime();
    constexpr int count = 10'000;
    std::uint64_t sum = 0;
    any_hash::of = hashes[0];
    hash_map<int, int, any_hash> map(with(clock, 1, all_at_once), [&](std::span<entry<int, int>> all) {
        CHECK(all.size() == count - 1);
        for (auto const& one : all) sum += static_cast<std::uint64_t>(one.key);
    });
    for (int i = 0; i < count; ++i) REQUIRE(map.put(i, i) == write_status::accepted);
    CHECK(map.get(0) == 0);
    CHECK(map.get(count - 1) == count - 1);
    CHECK(!map.contains(count));
    CHECK(map.erase(7));
    CHECK(!map.contains(7));
    CHECK(map.stats().coalesced == 0);
    map.flush();
    CHECK(sum == std::uint64_t{count} * (count - 1) / 2 - 7);
}

TEST_CASE("hash map: hashes and equalities that break their promises break nothing else") {
    INFO("seed " << tests::seed());
    for (auto* const equality : equalities) {
        any_equal::of = equality;
        for (auto* const hash : hashes) {
            any_hash::of = hash;
            for (int round = 0; round < 4; ++round) abuse<hash_map<int, std::string, any_hash, any_equal>>();
        }
        for (int round = 0; round < 4; ++round) abuse<hash_map<int, std::string, std::hash<int>, any_equal>>();
    }
}

TEST_CASE("hash map: integers of any stride spread over partitions, stripes and groups") {
    auto const bits = GENERATE(range(0, 41));
    INFO("stride 2^" << bits);
    constexpr std::uint64_t count = 1 << 15;
    std::vector<std::size_t> stripes(32, 0);
    std::vector<std::size_t> partitions(16, 0);
    std::vector<std::size_t> groups(128, 0);
    std::vector<std::size_t> tags(128, 0);
    for (std::uint64_t i = 0; i < count; ++i) {
        auto const hash = tidefall::detail::mixed_hash_by<std::hash<std::uint64_t>>(i << bits);
        auto const route = tidefall::detail::to_size((hash >> 32) * partitions.size() * stripes.size() >> 32);
        auto const stripe = route % stripes.size();
        ++stripes[stripe];
        ++partitions[route / stripes.size()];
        // The groups and tags of those alone that share a stripe.
        if (stripe == 5) {
            ++groups[tidefall::detail::to_size(hash & 127)];
            ++tags[tidefall::detail::to_size(hash >> 32 & 127)];
        }
    }
    auto const greatest = [](auto const& of) { return *std::max_element(of.begin(), of.end()); };
    CHECK(greatest(stripes) <= 4 * count / stripes.size());
    CHECK(greatest(partitions) <= 4 * count / partitions.size());
    CHECK(greatest(groups) <= 4 * std::max<std::size_t>(stripes[5] / groups.size(), 4));
    CHECK(greatest(tags) <= 4 * std::max<std::size_t>(stripes[5] / tags.size(), 4));
}

TEST_CASE("hash map: partitions of a map fill evenly with keys of any stride") {
    auto const bits = GENERATE(0, 3, 12, 20, 32, 40);
    auto const clock = tidefall::make_manual_runtime();
    hash_map<std::uint64_t, int> map(with(clock, 8), [](std::span<entry<std::uint64_t, int>>) {});
    for (std::uint64_t i = 0; i < 8'000; ++i) map.put(i << bits, 1);
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(map.partition(i).size() > 250);
        CHECK(map.partition(i).size() < 4'000);
    }
}

TEST_CASE("hash map: a partition key puts a call where it says, whatever the map's key") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, int> map(with(clock, 8), [](std::span<entry<int, int>>) {});
    for (int i = 0; i < 100; ++i) {
        CHECK(map.put(i, i, partition_key{"one place"}) == write_status::accepted);
        CHECK(map.put_newer(i, i, 1, partition_key{"one place"}) == write_status::accepted);
        CHECK(map.update(
                  i, [](int& v) { ++v; }, partition_key{std::string("one place")}) == write_status::accepted);
    }
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < 8; ++i) sizes.push_back(map.partition(i).size());
    std::sort(sizes.begin(), sizes.end());
    CHECK(sizes == std::vector<std::size_t>{0, 0, 0, 0, 0, 0, 0, 100});
    CHECK(map.get(50, partition_key{"one place"}) == 51);
    CHECK(map.contains(50, partition_key{"one place"}));
    CHECK(map.get_or(500, 7, partition_key{"one place"}) == 7);
    CHECK(map.erase(50, partition_key{"one place"}));
    CHECK(map.size() == 99);
}

namespace {

enum class colour { red, green };
struct point {
    int x;
    int y;
    friend bool operator==(point const&, point const&) = default;
};
struct point_hash {
    std::size_t operator()(point const& of) const { return static_cast<std::size_t>(of.x ^ of.y); }
};

struct move_only_key {
    explicit move_only_key(int n) : number(std::make_unique<int>(n)) {}
    std::unique_ptr<int> number;
    friend bool operator==(move_only_key const& a, move_only_key const& b) { return *a.number == *b.number; }
};
struct move_only_hash {
    std::size_t operator()(move_only_key const& of) const { return static_cast<std::size_t>(*of.number); }
};

template <std::size_t Alignment>
struct alignas(Alignment) aligned {
    int number;
    friend bool operator==(aligned const&, aligned const&) = default;
};
struct aligned_hash {
    template <std::size_t Alignment>
    std::size_t operator()(aligned<Alignment> const& of) const {
        return static_cast<std::size_t>(of.number);
    }
};

struct constant_member {
    int const number;
};
struct no_default {
    explicit no_default(int n) : number(n) {}
    no_default(no_default&&) = default;
    no_default(no_default const&) = delete;
    no_default& operator=(no_default const&) = delete;
    int number;
    std::string text = "beside the number";
};
struct large {
    std::array<std::uint64_t, 128> words{};
};
struct empty {};

/// Puts, replaces, erases and delivers two hundred entries.
template <typename Map, typename MakeKey, typename MakeValue, typename Check>
void use(MakeKey make_key, MakeValue make_value, Check check, std::size_t batch = 7) {
    auto const clock = tidefall::make_manual_runtime();
    std::size_t delivered = 0;
    std::size_t wrong = 0;
    Map map(with(clock, 2, batch), [&](std::span<typename Map::value_type> entries) {
        delivered += entries.size();
        for (auto& one : entries) {
            auto const address = reinterpret_cast<std::uintptr_t>(std::addressof(one));
            wrong += address % alignof(typename Map::value_type) == 0 && check(one) ? 0 : 1;
        }
    });
    for (int tick = 0; tick < 3; ++tick) {
        for (int i = 0; i < 200; ++i) CHECK(map.put(make_key(i), make_value(i + 1)) == write_status::accepted);
        for (int i = 0; i < 200; ++i) CHECK(map.put(make_key(i), make_value(i)) == write_status::accepted);
        for (int i = 0; i < 200; i += 4) CHECK(map.erase(make_key(i)));
        for (int i = 0; i < 200; i += 4) {
            CHECK(map.put_newer(make_key(i), make_value(i), 1) == write_status::accepted);
            CHECK(map.put_newer(make_key(i), make_value(i), 2) == write_status::accepted);
            CHECK(map.put_newer(make_key(i), make_value(-1), 2) == write_status::stale);
        }
        CHECK(map.contains(make_key(1)));
        CHECK(!map.contains(make_key(200)));
        map.flush();
    }
    CHECK(delivered == 600);
    CHECK(wrong == 0);
    map.put(make_key(1), make_value(1));
}

}  // namespace

// Each kind of key and of value comes once: a map of each pair takes its time to compile.
TEST_CASE("hash map: keys may be pointers, strings, characters, enumerations, or a struct with a hash of its own") {
    static std::array<int, 300> targets{};
    use<hash_map<int const*, large>>([](int i) { return &targets[static_cast<std::size_t>(i)]; },
                                     [](int i) {
                                         large made;
                                         made.words.fill(static_cast<std::uint64_t>(i));
                                         return made;
                                     },
                                     [](auto const& one) { return one.key == &targets[one.value.words.back()]; });
    use<hash_map<std::string, empty>>([](int i) { return std::string(30, 'k') + std::to_string(i); },
                                      [](int) { return empty(); }, [](auto const& one) { return one.key.size() > 30; });
    use<hash_map<unsigned char, constant_member>>([](int i) { return static_cast<unsigned char>(i); },
                                                  [](int i) { return constant_member{i}; },
                                                  [](auto const& one) { return one.key == one.value.number; });
    use<hash_map<point, std::string, point_hash>>(
        [](int i) {
            return point{i % 10, i / 10};
        },
        [](int i) { return std::to_string(i); },
        [](auto const& one) { return one.key.x == std::stoi(one.value) % 10; });
    auto const clock = tidefall::make_manual_runtime();
    hash_map<colour, bool> map(with(clock), [](std::span<entry<colour, bool>>) {});
    map.put(colour::red, true);
    map.put(colour::green, false);
    CHECK(map.get(colour::red) == true);
    CHECK(map.get(colour::green) == false);
}

TEST_CASE("hash map: keys and values may be move-only, over-aligned or without a default constructor") {
    auto const batch = GENERATE(std::size_t{7}, all_at_once);
    auto const same = [](int i) { return i; };
    use<hash_map<move_only_key, std::unique_ptr<int>, move_only_hash>>(
        [](int i) { return move_only_key(i); }, [](int i) { return std::make_unique<int>(i); },
        [](auto const& one) { return *one.key.number == *one.value; }, batch);
    use<hash_map<int, no_default>>(
        same, [](int i) { return no_default(i); },
        [](auto const& one) { return one.key == one.value.number && one.value.text == "beside the number"; }, batch);
    use<hash_map<aligned<64>, aligned<128>, aligned_hash>>(
        [](int i) { return aligned<64>{i}; }, [](int i) { return aligned<128>{i}; },
        [](auto const& one) { return one.key.number == one.value.number; }, batch);
    use<hash_map<int, aligned<64>>>(
        same, [](int i) { return aligned<64>{i}; }, [](auto const& one) { return one.key == one.value.number; }, batch);
}

TEST_CASE("hash map: update of a value that cannot be made from nothing, and of one that cannot be copied") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> seen;
    hash_map<int, no_default> map(with(clock), [&](std::span<entry<int, no_default>> batch) {
        for (auto const& one : batch) seen.push_back(one.value.number);
    });
    auto const add = [](no_default& v) { v.number += 1; };
    CHECK(map.update(1, no_default(10), add) == write_status::accepted);
    CHECK(map.update(1, no_default(10), add) == write_status::accepted);
    CHECK(map.update(1, no_default(5), add) == write_status::accepted);
    map.flush();
    CHECK(seen == std::vector<int>{13});
}

// ---- what a look-up makes

namespace {

struct text {
    explicit text(std::string_view of) : held(of) { ++made; }
    text(text const& other) : held(other.held) { ++made; }
    text(text&&) noexcept = default;
    text& operator=(text const&) = delete;
    std::string held;
    static inline int made = 0;
};
struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view of) const { return std::hash<std::string_view>{}(of); }
    std::size_t operator()(text const& of) const { return (*this)(std::string_view(of.held)); }
};
struct text_equal {
    using is_transparent = void;
    bool operator()(text const& a, text const& b) const { return a.held == b.held; }
    bool operator()(text const& a, std::string_view b) const { return a.held == b; }
};

}  // namespace

TEST_CASE("hash map: by transparent hash and equality a key is made for a new entry alone") {
    auto const clock = tidefall::make_manual_runtime();
    using map_type = hash_map<text, int, text_hash, text_equal>;
    using table_type = tidefall::hash_map_table<text, int, text_hash, text_equal>;
    std::size_t found = 0;
    map_type map(with(clock), [&](table_type table) {
        found += table.find(std::string_view("a")) != table.end() ? 1 : 0;
        found += std::as_const(table).find(std::string_view("a"))->value == 4 ? 1 : 0;
        found += table.find(text("a")) != table.end() ? 1 : 0;
        found += table.find(std::string_view("b")) == table.end() ? 1 : 0;
    });
    text::made = 0;
    std::string_view const key = "a";
    CHECK(!map.contains(key));
    CHECK(!map.erase(key));
    CHECK(!map.get(key));
    CHECK(text::made == 0);
    CHECK(map.put(key, 1) == write_status::accepted);
    CHECK(text::made == 1);
    CHECK(map.put(key, 2) == write_status::accepted);
    CHECK(map.put(std::string_view("a"), 2) == write_status::accepted);
    CHECK(map.put_newer(key, 3, 1) == write_status::accepted);
    CHECK(map.put_newer(key, 3, 1) == write_status::stale);
    CHECK(map.put_newer(key, 3, 2) == write_status::accepted);
    CHECK(map.update(key, [](int& v) { ++v; }) == write_status::accepted);
    CHECK(map.update(key, 9, [](int&) {}) == write_status::accepted);
    CHECK(map.get(key) == 4);
    CHECK(map.get_or(key, 0) == 4);
    CHECK(map.contains(key));
    CHECK(text::made == 1);
    CHECK(map.erase(key));
    CHECK(text::made == 1);
    CHECK(map.update(key, 3, [](int& v) { ++v; }) == write_status::accepted);
    CHECK(text::made == 2);
    // A key that is given as it is, is moved in.
    text given("b");
    CHECK(map.put(std::move(given), 1) == write_status::accepted);
    CHECK(text::made == 3);
    CHECK(map.erase(std::string_view("b")));
    std::vector<std::pair<std::string_view, int>> const pairs{{"a", 4}, {"a", 4}};
    CHECK(map.put_all(pairs) == 2);
    CHECK(text::made == 3);
    map.flush();
    CHECK(found == 4);
}

TEST_CASE("hash map: without transparency a key is made of whatever converts to one") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<entry<std::string, std::string>> const seen;
    hash_map<std::string, std::string> map(with(clock), seen);
    char const* const pointer = "key";
    CHECK(map.put("key", "literal") == write_status::accepted);
    CHECK(map.get(pointer) == "literal");
    CHECK(map.put(pointer, "other") == write_status::accepted);
    CHECK(map.put_newer("key", pointer, 4) == write_status::accepted);
    CHECK(map.update(pointer, [](std::string& v) { v += "!"; }) == write_status::accepted);
    CHECK(map.get("key") == "key!");
    CHECK(map.get_or("other", pointer) == "key");
    CHECK(map.contains("key"));
    CHECK(map.size() == 1);
    CHECK(map.erase("key"));
    hash_map<std::uint64_t, double> numbers(with(clock), [](std::span<entry<std::uint64_t, double>>) {});
    CHECK(numbers.put(1, 2) == write_status::accepted);
    CHECK(numbers.get(1U) == 2.0);
    CHECK(numbers.contains(short{1}));
}

TEST_CASE("hash map: without versions an entry is a key and a value, and all but put_newer is there") {
    using map_type =
        hash_map<std::uint64_t, std::uint64_t, std::hash<std::uint64_t>, std::equal_to<std::uint64_t>, void>;
    using one = map_type::value_type;
    STATIC_REQUIRE(std::is_same_v<one, entry<std::uint64_t, std::uint64_t, void>>);
    STATIC_REQUIRE(std::is_void_v<map_type::version_type>);
    STATIC_REQUIRE(sizeof(one) == 16);
    STATIC_REQUIRE(std::is_default_constructible_v<one>);
    STATIC_REQUIRE_FALSE(std::is_default_constructible_v<entry<int, no_default, void>>);
    constexpr one made;  // does not compile where it has no initial value
    CHECK(made.value == 0);
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::pair<std::uint64_t, std::uint64_t>> seen;
    map_type map(with(clock), [&](std::span<one const> batch) {
        for (auto const& each : batch) seen.emplace_back(each.key, each.value);
    });
    CHECK(map.put(1, 10) == write_status::accepted);
    CHECK(map.put(1, 11) == write_status::accepted);
    CHECK(map.update(2, [](std::uint64_t& value) { value += 5; }) == write_status::accepted);
    CHECK(map.update(2, 100, [](std::uint64_t& value) { value += 5; }) == write_status::accepted);
    CHECK(map.put_all(std::vector<std::pair<int, int>>{{3, 30}, {4, 40}}) == 2);
    CHECK(map.get(2) == 10);
    CHECK(map.erase(3));
    CHECK(map.extract(4)->value == 40);
    CHECK(map.stats().coalesced == 2);
    map.flush();
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 11}, {2, 10}});
}
