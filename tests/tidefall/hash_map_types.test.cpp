// SPDX-License-Identifier: MIT
//
// Keys, values and versions that say what is done to them.
#include "../support/catch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::partition_key;
using tidefall::write_status;

namespace {

tidefall::options with(std::shared_ptr<tidefall::manual_runtime> clock) {
    return {.partitions = 1, .processing_batch_size = 10, .runtime = std::move(clock)};
}

/// Ordered by `<` alone: first the great numbers, then the small ones.
struct semantic_version {
    int major = 0;
    int minor = 0;
    friend bool operator<(semantic_version const& a, semantic_version const& b) {
        return std::tie(a.major, a.minor) < std::tie(b.major, b.minor);
    }
};

}  // namespace

TEST_CASE("hash map: versions may be strings, negative numbers, or a type of the user's") {
    auto const clock = tidefall::make_manual_runtime();
    SECTION("strings") {
        std::vector<std::string> versions;
        hash_map<int, int, std::hash<int>, std::equal_to<int>, std::string> map(
            with(clock), [&](std::span<entry<int, int, std::string>> batch) {
                for (auto const& one : batch) versions.push_back(one.version);
            });
        CHECK(map.put_newer(1, 1, "2024-01-01 and more than fits in place") == write_status::accepted);
        std::string newer = "2024-01-02 and more than fits in place";
        CHECK(map.put_newer(1, 1, std::move(newer)) == write_status::accepted);
        newer = "2024-01-01 and more than fits in place";
        CHECK(map.put_newer(1, 1, std::move(newer)) == write_status::stale);
        CHECK(newer == "2024-01-01 and more than fits in place");  // NOLINT(bugprone-use-after-move)
        CHECK(map.put_newer(2, 1, "") == write_status::accepted);
        CHECK(map.put_newer(2, 1, "") == write_status::stale);
        CHECK(map.put(3, 1) == write_status::accepted);
        map.flush();
        std::sort(versions.begin(), versions.end());
        CHECK(versions == std::vector<std::string>{"", "", "2024-01-02 and more than fits in place"});
    }
    SECTION("negative numbers") {
        hash_map<int, int, std::hash<int>, std::equal_to<int>, int> map(with(clock),
                                                                        [](std::span<entry<int, int, int>>) {});
        CHECK(map.put_newer(1, 1, -5) == write_status::accepted);
        CHECK(map.put_newer(1, 2, -6) == write_status::stale);
        CHECK(map.put_newer(1, 3, -4) == write_status::accepted);
        CHECK(map.put_newer(1, 4, 1) == write_status::accepted);
        CHECK(map.get(1) == 4);
    }
    SECTION("a type of the user's") {
        using map_type = hash_map<int, int, std::hash<int>, std::equal_to<int>, semantic_version>;
        map_type map(with(clock), [](std::span<map_type::value_type>) {});
        CHECK(map.put_newer(1, 1, semantic_version{1, 9}) == write_status::accepted);
        CHECK(map.put_newer(1, 2, semantic_version{1, 10}) == write_status::accepted);
        CHECK(map.put_newer(1, 3, {1, 10}) == write_status::stale);
        CHECK(map.put_newer(1, 4, {2, 0}) == write_status::accepted);
        CHECK(map.get(1) == 4);
    }
}

// ---- arguments

TEST_CASE("hash map: on stale and stopped an rvalue key, value and version are untouched") {
    auto const clock = tidefall::make_manual_runtime();
    using map_type =
        hash_map<std::string, std::string, std::hash<std::string>, std::equal_to<std::string>, std::string>;
    map_type map(with(clock), [](std::span<map_type::value_type>) {});
    std::string const long_key(50, 'k');
    std::string const long_value(50, 'v');
    std::string const long_version(50, '5');
    map.put_newer(long_key, "first", std::string(50, '6'));
    auto key = long_key;
    auto value = long_value;
    auto version = long_version;
    auto const untouched = [&] { return key == long_key && value == long_value && version == long_version; };
    CHECK(map.put_newer(std::move(key), std::move(value), std::move(version)) == write_status::stale);
    CHECK(untouched());
    map.stop();
    CHECK(map.put_newer(std::move(key), std::move(value), std::move(version)) == write_status::stopped);
    CHECK(untouched());
    CHECK(map.put(std::move(key), std::move(value)) == write_status::stopped);
    CHECK(untouched());
    CHECK(map.update(std::move(key), std::move(value), [](std::string&) {}) == write_status::stopped);
    CHECK(untouched());
    CHECK(map.update(std::move(key), [](std::string&) {}) == write_status::stopped);
    CHECK(untouched());
    CHECK(map.stats().refused == 5);
}

TEST_CASE("hash map: a key that is there already keeps its own, and the given one is not moved from") {
    auto const clock = tidefall::make_manual_runtime();
    char const* held = nullptr;
    hash_map<std::string, std::string> map(
        with(clock), [&](std::span<entry<std::string, std::string>> batch) { held = batch[0].key.data(); });
    std::string first(50, 'k');
    char const* const storage = first.data();
    map.put(std::move(first), "v");
    std::string key(50, 'k');
    CHECK(map.put(std::move(key), "w") == write_status::accepted);
    CHECK(key.size() == 50);
    CHECK(map.put_newer(std::move(key), "x", 1) == write_status::accepted);
    CHECK(key.size() == 50);
    std::string start = "a first value that is not taken, and not moved from either";
    CHECK(map.update(std::move(key), std::move(start), [](std::string&) {}) == write_status::accepted);
    CHECK(key.size() == 50);
    CHECK(start.size() == 58);
    map.flush();
    CHECK(held == storage);
    CHECK(map.put(std::move(key), "new") == write_status::accepted);
    CHECK(key.empty());
}

TEST_CASE("hash map: a value is moved once into its place, and no lvalue is changed") {
    struct counted {
        counted() = default;
        counted(counted const& other) : copies(other.copies + 1), moves(other.moves) {}
        counted(counted&& other) noexcept : copies(other.copies), moves(other.moves + 1) {}
        int copies = 0;
        int moves = 0;
    };
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, counted> map(with(clock), [](std::span<entry<int, counted>>) {});
    counted const constant;
    counted variable;
    auto const cost = [&](int copies, int moves) {
        auto const held = map.get(1);
        return held->copies == copies + 1 && held->moves == moves;
    };
    for (int round = 0; round < 2; ++round) {
        map.put(1, counted());
        CHECK(cost(0, 1));
        map.put(1, std::move(variable));
        CHECK(cost(0, 1));
        map.put(1, variable);
        CHECK(cost(1, 1));
        map.put(1, constant);
        CHECK(cost(1, 1));
        map.put_newer(1, constant);
        CHECK(cost(1, 1));
        map.put_newer(1, counted());
        CHECK(cost(0, 1));
        if (round == 0) map.erase(1);
    }
    map.erase(1);
    map.update(1, counted(), [](counted&) {});
    CHECK(cost(0, 1));
}

// ---- what runs under a lock

namespace {

/// Calls `then` where it is set.
struct caller {
    static inline std::function<void()> then;
    static inline int calls = 0;
    static void call() {
        if (!then) return;
        // Once: what it calls may come here again.
        auto const once = std::exchange(then, nullptr);
        ++calls;
        once();
        then = once;
    }
};

struct calling_key {
    calling_key(int n) : number(n) { caller::call(); }  // NOLINT(google-explicit-constructor)
    int number;
    friend bool operator==(calling_key const&, calling_key const&) = default;
};
struct calling_hash {
    std::size_t operator()(calling_key const& of) const {
        caller::call();
        return static_cast<std::size_t>(of.number);
    }
};

struct calling_value {
    explicit calling_value(int n) : number(n), owner(true) {}
    calling_value(calling_value&& other) noexcept : number(other.number), owner(std::exchange(other.owner, false)) {}
    calling_value& operator=(calling_value const&) = delete;
    ~calling_value() {
        if (owner) caller::call();
    }
    int number;
    bool owner;
};
struct calling_version {
    calling_version() = default;
    calling_version(int n) : number(n), owner(true) {}  // NOLINT(google-explicit-constructor)
    calling_version(calling_version&& other) noexcept
        : number(other.number), owner(std::exchange(other.owner, false)) {}
    calling_version& operator=(calling_version const&) = delete;
    ~calling_version() {
        if (owner) caller::call();
    }
    friend bool operator<(calling_version const& a, calling_version const& b) { return a.number < b.number; }
    int number = 0;
    bool owner = false;
};

}  // namespace

TEST_CASE("hash map: hashes, conversions and destructors of what was displaced run without a lock") {
    auto const clock = tidefall::make_manual_runtime();
    using map_type = hash_map<calling_key, calling_value, calling_hash, std::equal_to<calling_key>, calling_version>;
    {
        map_type map(with(clock), [](std::span<map_type::value_type>) {});
        // One stripe has all keys, so that a lock that is held would be met.
        partition_key const place{1};
        auto const check = [&](char const* what, auto&& call) {
            INFO(what);
            caller::calls = 0;
            caller::then = [&] {
                static_cast<void>(map.size());
                static_cast<void>(map.stats());
                map.put(77, calling_value(1), place);
                static_cast<void>(map.contains(78, place));
            };
            call();
            caller::then = nullptr;
            return caller::calls;
        };
        CHECK(check("put of a new key", [&] { map.put(1, calling_value(1), place); }) >= 2);
        CHECK(check("put over one", [&] { map.put(1, calling_value(2), place); }) >= 3);
        CHECK(check("put_newer over one", [&] { map.put_newer(1, calling_value(2), 5, place); }) >= 3);
        CHECK(check("put over a version", [&] { map.put(1, calling_value(2), place); }) >= 4);
        CHECK(check("put_newer", [&] { map.put_newer(1, calling_value(2), 5, place); }) >= 3);
        CHECK(check("put_newer over a version", [&] { map.put_newer(1, calling_value(2), 6, place); }) >= 4);
        CHECK(check("stale", [&] { map.put_newer(1, calling_value(2), 5, place); }) >= 4);
        CHECK(check("contains", [&] { map.contains(1, place); }) >= 2);
        CHECK(check("update", [&] {
                  map.update(
                      1, calling_value(3), [](calling_value&) {}, place);
              }) >= 2);
        CHECK(check("erase", [&] { CHECK(map.erase(1, place)); }) >= 4);
        CHECK(check("erase nothing", [&] { CHECK(!map.erase(1, place)); }) >= 2);
        CHECK(check("bulk", [&] {
                  std::vector<std::pair<int, calling_value>> pairs;
                  pairs.emplace_back(1, calling_value(1));
                  pairs.emplace_back(1, calling_value(1));
                  map.put_all(std::move(pairs), place);
              }) >= 5);
        CHECK(check("drain", [&] { map.flush(); }) >= 2);
        CHECK(map.size() == 1);  // what the destructors of drained entries put
    }
    caller::then = nullptr;
}

TEST_CASE("hash map: a processor may write to its own map, and what it writes comes with the next tick") {
    auto const clock = tidefall::make_manual_runtime();
    hash_map<int, int>* self = nullptr;
    int calls = 0;
    hash_map<int, int> map(with(clock), [&](std::span<entry<int, int>> batch) {
        ++calls;
        CHECK(batch.size() == 1);
        CHECK(!self->contains(batch[0].key));
        CHECK(self->put(batch[0].key, batch[0].value + 1) == write_status::accepted);
        CHECK(self->get(batch[0].key) == batch[0].value + 1);
        if (batch[0].value == 3) CHECK(self->erase(batch[0].key));
    });
    self = &map;
    map.put(1, 1);
    for (int tick = 0; tick < 5; ++tick) clock->advance(5s);
    CHECK(calls == 3);
    CHECK(map.stats().erased == 1);
}
