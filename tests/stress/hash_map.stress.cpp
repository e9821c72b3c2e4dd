// SPDX-License-Identifier: MIT
//
// Many threads on few keys, against ticks all the time: no update is lost, no older version comes after a newer one,
// each accepted write has one outcome.
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/stress.hpp"

#include <tidefall/hash_map.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

using namespace std::chrono_literals;
using tests::checker;
using tests::stamp;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::write_status;

namespace {

constexpr std::size_t threads = 4;

tidefall::options ticking(std::size_t partitions) {
    return {.partitions = partitions, .processing_interval = 1ms, .processing_batch_size = 16};
}

}  // namespace

TEST_CASE("stress: 20,000,000 updates: the sums are exact, and no older value comes after a newer one") {
    struct sum {
        stamp last{};
        std::uint64_t added = 0;
    };
    constexpr std::uint32_t keys = 500;
    std::uint64_t const updates = tests::unless_sanitized(5'000'000);
    checker check(std::vector<checker::lane_rule>(keys, {checker::rule::last, true}));
    auto how = ticking(2);
    how.processing_batch_size = 100;
    hash_map<std::uint32_t, sum> map(how, [&](std::span<entry<std::uint32_t, sum> const> all) {
        for (auto const& one : all) {
            check.came_out(one.key == one.value.last.lane ? one.value.last : stamp{}, checker::turn::regular,
                           one.value.added);
        }
    });
    tests::on_threads(threads, [&](std::size_t thread) {
        tests::dice random(tests::stress_seed() + thread);
        for (std::uint64_t i = 0; i < updates; ++i) {
            if (thread == 0 && i == updates / 2) map.flush();  // whatever the time, there is more than one tick
            // Most writes meet on a few keys.
            auto const key = static_cast<std::uint32_t>(random.below(i % 4 == 0 ? keys : 5));
            auto const mark = check.next(key);
            auto const add = [&](sum& to) {
                to.last = mark;
                to.added += i;
            };
            auto const status = i % 2 == 0 ? map.update(key, add) : map.update(key, sum{}, add);
            if (status == write_status::accepted) check.wrote(mark, i);
        }
    });
    CHECK(map.stop(std::chrono::nanoseconds::max()).complete);
    auto const stats = map.stats();
    CHECK(stats.accepted == threads * updates);
    CHECK(stats.accepted == stats.processed + stats.coalesced);
    CHECK(stats.ticks > 1);
    CHECK(check.verdict() == "");
}

TEST_CASE("stress: with automatic versions, of two calls one after the other the later wins, over ticks too") {
    constexpr std::size_t keys = 7;
    constexpr std::size_t writes = 60'000;
    struct moments {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
    };
    struct delivery {
        std::size_t id;
        std::uint64_t version;
    };
    // By the identity of a write, a thread's own in a row.
    std::vector<moments> when(threads * writes);
    std::atomic<std::uint64_t> time{0};
    std::atomic<std::uint64_t> stale{0};
    std::array<std::vector<delivery>, keys> delivered;
    {
        // A key is in one partition, whose calls come one after the other.
        hash_map<std::size_t, std::size_t> map(ticking(3), [&](std::span<entry<std::size_t, std::size_t>> all) {
            for (auto const& one : all) delivered[one.key].push_back({one.value, one.version});
        });
        tests::on_threads(threads, [&](std::size_t thread) {
            tests::dice random(tests::stress_seed() + thread);
            for (std::size_t i = 0; i < writes; ++i) {
                if (thread == 0 && i == writes / 2) map.flush();  // whatever the time, a key comes out twice
                auto const id = thread * writes + i;
                when[id].begin = ++time;
                if (map.put_newer(random.below(keys), id) == write_status::stale) ++stale;
                when[id].end = ++time;
            }
        });
        map.stop();
        CHECK(map.stats().refused == stale);
        tests::check_conservation(map.stats());
    }
    std::uint64_t overtaken = 0;
    std::uint64_t doubled = 0;
    for (auto& of_key : delivered) {
        std::uint64_t latest_begin = 0;
        for (auto const& one : of_key) {
            if (when[one.id].end < latest_begin) ++overtaken;
            latest_begin = std::max(latest_begin, when[one.id].begin);
        }
        std::vector<std::uint64_t> versions;
        for (auto const& one : of_key) versions.push_back(one.version);
        std::sort(versions.begin(), versions.end());
        doubled += std::adjacent_find(versions.begin(), versions.end()) != versions.end() ? 1 : 0;
        CHECK(of_key.size() > 1);
    }
    CHECK(overtaken == 0);
    CHECK(doubled == 0);
}

TEST_CASE("stress: one tick delivers of each key the greatest version that it accepted, with the count of updates") {
    constexpr std::size_t keys = 3;
    constexpr std::uint64_t writes = 60'000;
    // Versions come from one counter of this test, drawn before the write, as by several sources of one truth.
    std::array<std::atomic<std::uint64_t>, keys> next{};
    std::array<std::atomic<std::uint64_t>, keys> accepted{};
    std::array<std::uint64_t, keys> updates{};
    std::array<std::uint64_t, keys> entries{};
    std::array<std::uint64_t, keys> greatest{};
    std::mutex mutex;
    std::uint64_t doubled = 0;
    std::uint64_t wrong = 0;
    using map_type = hash_map<std::size_t, std::uint64_t>;
    {
        map_type map(ticking(1), [&](map_type::table_type table) {
            std::lock_guard const lock(mutex);
            std::array<int, keys> here{};
            for (auto const& one : table) {
                if (++here[one.key] > 1) ++doubled;
                if (one.value != one.version) ++wrong;
                if (table.find(one.key)->version != one.version) ++wrong;
                // Of the versions that were accepted in this tick it is the greatest of at least so many.
                if (one.version < one.updates) ++wrong;
                updates[one.key] += one.updates;
                ++entries[one.key];
                greatest[one.key] = std::max(greatest[one.key], one.version);
            }
        });
        tests::on_threads(threads, [&](std::size_t thread) {
            for (std::uint64_t i = 0; i < writes; ++i) {
                auto const key = (i + thread) % keys;
                auto const version = ++next[key];
                if (map.put_newer(key, version, version) == write_status::accepted) ++accepted[key];
            }
        });
        map.stop();
        tests::check_conservation(map.stats());
    }
    CHECK(doubled == 0);
    CHECK(wrong == 0);
    for (std::size_t key = 0; key < keys; ++key) {
        // Each accepted write made an entry or replaced one.
        CHECK(updates[key] + entries[key] == accepted[key]);
        // Nothing is newer than the last version, so it was accepted, and delivered.
        CHECK(greatest[key] == next[key]);
    }
}
