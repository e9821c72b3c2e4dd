// SPDX-License-Identifier: MIT
//
// Many threads on few keys, against ticks all the time: no update is lost, no older version comes after a newer one,
// each accepted write has one outcome.
#include "../support/catch.hpp"

#include <tidefall/hash_map.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tidefall::entry;
using tidefall::hash_map;
using tidefall::write_status;

namespace {

/// A chance that is the same for the same seed; TIDEFALL_SEED in the environment repeats a run.
std::uint64_t seed() {
    static std::uint64_t const chosen = [] {
        char const* const given = std::getenv("TIDEFALL_SEED");
        auto const value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
        WARN("TIDEFALL_SEED=" << value);
        return static_cast<std::uint64_t>(value);
    }();
    return chosen;
}

constexpr std::size_t threads = 4;

template <typename Work>
void on_threads(Work work) {
    std::vector<std::thread> all;
    for (std::size_t thread = 0; thread < threads; ++thread) all.emplace_back([&work, thread] { work(thread); });
    for (auto& one : all) one.join();
}

void check_conservation(tidefall::buffer_stats const& stats) {
    CHECK(stats.accepted == stats.processed + stats.failed + stats.dropped + stats.coalesced + stats.erased +
                                stats.pending + stats.in_flight);
}

tidefall::options ticking(std::size_t partitions) {
    return {.partitions = partitions, .processing_interval = 1ms, .processing_batch_size = 16};
}

}  // namespace

TEST_CASE("stress: the sums of many threads' updates are exact") {
    constexpr std::uint64_t keys = 5;
    constexpr std::uint64_t updates = 200'000;
    std::array<std::atomic<std::uint64_t>, keys> delivered{};
    tidefall::buffer_stats stats;
    {
        hash_map<std::uint64_t, std::uint64_t> map(ticking(2), [&](std::span<entry<std::uint64_t, std::uint64_t>> all) {
            for (auto const& one : all) delivered[one.key] += one.value;
        });
        on_threads([&](std::size_t thread) {
            for (std::uint64_t i = 0; i < updates; ++i) {
                auto const key = (i + thread) % keys;
                if (i % 2 == 0) {
                    map.update(key, [](std::uint64_t& sum) { ++sum; });
                } else {
                    map.update(key, std::uint64_t{0}, [](std::uint64_t& sum) { ++sum; });
                }
            }
        });
        map.stop();
        stats = map.stats();
    }
    for (auto const& sum : delivered) CHECK(sum == threads * updates / keys);
    CHECK(stats.accepted == threads * updates);
    CHECK(stats.accepted == stats.processed + stats.coalesced);
    CHECK(stats.ticks > 1);
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
        on_threads([&](std::size_t thread) {
            std::mt19937_64 random(seed() + thread);
            for (std::size_t i = 0; i < writes; ++i) {
                auto const id = thread * writes + i;
                when[id].begin = ++time;
                if (map.put_newer(random() % keys, id) == write_status::stale) ++stale;
                when[id].end = ++time;
            }
        });
        map.stop();
        CHECK(map.stats().refused == stale);
        check_conservation(map.stats());
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
        on_threads([&](std::size_t thread) {
            for (std::uint64_t i = 0; i < writes; ++i) {
                auto const key = (i + thread) % keys;
                auto const version = ++next[key];
                if (map.put_newer(key, version, version) == write_status::accepted) ++accepted[key];
            }
        });
        map.stop();
        check_conservation(map.stats());
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

TEST_CASE("stress: every write, read and erase at once, with failures, flushes and a stop in the midst") {
    for (int round = 0; round < 6; ++round) {
        INFO("round " << round);
        std::atomic<std::uint64_t> delivered{0};
        std::atomic<std::uint64_t> returned{0};
        std::atomic<std::uint64_t> accepted{0};
        std::atomic<std::uint64_t> refused{0};
        std::atomic<std::uint64_t> erased{0};
        tidefall::buffer_stats stats;
        {
            using map_type = hash_map<std::string, std::shared_ptr<std::uint64_t>>;
            auto how = ticking(2);
            how.drain_threshold = 200;
            map_type map(
                how,
                [&](std::span<map_type::value_type> all) {
                    if (round % 2 == 1 && *all.front().value % 5 == 0) throw 1;
                    delivered += all.size();
                },
                [&](std::span<map_type::value_type> all, tidefall::failure const&) { returned += all.size(); });
            auto const count = [&](write_status status) {
                (status == write_status::accepted ? accepted : refused) += 1;
                return status != write_status::stopped;
            };
            on_threads([&](std::size_t thread) {
                std::mt19937_64 random(seed() + thread + 10 * static_cast<std::uint64_t>(round));
                bool open = true;
                for (std::uint64_t i = 0; i < 40'000 && open; ++i) {
                    auto const key = "a key of more than fits in place " + std::to_string(random() % 500);
                    switch (random() % 12) {
                        case 0: open = count(map.put_newer(key, std::make_shared<std::uint64_t>(i))); break;
                        case 1:
                            open = count(map.put_newer(key, std::make_shared<std::uint64_t>(i), random() % 9));
                            break;
                        case 2: {
                            using shared = std::shared_ptr<std::uint64_t>;
                            open = count(map.update(key, [i](shared& v) { v = std::make_shared<std::uint64_t>(i); }));
                            break;
                        }
                        case 3:
                        case 4:
                            if (map.erase(key)) ++erased;
                            break;
                        case 5: {
                            auto const found = map.get(key);
                            if (found && *found == nullptr) FAIL("a value without content");
                            break;
                        }
                        case 6: map.contains(key); break;
                        case 7:
                            if (random() % 1'000 == 0) map.flush();
                            if (random() % 100 == 0) static_cast<void>(map.size());
                            if (round >= 4 && thread == 0 && i > 20'000) map.stop(round == 4 ? 10s : 0s);
                            break;
                        default: open = count(map.put(key, std::make_shared<std::uint64_t>(i))); break;
                    }
                }
            });
            map.stop();
            while (map.stats().in_flight > 0) std::this_thread::yield();
            stats = map.stats();
        }
        CHECK(stats.accepted == accepted);
        CHECK(stats.refused == refused);
        CHECK(stats.erased == erased);
        CHECK(stats.processed == delivered);
        CHECK(stats.failed + stats.dropped == returned);
        CHECK(stats.pending == 0);
        check_conservation(stats);
    }
}
