// SPDX-License-Identifier: MIT
//
// What a put costs while ticks drain: u64 keys drawn evenly from 1,000, 100,000 or 2,000,000, values of 8 bytes.
//
// boost::unordered_flat_map without any lock is the limit: its one writer looks at the clock every 1,024 puts and hands
// a full table to a thread that visits it. maps.hpp has the others, and contest.hpp says how the runs are made.
#include "maps.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

namespace {

constexpr std::uint64_t writes = 4'000'000;

#if defined(TIDEFALL_BENCH_BOOST)

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
        written_.insert_or_assign(bench::key_of(number, keys_), number);
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
        next_ = std::chrono::steady_clock::now() + bench::map_interval();
    }
    void serve() {
        while (!stop_) {
            if (!handed_over_) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
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
    bench::map_sink sink_;
    boost::unordered_flat_map<bench::key, bench::value> written_;
    boost::unordered_flat_map<bench::key, bench::value> drained_;
    std::chrono::steady_clock::time_point next_{};
    std::atomic<bool> handed_over_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

#endif

}  // namespace

int main(int count, char** arguments) {
    bench::contest contest(writes, 15);
    for (std::uint64_t const keys : {1'000U, 100'000U, 2'000'000U}) {
        for (unsigned const writers : {1U, 2U}) {
            auto const setting = std::to_string(keys) + " keys, " + std::to_string(writers) + " threads";
            contest.enter<bench::tidefall_map<bench::put, void>>(setting, writers, keys);
            contest.enter<bench::tidefall_map<bench::put, std::uint64_t>>(setting, writers, keys);
            contest.enter<bench::mutex_and_maps<bench::put>>(setting, writers, keys);
#if defined(TIDEFALL_BENCH_CUCKOO)
            contest.enter<bench::cuckoo_map<bench::put>>(setting, writers, keys);
#endif
#if defined(TIDEFALL_BENCH_BOOST)
            contest.enter<bench::boost_concurrent_map<bench::put, false>>(setting, writers, keys);
            contest.enter<bench::boost_concurrent_map<bench::put, true>>(setting, writers, keys);
            if (writers == 1) contest.enter<boost_unsynchronised_map>(setting, writers, keys);
#endif
        }
    }
    return contest.hold(count, arguments);
}
