// SPDX-License-Identifier: MIT
//
// Many producers against swaps, flushes, updates, failures and a stop. What the processor and `undelivered` were
// handed is checked by a checker that knows nothing of the library: nothing lost, doubled or out of order.
#include "../support/catch.hpp"

#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tidefall::write_status;

namespace {

struct item {
    std::uint32_t producer;
    std::uint32_t number;
};

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

/// Where each producer's items have come out, in the order of the calls for each partition.
class checker {
public:
    explicit checker(std::size_t producers) : next_(producers, 0), seen_(producers) {}

    /// Items in the order of one partition; a producer keeps to one partition, so its numbers only grow.
    void in_order(std::span<item const> batch) {
        for (auto const& one : batch) {
            auto& next = next_[one.producer];
            if (one.number < next) ++out_of_order;
            next = one.number + 1;
            seen(one);
        }
    }

    void seen(item const& one) {
        auto& numbers = seen_[one.producer];
        if (numbers.size() <= one.number) numbers.resize(one.number + 1, 0);
        if (++numbers[one.number] > 1) ++doubled;
        ++count;
    }

    /// Every number below a producer's own count came out.
    void check_complete(std::vector<std::uint32_t> const& accepted) {
        std::uint64_t lost = 0;
        for (std::size_t producer = 0; producer < accepted.size(); ++producer) {
            for (std::uint32_t number = 0; number < accepted[producer]; ++number) {
                if (number >= seen_[producer].size() || seen_[producer][number] == 0) ++lost;
            }
            if (seen_[producer].size() > accepted[producer]) ++lost;
        }
        CHECK(lost == 0);
        CHECK(doubled == 0);
        CHECK(out_of_order == 0);
    }

    std::uint64_t count = 0;
    std::uint64_t doubled = 0;
    std::uint64_t out_of_order = 0;

private:
    std::vector<std::uint32_t> next_;
    std::vector<std::vector<std::uint8_t>> seen_;
};

struct plan {
    unsigned producers;
    std::size_t partitions;
    bool fails;
    std::chrono::nanoseconds stop_within;
};

void run(plan const& how, std::uint64_t seed, std::uint32_t items_a_producer) {
    std::mutex mutex;
    checker check(how.producers);
    std::atomic<std::uint64_t> failed_batches{0};
    std::vector<std::uint32_t> accepted(how.producers, 0);
    tidefall::buffer_stats stats;
    {
        tidefall::queue<item> items(
            {.partitions = how.partitions,
             .processing_interval = 200us,
             .processing_batch_size = 100,
             .processing_timeout = 10s,
             .drain_threshold = 5'000},
            [&](std::span<item> batch) {
                if (how.fails && batch.front().number % 7 == 3) throw ++failed_batches;
                std::lock_guard const lock(mutex);
                check.in_order(batch);
            },
            [&](std::span<item> rest, tidefall::failure const&) {
                std::lock_guard const lock(mutex);
                for (auto const& one : rest) check.seen(one);
            });

        std::vector<std::thread> threads;
        std::atomic<unsigned> at_work{how.producers};
        for (unsigned producer = 0; producer < how.producers; ++producer) {
            threads.emplace_back([&, producer] {
                std::mt19937_64 random(seed + producer);
                std::uint32_t number = 0;
                std::vector<item> range;
                while (number < items_a_producer) {
                    if (random() % 16 == 0) {
                        range.clear();
                        auto const size = random() % 700;
                        for (std::uint32_t i = 0; i < size; ++i) range.push_back({producer, number + i});
                        auto const taken = items.push_range(range);
                        number += static_cast<std::uint32_t>(taken);
                        if (taken < size) break;
                    } else {
                        auto const status = items.push({producer, number});
                        if (status != write_status::accepted) break;
                        ++number;
                    }
                }
                accepted[producer] = number;
                --at_work;
            });
        }
        threads.emplace_back([&] {
            std::mt19937_64 random(seed);
            while (at_work > 0) {
                switch (random() % 4) {
                    case 0: {
                        // A stop may give up beside it.
                        auto const complete = items.flush().complete;
                        if (how.stop_within == std::chrono::nanoseconds::max()) CHECK(complete);
                        break;
                    }
                    case 1: items.flush(0s); break;
                    case 2:
                        items.update_options({.processing_interval = std::chrono::microseconds(50 + random() % 2000),
                                              .processing_batch_size = 1 + random() % 1000,
                                              .drain_threshold = random() % 2 == 0
                                                                     ? std::optional<std::size_t>(1 + random() % 10'000)
                                                                     : std::nullopt});
                        break;
                    default: {
                        auto const now = items.stats();
                        CHECK(now.accepted >= now.processed + now.failed);
                        CHECK(items.size() <= std::uint64_t{how.producers} * items_a_producer);
                    }
                }
            }
        });
        if (how.stop_within != std::chrono::nanoseconds::max()) {
            // In the midst of it.
            while (items.stats().processed < items_a_producer / 2) std::this_thread::yield();
            items.stop(how.stop_within);
        }
        for (auto& thread : threads) thread.join();
        auto const report = items.stop();
        if (how.stop_within == std::chrono::nanoseconds::max()) CHECK(report.complete);
        while (items.stats().in_flight > 0) std::this_thread::yield();  // a call that the stop did not wait for
        stats = items.stats();
    }
    std::uint64_t total = 0;
    for (auto const count : accepted) total += count;
    CHECK(stats.accepted == total);
    CHECK(stats.accepted == stats.processed + stats.failed + stats.dropped + stats.pending + stats.in_flight);
    CHECK(stats.pending == 0);
    CHECK(check.count == total);
    CHECK((stats.failed > 0) == (failed_batches > 0));
    check.check_complete(accepted);
}

}  // namespace

TEST_CASE("stress: producers against ticks, thresholds, flushes and updates") {
    for (plan const& how :
         {plan{1, 1, false, std::chrono::nanoseconds::max()}, plan{4, 2, false, std::chrono::nanoseconds::max()},
          plan{8, 1, true, std::chrono::nanoseconds::max()}, plan{8, 8, true, std::chrono::nanoseconds::max()}}) {
        INFO("producers " << how.producers << ", partitions " << how.partitions);
        run(how, seed(), 400'000);
    }
}

TEST_CASE("stress: a stop in the midst of it") {
    for (int round = 0; round < 20; ++round) {
        INFO("round " << round);
        auto const at_once = round % 2 == 0;
        run({4, 3, round % 3 == 0, at_once ? 0ns : std::chrono::nanoseconds(10s)},
            seed() + static_cast<std::uint64_t>(round), 50'000);
    }
}
