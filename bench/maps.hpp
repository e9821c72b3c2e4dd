// SPDX-License-Identifier: MIT
//
// The maps that are compared, and what is done to them. Every 20 ms (TIDEFALL_BENCH_INTERVAL_MS in the environment)
// each contestant's table is exchanged for an empty one and every entry of the old one is visited, on another thread.
// boost::concurrent_flat_map takes part twice: with a fresh table for each tick, and with two that keep their memory.
// libcuckoo cannot be exchanged beside its writers, and is locked instead.
#pragma once

#include "contest.hpp"

#include <tidefall/hash_map.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(TIDEFALL_BENCH_CUCKOO)
#include <libcuckoo/cuckoohash_map.hh>
#endif

#if defined(TIDEFALL_BENCH_BOOST)
#include <boost/unordered/concurrent_flat_map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#endif

namespace bench {

using namespace std::chrono_literals;
using key = std::uint64_t;
using value = std::uint64_t;

inline std::chrono::milliseconds map_interval() {
    static auto const found = interval_or(20);
    return found;
}

/// The key of a write, evenly drawn: the same for every contestant.
inline key key_of(std::uint64_t number, std::uint64_t keys) {
    auto bits = number * 0x9e3779b97f4a7c15U;
    bits ^= bits >> 32;
    bits *= 0xd6e8feb86659fd93U;
    return (bits >> 32) * keys >> 32;
}

/// Entries that were delivered, and their keys, so that no visit can be left out.
struct map_sink {
    std::atomic<std::uint64_t> entries{0};
    std::atomic<std::uint64_t> keys{0};

    void add(std::uint64_t count, std::uint64_t sum) {
        entries.fetch_add(count, std::memory_order_relaxed);
        keys.fetch_add(sum, std::memory_order_relaxed);
    }
};

/// A version beside a value, for a map that has none of its own.
struct versioned {
    value held = 0;
    std::uint64_t version = 0;
};

// What is done to a map, to tidefall's (`by_tidefall`), to boost's (`by_boost`), to libcuckoo's (`by_cuckoo`) and to
// the standard library's (`by_standard`), under a lock. `mapped` is what the others store.

struct put {
    using mapped = value;
    static void by_tidefall(auto& map, key by, std::uint64_t number) { map.put(by, number); }
    static void by_boost(auto& map, key by, std::uint64_t number) { map.insert_or_assign(by, number); }
    static void by_cuckoo(auto& map, key by, std::uint64_t number) { map.insert_or_assign(by, number); }
    static void by_standard(auto& map, key by, std::uint64_t number) { map.insert_or_assign(by, number); }
};

struct update {
    using mapped = value;
    static void by_tidefall(auto& map, key by, std::uint64_t number) {
        map.update(by, [number](value& sum) { sum += number; });
    }
    static void by_boost(auto& map, key by, std::uint64_t number) {
        map.emplace_or_visit(by, number, [number](auto& one) { one.second += number; });
    }
    static void by_cuckoo(auto& map, key by, std::uint64_t number) {
        map.upsert(
            by, [number](value& sum) { sum += number; }, number);
    }
    static void by_standard(auto& map, key by, std::uint64_t number) { map[by] += number; }
};

struct put_newer {
    using mapped = versioned;
    static void by_tidefall(auto& map, key by, std::uint64_t number) { map.put_newer(by, number, number + 1); }
    static void by_boost(auto& map, key by, std::uint64_t number) {
        map.emplace_or_visit(by, versioned{number, number + 1}, [number](auto& one) { take(one.second, number); });
    }
    static void by_cuckoo(auto& map, key by, std::uint64_t number) {
        map.upsert(
            by, [number](versioned& held) { take(held, number); }, versioned{number, number + 1});
    }
    static void by_standard(auto& map, key by, std::uint64_t number) { take(map[by], number); }

private:
    static void take(versioned& held, std::uint64_t number) {
        if (number + 1 > held.version) held = {number, number + 1};
    }
};

/// `Version`: void, as other maps have none, or what a map has that compares versions.
template <typename Operation, typename Version>
class tidefall_map {
public:
    static constexpr char const* name = std::is_void_v<Version> ? "tidefall::hash_map" : "hash_map with versions";
    explicit tidefall_map(std::uint64_t keys) : keys_(keys) {}

    void write(std::uint64_t number) { Operation::by_tidefall(map_, key_of(number, keys_), number); }
    void finish() { map_.flush(); }
    bool verify(std::uint64_t count) {
        auto const now = map_.stats();
        auto const writes = now.accepted - before_.accepted + now.refused - before_.refused;
        bool const right =
            writes == count && now.processed == sink_.entries && now.processed + now.coalesced == now.accepted;
        before_ = now;
        return right;
    }

protected:
    std::uint64_t keys() const { return keys_; }
    auto& map() { return map_; }

private:
    std::uint64_t keys_;
    map_sink sink_;
    tidefall::buffer_stats before_;
    tidefall::hash_map<key, value, std::hash<key>, std::equal_to<key>, Version> map_{
        {.processing_interval = map_interval(), .processing_batch_size = 512},
        [this](std::span<tidefall::entry<key, value, Version> const> batch) {
            std::uint64_t sum = 0;
            for (auto const& one : batch) sum += one.key;
            sink_.add(batch.size(), sum);
        }};
};

/// Calls `tick` each interval, on a thread of its own, and when it is asked.
class map_ticks {
public:
    explicit map_ticks(std::function<void()> tick) : tick_(std::move(tick)), thread_([this] { serve(); }) {}
    ~map_ticks() {
        stop_ = true;
        thread_.join();
    }
    map_ticks(map_ticks const&) = delete;
    map_ticks& operator=(map_ticks const&) = delete;

    void tick_now() {
        asked_ = true;
        while (asked_) std::this_thread::yield();
    }

private:
    void serve() {
        while (!stop_) {
            auto const next = std::chrono::steady_clock::now() + map_interval();
            while (!stop_ && !asked_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(1ms);
            bool const asked = asked_;
            tick_();
            if (asked) asked_ = false;
        }
    }

    std::function<void()> tick_;
    std::atomic<bool> asked_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// What people write by hand: one mutex, two maps of the standard library, a thread that swaps them.
template <typename Operation>
class mutex_and_maps {
public:
    static constexpr char const* name = "mutex and unordered_map";
    explicit mutex_and_maps(std::uint64_t keys) : keys_(keys), thread_([this] { serve(); }) {}
    ~mutex_and_maps() {
        {
            std::lock_guard const lock(mutex_);
            stop_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    mutex_and_maps(mutex_and_maps const&) = delete;
    mutex_and_maps& operator=(mutex_and_maps const&) = delete;

    void write(std::uint64_t number) {
        auto const by = key_of(number, keys_);
        std::lock_guard const lock(mutex_);
        Operation::by_standard(written_, by, number);
    }
    void finish() {
        std::unique_lock lock(mutex_);
        auto const drain = ++asked_;
        wake_.notify_one();
        drained_once_.wait(lock, [&] { return done_ >= drain; });
    }
    bool verify(std::uint64_t) {
        std::lock_guard const lock(mutex_);
        return written_.empty() && drained_.empty();
    }

private:
    void serve() {
        std::unique_lock lock(mutex_);
        while (!stop_) {
            wake_.wait_for(lock, map_interval(), [&] { return stop_ || asked_ > done_; });
            auto const upto = asked_;
            drained_.swap(written_);
            lock.unlock();
            std::uint64_t sum = 0;
            for (auto const& one : drained_) sum += one.first;
            sink_.add(drained_.size(), sum);
            drained_.clear();
            lock.lock();
            done_ = upto;
            drained_once_.notify_all();
        }
    }

    std::uint64_t keys_;
    map_sink sink_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable drained_once_;
    std::unordered_map<key, typename Operation::mapped> written_;
    std::unordered_map<key, typename Operation::mapped> drained_;
    std::uint64_t asked_ = 0;
    std::uint64_t done_ = 0;
    bool stop_ = false;
    std::thread thread_;
};

#if defined(TIDEFALL_BENCH_BOOST)

template <typename Operation, bool KeepsMemory>
class boost_concurrent_map {
    using map = boost::concurrent_flat_map<key, typename Operation::mapped>;

public:
    static constexpr char const* name = KeepsMemory ? "boost::concurrent, kept" : "boost::concurrent, fresh";
    explicit boost_concurrent_map(std::uint64_t keys) : keys_(keys) {}

    void write(std::uint64_t number) { Operation::by_boost(written_, key_of(number, keys_), number); }
    void finish() { ticks_.tick_now(); }
    bool verify(std::uint64_t) { return written_.empty() && drained_.empty(); }

private:
    void tick() {
        written_.swap(drained_);
        std::uint64_t count = 0;
        std::uint64_t sum = 0;
        drained_.cvisit_all([&](auto const& one) {
            ++count;
            sum += one.first;
        });
        sink_.add(count, sum);
        if constexpr (KeepsMemory) {
            drained_.clear();
        } else {
            drained_ = map();
        }
    }

    std::uint64_t keys_;
    map_sink sink_;
    map written_;
    map drained_;
    map_ticks ticks_{[this] { tick(); }};
};

#endif

#if defined(TIDEFALL_BENCH_CUCKOO)

/// It cannot be exchanged beside its writers: a tick locks all of it, visits it and clears it.
template <typename Operation>
class cuckoo_map {
public:
    static constexpr char const* name = "libcuckoo";
    explicit cuckoo_map(std::uint64_t keys) : keys_(keys) {}

    void write(std::uint64_t number) { Operation::by_cuckoo(map_, key_of(number, keys_), number); }
    void finish() { ticks_.tick_now(); }
    bool verify(std::uint64_t) { return map_.empty(); }

private:
    void tick() {
        auto all = map_.lock_table();
        std::uint64_t count = 0;
        std::uint64_t sum = 0;
        for (auto const& one : all) {
            ++count;
            sum += one.first;
        }
        sink_.add(count, sum);
        all.clear();
    }

    std::uint64_t keys_;
    map_sink sink_;
    libcuckoo::cuckoohash_map<key, typename Operation::mapped> map_;
    map_ticks ticks_{[this] { tick(); }};
};

#endif

}  // namespace bench
