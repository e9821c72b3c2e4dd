// SPDX-License-Identifier: MIT
//
// What a put costs while ticks drain: u64 keys drawn evenly from 1,000, 100,000 or 2,000,000, values of 8 bytes.
//
// Every 20 ms (TIDEFALL_BENCH_INTERVAL_MS in the environment) each contestant's table is exchanged for an empty one and
// every entry of the old one is visited, on another thread. boost::concurrent_flat_map takes part twice: with a fresh
// table for each tick, and with two that keep their memory. boost::unordered_flat_map without any lock is the limit:
// its one writer looks at the clock every 1,024 puts and hands a full table to a thread that visits it. contest.hpp
// says how the runs are made.
#include "contest.hpp"

#include <tidefall/hash_map.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <type_traits>

#if defined(TIDEFALL_BENCH_BOOST)
#include <boost/unordered/concurrent_flat_map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#endif

namespace {

using namespace std::chrono_literals;
using key = std::uint64_t;
using value = std::uint64_t;

auto const interval = bench::interval_or(20);
constexpr std::uint64_t writes = 4'000'000;

/// The key of a write, evenly drawn: the same for every contestant.
key key_of(std::uint64_t number, std::uint64_t keys) {
    auto bits = number * 0x9e3779b97f4a7c15U;
    bits ^= bits >> 32;
    bits *= 0xd6e8feb86659fd93U;
    return (bits >> 32) * keys >> 32;
}

/// Entries that were delivered, and their keys, so that no visit can be left out.
struct sink {
    std::atomic<std::uint64_t> entries{0};
    std::atomic<std::uint64_t> keys{0};

    void add(std::uint64_t count, std::uint64_t sum) {
        entries.fetch_add(count, std::memory_order_relaxed);
        keys.fetch_add(sum, std::memory_order_relaxed);
    }
};

/// `Version`: void, as other maps have none, or what a map has that compares versions.
template <typename Version>
class tidefall_map {
public:
    static constexpr char const* name = std::is_void_v<Version> ? "tidefall::hash_map" : "hash_map with versions";
    explicit tidefall_map(std::uint64_t keys) : keys_(keys) {}

    void write(std::uint64_t number) { map_.put(key_of(number, keys_), number); }
    void finish() { map_.flush(); }
    bool verify(std::uint64_t count) {
        auto const now = map_.stats();
        bool const right = now.accepted - before_.accepted == count && now.processed == sink_.entries &&
                           now.processed + now.coalesced == now.accepted;
        before_ = now;
        return right;
    }

private:
    std::uint64_t keys_;
    sink sink_;
    tidefall::buffer_stats before_;
    tidefall::hash_map<key, value, std::hash<key>, std::equal_to<key>, Version> map_{
        {.processing_interval = interval, .processing_batch_size = 512},
        [this](std::span<tidefall::entry<key, value, Version> const> batch) {
            std::uint64_t sum = 0;
            for (auto const& one : batch) sum += one.key;
            sink_.add(batch.size(), sum);
        }};
};

#if defined(TIDEFALL_BENCH_BOOST)

template <bool KeepsMemory>
class boost_concurrent_map {
    using map = boost::concurrent_flat_map<key, value>;

public:
    static constexpr char const* name = KeepsMemory ? "boost::concurrent, kept" : "boost::concurrent, fresh";
    explicit boost_concurrent_map(std::uint64_t keys) : keys_(keys), thread_([this] { serve(); }) {}
    ~boost_concurrent_map() {
        stop_ = true;
        thread_.join();
    }
    boost_concurrent_map(boost_concurrent_map const&) = delete;
    boost_concurrent_map& operator=(boost_concurrent_map const&) = delete;

    void write(std::uint64_t number) {
        auto const by = key_of(number, keys_);
        written_.insert_or_assign(by, number);
    }
    void finish() {
        drain_ = true;
        while (drain_) std::this_thread::yield();
    }
    bool verify(std::uint64_t) { return written_.empty() && drained_.empty(); }

private:
    void serve() {
        while (!stop_) {
            auto const next = std::chrono::steady_clock::now() + interval;
            while (!stop_ && !drain_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(1ms);
            bool const asked = drain_;
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
            if (asked) drain_ = false;
        }
    }

    std::uint64_t keys_;
    sink sink_;
    map written_;
    map drained_;
    std::atomic<bool> drain_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// The limit. One writer.
class boost_unsynchronised_map {
public:
    static constexpr char const* name = "boost::unordered, no lock";
    explicit boost_unsynchronised_map(std::uint64_t keys) : keys_(keys), thread_([this] { serve(); }) {}
    ~boost_unsynchronised_map() {
        stop_ = true;
        thread_.join();
    }
    boost_unsynchronised_map(boost_unsynchronised_map const&) = delete;
    boost_unsynchronised_map& operator=(boost_unsynchronised_map const&) = delete;

    void write(std::uint64_t number) {
        written_.insert_or_assign(key_of(number, keys_), number);
        if (number % 1024 == 0 && std::chrono::steady_clock::now() >= next_ && !handed_over_) hand_over();
    }
    void finish() {
        while (handed_over_) std::this_thread::yield();
        hand_over();
        while (handed_over_) std::this_thread::yield();
    }
    bool verify(std::uint64_t) { return written_.empty() && drained_.empty(); }

private:
    void hand_over() {
        written_.swap(drained_);
        handed_over_ = true;
        next_ = std::chrono::steady_clock::now() + interval;
    }
    void serve() {
        while (!stop_) {
            if (!handed_over_) {
                std::this_thread::sleep_for(1ms);
                continue;
            }
            std::uint64_t sum = 0;
            for (auto const& one : drained_) sum += one.first;
            sink_.add(drained_.size(), sum);
            drained_.clear();
            handed_over_ = false;
        }
    }

    std::uint64_t keys_;
    sink sink_;
    boost::unordered_flat_map<key, value> written_;
    boost::unordered_flat_map<key, value> drained_;
    std::chrono::steady_clock::time_point next_{};
    std::atomic<bool> handed_over_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

#endif

}  // namespace

int main(int count, char** arguments) {
    bench::contest contest(writes, 15, 2);
    for (std::uint64_t const keys : {1'000U, 100'000U, 2'000'000U}) {
        for (unsigned const writers : {1U, 2U}) {
            auto const setting = std::to_string(keys) + " keys, " + std::to_string(writers) + " threads";
            contest.enter<tidefall_map<void>>(setting, writers, keys);
            contest.enter<tidefall_map<std::uint64_t>>(setting, writers, keys);
#if defined(TIDEFALL_BENCH_BOOST)
            contest.enter<boost_concurrent_map<false>>(setting, writers, keys);
            contest.enter<boost_concurrent_map<true>>(setting, writers, keys);
            if (writers == 1) contest.enter<boost_unsynchronised_map>(setting, writers, keys);
#endif
        }
    }
    return contest.hold(count, arguments);
}
