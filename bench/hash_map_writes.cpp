// SPDX-License-Identifier: MIT
//
// What the other calls of a map cost beside its put, while ticks drain: `update`, `put_newer` and `put_all` of 256
// pairs, with u64 keys drawn evenly from 100,000 and values of 8 bytes; and `get` of what waits, without ticks. Where a
// call needs a map with versions, so does the put beside it. maps.hpp has the rivals.
#include "maps.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t writes = 4'000'000;

/// The call in question, by a name that makes it the one that is divided by the others.
template <typename Operation, typename Version>
class asked : public bench::tidefall_map<Operation, Version> {
public:
    static constexpr char const* name = "tidefall::hash_map";
    using bench::tidefall_map<Operation, Version>::tidefall_map;
};

template <typename Version>
class its_put : public bench::tidefall_map<bench::put, Version> {
public:
    static constexpr char const* name = "hash_map::put";
    using bench::tidefall_map<bench::put, Version>::tidefall_map;
};

/// Each writer gathers 250 pairs, and writes them by one call. It has a multiple of them in each round.
class put_all : public bench::tidefall_map<bench::put, void> {
public:
    static constexpr char const* name = "tidefall::hash_map";
    using tidefall_map::tidefall_map;

    auto writer() { return gathering(*this); }

private:
    class gathering {
    public:
        explicit gathering(put_all& to) : to_(&to) { pairs_.reserve(size); }
        void operator()(std::uint64_t number) {
            pairs_.emplace_back(bench::key_of(number, to_->keys()), number);
            if (pairs_.size() == size) write();
        }

    private:
        void write() {
            to_->map().put_all(pairs_);
            pairs_.clear();
        }

        static constexpr std::size_t size = 250;
        put_all* to_;
        std::vector<std::pair<bench::key, bench::value>> pairs_;
    };
};

/// Counts what its readers found.
template <typename Map>
class read_map {
public:
    explicit read_map(std::uint64_t keys) : map_(keys), keys_(keys) {}
    static constexpr char const* name = Map::name;

    auto writer() {
        return [this, found = std::uint64_t{0}, left = told_each](std::uint64_t number) mutable {
            found += map_.has(bench::key_of(number, keys_)) ? 1 : 0;
            if (--left > 0) return;
            found_ += found;
            found = 0;
            left = told_each;
        };
    }
    void finish() {}
    bool verify(std::uint64_t count) { return found_.exchange(0) == count; }

private:
    static constexpr int told_each = 1'000;  ///< reads; a thread has a multiple of them in each round

    Map map_;
    std::uint64_t keys_;
    std::atomic<std::uint64_t> found_{0};
};

class tidefall_reads {
public:
    static constexpr char const* name = "tidefall::hash_map";
    explicit tidefall_reads(std::uint64_t keys) {
        for (bench::key i = 0; i < keys; ++i) map_.put(i, i);
    }
    bool has(bench::key by) { return map_.get(by) == by; }

private:
    tidefall::hash_map<bench::key, bench::value> map_{
        {.processing_interval = std::chrono::hours(1), .processing_batch_size = 512},
        [](std::span<tidefall::entry<bench::key, bench::value>>) {}};
};

class mutex_reads {
public:
    static constexpr char const* name = "mutex and unordered_map";
    explicit mutex_reads(std::uint64_t keys) {
        for (bench::key i = 0; i < keys; ++i) map_.emplace(i, i);
    }
    bool has(bench::key by) {
        std::lock_guard const lock(mutex_);
        auto const found = map_.find(by);
        return found != map_.end() && found->second == by;
    }

private:
    std::mutex mutex_;
    std::unordered_map<bench::key, bench::value> map_;
};

#if defined(TIDEFALL_BENCH_BOOST)
class boost_reads {
public:
    static constexpr char const* name = "boost::concurrent_flat_map";
    explicit boost_reads(std::uint64_t keys) {
        for (bench::key i = 0; i < keys; ++i) map_.emplace(i, i);
    }
    bool has(bench::key by) {
        bench::value held = 0;
        map_.cvisit(by, [&](auto const& one) { held = one.second; });
        return held == by;
    }

private:
    boost::concurrent_flat_map<bench::key, bench::value> map_;
};
#endif

}  // namespace

int main(int count, char** arguments) {
    bench::contest contest(writes, 15);
    constexpr std::uint64_t keys = 100'000;
    for (unsigned const writers : {1U, 2U}) {
        auto const by = std::to_string(writers) + (writers == 1 ? " thread, " : " threads, ");
        auto const enter = [&]<typename Operation, typename Version>(char const* what) {
            auto const setting = by + what;
            contest.enter<asked<Operation, Version>>(setting, writers, keys);
            contest.enter<its_put<Version>>(setting, writers, keys);
            contest.enter<bench::mutex_and_maps<Operation>>(setting, writers, keys);
#if defined(TIDEFALL_BENCH_CUCKOO)
            contest.enter<bench::cuckoo_map<Operation>>(setting, writers, keys);
#endif
#if defined(TIDEFALL_BENCH_BOOST)
            contest.enter<bench::boost_concurrent_map<Operation, false>>(setting, writers, keys);
            contest.enter<bench::boost_concurrent_map<Operation, true>>(setting, writers, keys);
#endif
        };
        enter.operator()<bench::update, void>("update");
        enter.operator()<bench::put_newer, std::uint64_t>("put_newer");
        contest.enter<put_all>(by + "put_all", writers, keys);
        contest.enter<its_put<void>>(by + "put_all", writers, keys);
        contest.enter<read_map<tidefall_reads>>(by + "get", writers, keys);
        contest.enter<its_put<std::uint64_t>>(by + "get", writers, keys);
        contest.enter<read_map<mutex_reads>>(by + "get", writers, keys);
#if defined(TIDEFALL_BENCH_BOOST)
        contest.enter<read_map<boost_reads>>(by + "get", writers, keys);
#endif
    }
    return contest.hold(count, arguments);
}
