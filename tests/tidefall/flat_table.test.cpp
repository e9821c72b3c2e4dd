// SPDX-License-Identifier: MIT
//
// The hash table under hash_map, and what it knows of its groups of slots.
#include "../support/catch.hpp"

#include <tidefall/detail/tables/flat_table.hpp>
#include <tidefall/tags.hpp>

#include <cstdint>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

using tidefall::detail::all_slots;
using tidefall::detail::best_matching;
using tidefall::detail::flat_table;
using tidefall::detail::mix;
using tidefall::detail::portable_matching;
using tidefall::detail::slot_group;
using tidefall::detail::slot_mask;
using tidefall::detail::to_size;

namespace {

// ---- values and hashes

struct plain {
    std::uint64_t key;
    std::uint64_t value;
    plain(std::uint64_t k, std::uint64_t v) : key(k), value(v) {}
    static void check_count(std::size_t) {}
};

struct owning {
    static inline std::ptrdiff_t alive = 0;
    std::uint64_t key;
    std::unique_ptr<std::uint64_t> owned;
    owning(std::uint64_t k, std::uint64_t v) : key(k), owned(std::make_unique<std::uint64_t>(v)) { ++alive; }
    owning(owning&& other) noexcept : key(other.key), owned(std::move(other.owned)) { ++alive; }
    owning& operator=(owning const&) = delete;
    ~owning() { --alive; }
    static void check_count(std::size_t expected) { CHECK(alive == static_cast<std::ptrdiff_t>(expected)); }
};

struct alignas(64) wide {
    std::uint64_t key;
    std::uint64_t value;
    wide(std::uint64_t k, std::uint64_t v) : key(k), value(v) {}
    static void check_count(std::size_t) {}
};

std::uint64_t value_of(plain const& one) {
    return one.value;
}
std::uint64_t value_of(owning const& one) {
    return *one.owned;
}
std::uint64_t value_of(wide const& one) {
    return one.value;
}

struct spread {
    static std::uint64_t of(std::uint64_t key) noexcept { return mix(key); }
};
struct constant {
    static std::uint64_t of(std::uint64_t) noexcept { return 0xabcd'ef01'2345'6789U; }
};
struct zero {
    static std::uint64_t of(std::uint64_t) noexcept { return 0; }
};
struct few {
    static std::uint64_t of(std::uint64_t key) noexcept { return mix(key % 7); }
};
struct same_tag {
    static std::uint64_t of(std::uint64_t key) noexcept { return mix(key) & 0xffff'ffffU; }
};
struct same_group {
    static std::uint64_t of(std::uint64_t key) noexcept { return key << 32; }
};
struct last_group {
    static std::uint64_t of(std::uint64_t key) noexcept { return ~std::uint64_t{0} ^ (key % 3); }
};

template <typename Hash>
struct hash_of {
    template <typename Value>
    std::uint64_t operator()(Value const& one) const noexcept {
        return Hash::of(one.key);
    }
};

template <typename Value, typename Hash, typename HashOf, typename Matching>
struct config {
    using value = Value;
    using hash = Hash;
    using table = flat_table<Value, HashOf, Matching>;
};

template <typename Value, typename Hash, typename Matching>
using keeping = config<Value, Hash, void, Matching>;
template <typename Value, typename Hash, typename Matching>
using asking = config<Value, Hash, hash_of<Hash>, Matching>;

// ---- what tests do with a table

template <typename C>
auto place_of(typename C::table const& table, std::uint64_t key) {
    return table.find(C::hash::of(key), [key](auto const& one) { return one.key == key; });
}

template <typename C>
void insert(typename C::table& table, std::uint64_t key, std::uint64_t value) {
    table.insert(
        C::hash::of(key), [&] { return typename C::value(key, value); }, [](auto&) {});
}

using model = std::map<std::uint64_t, std::uint64_t>;

/// The table holds what the model does, whether it is asked or walked through.
template <typename C>
void check_same(typename C::table& table, model const& expected) {
    REQUIRE(table.size() == expected.size());
    model seen;
    for (auto const& one : std::as_const(table)) CHECK(seen.emplace(one.key, value_of(one)).second);
    CHECK(seen == expected);
    std::size_t walked = 0;
    for (auto& one : table) walked += one.key == one.key ? 1 : 0;
    CHECK(walked == expected.size());
    std::size_t found = 0;
    for (auto const& [key, value] : expected) {
        auto const at = place_of<C>(table, key);
        if (!at.exists() || value_of(table[at]) != value) continue;
        found += (*table.iterator_to(at)).key == key ? 1 : 0;
    }
    CHECK(found == expected.size());
    C::value::check_count(expected.size());
}

template <typename C>
void run_model(std::uint64_t seed, std::uint64_t keys, int steps) {
    INFO("seed " << seed << ", keys " << keys);
    std::mt19937_64 random(seed);
    {
        typename C::table table;
        model expected;
        for (int step = 0; step < steps; ++step) {
            auto const key = random() % keys;
            auto const at = place_of<C>(table, key);
            REQUIRE(at.exists() == expected.contains(key));
            switch (random() % 64) {
                case 0:
                    table.clear();
                    expected.clear();
                    break;
                case 1: {
                    // Some are taken, the rest is destroyed.
                    auto left = to_size(random() % (expected.size() + 1));
                    while (left > 0) {
                        auto const run = table.take(left);
                        REQUIRE(!run.empty());
                        REQUIRE(run.size() <= left);
                        left -= run.size();
                        for (auto const& one : run) {
                            REQUIRE(expected.contains(one.key));
                            CHECK(expected.at(one.key) == value_of(one));
                            expected.erase(one.key);
                        }
                        std::destroy(run.begin(), run.end());
                    }
                    CHECK(table.size() == expected.size());
                    model rest;
                    for (auto const& one : table) rest.emplace(one.key, value_of(one));
                    CHECK(rest == expected);
                    if (random() % 2 == 0) {
                        for (auto run = table.take(14); !run.empty(); run = table.take(14)) {
                            std::destroy(run.begin(), run.end());
                        }
                        CHECK(table.begin() == table.end());
                    }
                    table.clear();
                    expected.clear();
                    break;
                }
                case 2: {
                    // Another table, of keys that this one does not have.
                    typename C::table other;
                    auto const count = random() % 40;
                    for (std::uint64_t i = 0; i < count; ++i) {
                        auto const fresh = random() % keys;
                        if (!expected.emplace(fresh, step).second) continue;
                        insert<C>(other, fresh, static_cast<std::uint64_t>(step));
                    }
                    table.absorb(std::move(other));
                    CHECK(other.size() == 0);             // NOLINT(bugprone-use-after-move)
                    CHECK(other.begin() == other.end());  // NOLINT(bugprone-use-after-move)
                    CHECK(!place_of<C>(other, key).exists());
                    insert<C>(other, key, 1);
                    CHECK(place_of<C>(other, key).exists());
                    break;
                }
                case 3: table.reserve(to_size(random() % (2 * expected.size() + 1))); break;
                case 4: {
                    typename C::table other(std::move(table));
                    CHECK(table.size() == 0);  // NOLINT(bugprone-use-after-move)
                    table = std::move(other);
                    break;
                }
                case 5: check_same<C>(table, expected); break;
                default:
                    if (!at.exists()) {
                        insert<C>(table, key, static_cast<std::uint64_t>(step));
                        expected.emplace(key, step);
                    } else if (random() % 3 != 0) {
                        auto const out = table.erase(at);
                        CHECK(out.key == key);
                        CHECK(value_of(out) == expected.at(key));
                        expected.erase(key);
                    }
            }
            REQUIRE(table.size() == expected.size());
        }
        check_same<C>(table, expected);
    }
    C::value::check_count(0);
}

/// Groups that searches looked into.
template <typename Matching>
struct counting : Matching {
    static inline std::uint64_t visited = 0;
    static slot_mask equal(slot_group const& group, std::uint8_t tag) noexcept {
        ++visited;
        return Matching::equal(group, tag);
    }
};

using plain_config = asking<plain, spread, best_matching>;

template <typename C>
std::size_t memory_for(std::size_t count) {
    typename C::table table;
    table.reserve(count);
    return table.memory();
}

template <typename C>
void fill(typename C::table& table, std::uint64_t count) {
    for (std::uint64_t key = 0; key < count; ++key) insert<C>(table, key, key);
}

}  // namespace

TEST_CASE("slot group: one cache line holds four, and both ways to compare tags agree with the definition") {
    static_assert(sizeof(slot_group) == 16 && alignof(slot_group) == 16);
    std::mt19937_64 random(tests::seed());
    INFO("seed " << tests::seed());
    int wrong = 0;
    for (int round = 0; round < 20'000; ++round) {
        slot_group group;
        group.passed = static_cast<std::uint16_t>(round % 3 == 0 ? 0xffff : random());
        auto const tags = 1 + random() % 128;
        std::uint32_t full = 0;
        for (std::size_t i = 0; i < slot_group::size; ++i) {
            if (random() % 3 == 0) continue;
            group.tags[i] = static_cast<std::uint8_t>(0x80 | random() % tags);
            full |= 1U << i;
        }
        wrong += portable_matching::full(group).bits() == full ? 0 : 1;
        wrong += best_matching::full(group).bits() == full ? 0 : 1;
        for (std::size_t tag = 0x80; tag < 0x100; ++tag) {
            std::uint32_t equal = 0;
            for (std::size_t i = 0; i < slot_group::size; ++i) equal |= (group.tags[i] == tag ? 1U : 0U) << i;
            wrong += portable_matching::equal(group, static_cast<std::uint8_t>(tag)).bits() == equal ? 0 : 1;
            wrong += best_matching::equal(group, static_cast<std::uint8_t>(tag)).bits() == equal ? 0 : 1;
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("slot mask: first, run, count and the set without some") {
    CHECK(slot_mask(0).none());
    CHECK(slot_mask(0).count() == 0);
    slot_mask const mask(0b10'1110'0100);
    CHECK(!mask.none());
    CHECK(mask.count() == 5);
    CHECK(mask.first() == 2);
    CHECK(mask.run() == 1);
    CHECK(mask.has(5));
    CHECK(!mask.has(4));
    CHECK(mask.without_first().bits() == 0b10'1110'0000);
    CHECK(mask.without_first().run() == 3);
    CHECK(mask.without_first().without_first(2).bits() == 0b10'1000'0000);
    CHECK(mask.without(slot_mask::only(9)).bits() == 0b1110'0100);
    CHECK(slot_mask(all_slots).run() == slot_group::size);
    CHECK(slot_mask(all_slots).without_first(slot_group::size).none());
}

TEMPLATE_TEST_CASE("flat table: holds what a map would hold, after any sequence of calls", "",
                   (keeping<plain, spread, best_matching>), (keeping<plain, spread, portable_matching>),
                   (asking<plain, spread, best_matching>), (asking<plain, spread, portable_matching>),
                   (keeping<owning, spread, best_matching>), (asking<owning, spread, portable_matching>),
                   (asking<wide, spread, best_matching>), (keeping<wide, spread, portable_matching>),
                   (asking<owning, constant, best_matching>), (keeping<owning, constant, portable_matching>),
                   (asking<plain, few, best_matching>), (keeping<owning, few, best_matching>),
                   (asking<plain, same_tag, best_matching>), (keeping<plain, same_tag, portable_matching>),
                   (asking<plain, same_group, portable_matching>), (keeping<owning, same_group, best_matching>),
                   (asking<owning, last_group, best_matching>), (keeping<plain, last_group, portable_matching>)) {
    auto const seed = tests::seed();
    run_model<TestType>(seed, 10, 1'000);
    run_model<TestType>(seed + 1, 100, 3'000);
    run_model<TestType>(seed + 2, 1'000'000, 3'000);
}

TEMPLATE_TEST_CASE("flat table: grows to many values and finds each, and none that it does not hold", "",
                   (keeping<owning, spread, best_matching>), (asking<plain, spread, portable_matching>),
                   (asking<plain, same_tag, best_matching>)) {
    using C = TestType;
    typename C::table table;
    model expected;
    for (std::uint64_t key = 0; key < 10'000; ++key) {
        insert<C>(table, key * 3, key);
        expected.emplace(key * 3, key);
    }
    check_same<C>(table, expected);
    std::size_t ghosts = 0;
    for (std::uint64_t key = 0; key < 10'000; ++key) ghosts += place_of<C>(table, key * 3 + 1).exists() ? 1 : 0;
    CHECK(ghosts == 0);
}

TEST_CASE("flat table: values lie at their alignment, whether the hash is kept or not") {
    using C = keeping<wide, spread, best_matching>;
    using D = asking<wide, spread, best_matching>;
    C::table kept;
    D::table asked;
    fill<C>(kept, 100);
    fill<D>(asked, 100);
    std::size_t misaligned = 0;
    for (auto const& one : kept) misaligned += reinterpret_cast<std::uintptr_t>(&one) % 64 == 0 ? 0 : 1;
    for (auto const& one : asked) misaligned += reinterpret_cast<std::uintptr_t>(&one) % 64 == 0 ? 0 : 1;
    CHECK(misaligned == 0);
}

TEST_CASE("flat table: an empty one has no memory, finds nothing and may be asked for everything") {
    using C = plain_config;
    C::table table;
    CHECK(table.memory() == 0);
    CHECK(!place_of<C>(table, 1).exists());
    CHECK(table.begin() == table.end());
    CHECK(table.take(10).empty());
    table.clear();
    table.shrink_to_fit();
    table.reserve(0);
    table.absorb(C::table());
    CHECK(table.memory() == 0);
    CHECK(C::table::iterator() == table.end());
    CHECK(C::table::const_iterator() == std::as_const(table).end());
}

TEST_CASE("flat table: iterators are forward iterators that convert to constant ones") {
    using C = plain_config;
    static_assert(std::forward_iterator<C::table::iterator> && std::forward_iterator<C::table::const_iterator>);
    static_assert(std::is_convertible_v<C::table::iterator, C::table::const_iterator>);
    static_assert(!std::is_convertible_v<C::table::const_iterator, C::table::iterator>);
    C::table table;
    fill<C>(table, 50);
    auto at = table.begin();
    auto const before = at++;
    CHECK(before == table.begin());
    CHECK(at != before);
    CHECK(std::next(before) == at);
    at->value = 1234;
    C::table::const_iterator const constant_at = at;
    CHECK(constant_at->value == 1234);
    CHECK(table.iterator_to(place_of<C>(table, at->key)) == at);
    CHECK(static_cast<std::size_t>(std::distance(table.begin(), table.end())) == table.size());
    // From what was found one may go on.
    std::set<std::uint64_t> rest;
    for (auto one = at; one != table.end(); ++one) rest.insert(one->key);
    CHECK(rest.size() == table.size() - 1);
}

TEST_CASE("flat table: a run that is taken lies side by side, and what is left comes behind it") {
    using C = asking<owning, zero, best_matching>;
    {
        C::table table;
        table.reserve(40);
        fill<C>(table, 20);  // all slots of the first group, six of the second
        auto const first = table.take(5);
        CHECK(first.size() == 5);
        CHECK(first[0].key == 0);
        CHECK(first[4].key == 4);
        CHECK(table.size() == 15);
        CHECK(std::distance(table.begin(), table.end()) == 15);
        auto const second = table.take(100);
        CHECK(second.size() == 9);
        CHECK(second[0].key == 5);
        std::destroy(first.begin(), first.end());
        std::destroy(second.begin(), second.end());
        CHECK(table.size() == 6);
        auto const third = table.take(1);
        CHECK(third.size() == 1);
        CHECK(third[0].key == 14);
        std::destroy(third.begin(), third.end());
        owning::check_count(5);
        table.clear();
        owning::check_count(0);
        CHECK(table.size() == 0);
        CHECK(table.take(1).empty());
        fill<C>(table, 5);
        auto const fourth = table.take(100);
        CHECK(fourth.size() == 5);
        CHECK(table.size() == 0);
        std::destroy(fourth.begin(), fourth.end());
    }
}

TEST_CASE("flat table: with a kept hash values are taken one by one") {
    using C = keeping<plain, spread, best_matching>;
    C::table table;
    fill<C>(table, 100);
    std::set<std::uint64_t> seen;
    for (auto run = table.take(50); !run.empty(); run = table.take(50)) {
        CHECK(run.size() == 1);
        seen.insert(run[0].key);
    }
    CHECK(seen.size() == 100);
}

TEST_CASE("flat table: what is thrown while a value is made, or refused after, leaves the table as it was") {
    using C = keeping<owning, few, best_matching>;
    {
        C::table table;
        model expected;
        for (std::uint64_t key = 0; key < 200; ++key) {
            auto const hash = C::hash::of(key);
            CHECK_THROWS_AS(table.insert(
                                hash, []() -> owning { throw std::runtime_error("make"); }, [](owning&) {}),
                            std::runtime_error);
            CHECK_THROWS_AS(
                table.insert(
                    hash, [&] { return owning(key, 1); }, [](owning&) { throw std::runtime_error("then"); }),
                std::runtime_error);
            CHECK(!place_of<C>(table, key).exists());
            owning::check_count(expected.size());
            table.insert(
                hash, [&] { return owning(key, 1); }, [](owning& made) { *made.owned = 2; });
            expected.emplace(key, 2);
        }
        check_same<C>(table, expected);
        CHECK_THROWS_AS(table.find(C::hash::of(1), [](owning const&) -> bool { throw std::runtime_error("equal"); }),
                        std::runtime_error);
        check_same<C>(table, expected);
    }
    owning::check_count(0);
}

TEST_CASE("flat table: where hashes are kept, a search asks for equality of equal hashes alone") {
    using C = keeping<plain, same_tag, best_matching>;
    C::table table;
    fill<C>(table, 1'000);
    std::size_t asked = 0;
    for (std::uint64_t key = 0; key < 1'000; ++key) {
        auto const at = table.find(C::hash::of(key), [&](plain const& one) {
            ++asked;
            return one.key == key;
        });
        CHECK(at.exists());
    }
    CHECK(asked == 1'000);
}

TEST_CASE("flat table: more room than there can be is refused") {
    using C = plain_config;
    C::table table;
    fill<C>(table, 10);
    CHECK_THROWS_AS(table.reserve(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
    CHECK_THROWS_AS(table.reserve(std::numeric_limits<std::size_t>::max() / 2), std::bad_alloc);
    CHECK(table.size() == 10);
    CHECK(place_of<C>(table, 9).exists());
}

// ---- memory

TEST_CASE("flat table: equal hashes cost searches, but no memory") {
    using C = asking<plain, constant, best_matching>;
    C::table table;
    fill<C>(table, 10'000);
    CHECK(table.memory() == memory_for<C>(10'000));
    CHECK(table.memory() < 10'000 * 77);
}

TEST_CASE("flat table: memory is as documented, just before it grows and after") {
    struct entry32 : plain {
        using plain::plain;
        std::uint64_t version = 0;
        std::uint64_t updates = 0;
    };
    using C = asking<entry32, spread, best_matching>;
    C::table table;
    fill<C>(table, 13 * 1024);
    CHECK(table.memory() < 36 * table.size());
    insert<C>(table, 1'000'000, 0);
    CHECK(table.memory() < 72 * table.size());
    CHECK(table.memory() > 70 * table.size());
}

TEST_CASE("flat table: memory is kept for the next filling") {
    using C = plain_config;
    C::table table;
    fill<C>(table, 5'000);
    auto const memory = table.memory();
    CHECK(memory == memory_for<C>(5'000));
    for (int filling = 0; filling < 100; ++filling) {
        table.clear();
        CHECK(table.memory() == memory);
        fill<C>(table, 5'000);
        CHECK(table.memory() == memory);
    }
}

TEST_CASE("flat table: after 16 fillings that need less than a quarter, the next begins with what they need") {
    using C = plain_config;
    C::table table;
    fill<C>(table, 5'000);
    auto const memory = table.memory();
    for (int filling = 0; filling < 16; ++filling) table.clear();  // the large one is judged with the first 16
    CHECK(table.memory() == memory);
    for (int filling = 0; filling < 16; ++filling) {
        CHECK(table.memory() == memory);
        fill<C>(table, 100);
        table.clear();
    }
    CHECK(table.memory() == 0);
    insert<C>(table, 1, 1);
    CHECK(table.memory() == memory_for<C>(100));
    CHECK(memory_for<C>(100) > memory_for<C>(1));
}

TEST_CASE("flat table: what was erased, taken, or moved into another table was needed too") {
    using C = plain_config;
    enum class way_out { erased, taken, absorbed };
    auto const out = GENERATE(way_out::erased, way_out::taken, way_out::absorbed);
    INFO("way out " << static_cast<int>(out));
    C::table table;
    fill<C>(table, 1'000);
    auto const memory = table.memory();
    table.clear();
    std::size_t given_back = 0;
    for (int filling = 0; filling < 40; ++filling) {
        fill<C>(table, 1'000);
        C::table other;
        switch (out) {
            case way_out::erased:
                for (std::uint64_t key = 0; key < 1'000; ++key) {
                    static_cast<void>(table.erase(place_of<C>(table, key)));
                }
                break;
            case way_out::taken:
                while (!table.take(100).empty()) continue;
                break;
            case way_out::absorbed: other.absorb(std::move(table)); break;
        }
        table.clear();  // NOLINT(bugprone-use-after-move)
        given_back += table.memory() == memory ? 0 : 1;
    }
    CHECK(given_back == 0);
}

TEST_CASE("flat table: a filling of a quarter and more, now and then, keeps the memory") {
    using C = plain_config;
    C::table table;
    fill<C>(table, 5'000);
    auto const memory = table.memory();
    table.clear();
    for (int filling = 0; filling < 200; ++filling) {
        fill<C>(table, filling % 7 == 0 ? 2'000 : 1);
        table.clear();
        CHECK(table.memory() == memory);
    }
}

TEST_CASE("flat table: shrink_to_fit gives all back, and the next filling begins small") {
    using C = plain_config;
    C::table table;
    fill<C>(table, 5'000);
    table.clear();
    table.shrink_to_fit();
    CHECK(table.memory() == 0);
    CHECK(!place_of<C>(table, 1).exists());
    insert<C>(table, 1, 1);
    CHECK(table.memory() == memory_for<C>(1));
}

TEST_CASE("flat table: reserve makes room, once") {
    using C = plain_config;
    C::table table;
    table.reserve(1'000);
    auto const memory = table.memory();
    fill<C>(table, 1'000);
    CHECK(table.memory() == memory);
    table.reserve(500);
    CHECK(table.memory() == memory);
}

// ---- erasing

TEMPLATE_TEST_CASE("flat table: a million values come and go, and leave nothing behind", "",
                   (asking<plain, spread, counting<best_matching>>),
                   (keeping<plain, spread, counting<portable_matching>>)) {
    using C = TestType;
    typename C::table table;
    constexpr std::uint64_t held = 1'500;
    fill<C>(table, held);
    auto const memory = table.memory();
    auto& visited = counting<std::conditional_t<std::is_same_v<C, asking<plain, spread, counting<best_matching>>>,
                                                best_matching, portable_matching>>::visited;
    auto const groups_asked = [&] {
        visited = 0;
        for (std::uint64_t key = 0; key < 10'000; ++key) {
            static_cast<void>(place_of<C>(table, 1'000'000'000 + key).exists());
        }
        return visited;
    };
    std::uint64_t at_first = 0;
    for (std::uint64_t next = held; next < 1'000'000; ++next) {
        if (next == 20'000) at_first = groups_asked();
        auto const at = place_of<C>(table, next - held);
        if (!at.exists()) FAIL("lost " << next - held);
        static_cast<void>(table.erase(at));
        insert<C>(table, next, next);
    }
    CHECK(table.memory() == memory);
    CHECK(at_first < 10'000 * 8);
    CHECK(groups_asked() < at_first * 5 / 4);
    for (std::uint64_t key = 1'000'000 - held; key < 1'000'000; ++key) {
        static_cast<void>(table.erase(place_of<C>(table, key)));
    }
    CHECK(table.size() == 0);
    CHECK(groups_asked() == 10'000);  // one each: no group says that a value went past it
    table.clear();
    CHECK(table.memory() == memory);
}

TEST_CASE("flat table: values of one hash that come and go leave nothing behind either") {
    using C = asking<plain, constant, counting<best_matching>>;
    C::table table;
    fill<C>(table, 500);
    for (std::uint64_t key = 0; key < 500; ++key) static_cast<void>(table.erase(place_of<C>(table, key * 7 % 500)));
    counting<best_matching>::visited = 0;
    CHECK(!place_of<C>(table, 1).exists());
    CHECK(counting<best_matching>::visited == 1);
    fill<C>(table, 500);
    table.clear();
    counting<best_matching>::visited = 0;
    CHECK(!place_of<C>(table, 1).exists());
    CHECK(counting<best_matching>::visited == 1);
}

TEST_CASE("flat table: a value that takes a freed slot is found before those behind it") {
    using C = asking<plain, constant, counting<best_matching>>;
    C::table table;
    table.reserve(100);
    fill<C>(table, 100);
    static_cast<void>(table.erase(place_of<C>(table, 3)));
    insert<C>(table, 1'000, 1);
    counting<best_matching>::visited = 0;
    CHECK(place_of<C>(table, 1'000).exists());
    CHECK(counting<best_matching>::visited == 1);
}

TEST_CASE("flat table: more values pass a group than it can count, and each is found while they go") {
    // The i-th value of one hash lies in the slot i % 14 of the (i / 14)-th group of its way.
    struct no_hash {
        std::uint64_t operator()(std::uint64_t) const noexcept { return 0; }
    };
    using table_type = flat_table<std::uint64_t, no_hash>;
    constexpr std::uint64_t count = 66'000;
    table_type table;
    table.reserve(count);
    auto const insert_one = [&](std::uint64_t key) {
        table.insert(
            0, [key] { return key; }, [](std::uint64_t) {});
    };
    // So many have passed the first group that a count of 16 bits would be 0 again.
    constexpr std::uint64_t wraps_at = slot_group::size + slot_group::many + 1;
    for (std::uint64_t key = 0; key < wraps_at; ++key) insert_one(key);
    CHECK(table.find(0, [](std::uint64_t held) { return held == wraps_at - 1; }).exists());
    for (std::uint64_t key = wraps_at; key < count; ++key) insert_one(key);
    auto const missing = [&](std::uint64_t from, std::uint64_t step) {
        std::size_t lost = 0;
        for (std::uint64_t key = from; key < count; key += step) {
            lost += table.find(0, [key](std::uint64_t held) { return held == key; }).exists() ? 0 : 1;
        }
        return lost;
    };
    CHECK(missing(13, 1'999) == 0);
    CHECK(missing(count - 20, 1) == 0);
    constexpr std::size_t last_group = 8'191;
    std::vector<std::size_t> way{0};
    for (std::size_t step = 1; way.size() * 14 < count; ++step) way.push_back((way.back() + step) & last_group);
    constexpr std::uint64_t gone_to = 14 + slot_group::many;
    std::size_t wrong = 0;
    for (std::uint64_t key = 14; key < gone_to; ++key) {
        wrong += table.erase({.group = way[to_size(key / 14)], .slot = to_size(key % 14)}) == key ? 0 : 1;
    }
    CHECK(wrong == 0);
    CHECK(missing(gone_to, 7) == 0);
    CHECK(table.size() == count - slot_group::many);
    table.clear();
    CHECK(table.size() == 0);
    table.insert(
        0, [] { return std::uint64_t{1}; }, [](std::uint64_t) {});
    CHECK(table.find(0, [](std::uint64_t held) { return held == 1; }).exists());
}

// ---- absorbing

TEST_CASE("flat table: one that absorbs holds both, and the other is empty and of use") {
    using C = keeping<owning, spread, best_matching>;
    auto const mine = GENERATE(std::uint64_t{0}, 1, 12, 100, 3'000);
    auto const theirs = GENERATE(std::uint64_t{0}, 1, 13, 100, 3'000);
    {
        C::table table;
        C::table other;
        model expected;
        for (std::uint64_t key = 0; key < mine; ++key) {
            insert<C>(table, key, key);
            expected.emplace(key, key);
        }
        for (std::uint64_t key = 0; key < theirs; ++key) {
            insert<C>(other, 1'000'000 + key, key);
            expected.emplace(1'000'000 + key, key);
        }
        auto const memory = other.memory();
        table.absorb(std::move(other));
        check_same<C>(table, expected);
        CHECK(other.size() == 0);  // NOLINT(bugprone-use-after-move)
        CHECK(other.memory() == memory);
        insert<C>(other, 5, 5);
        insert<C>(other, 6, 6);
        CHECK(value_of(other[place_of<C>(other, 6)]) == 6);
        CHECK(static_cast<std::size_t>(std::distance(other.begin(), other.end())) == 2);
    }
    owning::check_count(0);
}

TEST_CASE("flat table: equals in two tables are both kept") {
    using C = plain_config;
    C::table table;
    C::table other;
    fill<C>(table, 3);
    fill<C>(other, 3);
    table.absorb(std::move(other));
    CHECK(table.size() == 6);
}
