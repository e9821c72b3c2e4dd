// SPDX-License-Identifier: MIT
//
// Values on their way through several buffers: stages with capacities, which wait for each other, and a sink of its own
// threads, which ends batches as it likes. None is lost or doubled.
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/stress.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::checker;
using tests::stamp;
using tidefall::async_batch;
using tidefall::overflow_policy;
using tidefall::write_status;

namespace {

constexpr auto never = std::chrono::nanoseconds::max();
constexpr std::size_t producers = 3;

/// Threads that take batches and answer each in some way.
class slow_sink {
public:
    slow_sink(std::size_t threads, std::function<void(async_batch<std::uint64_t>, tests::dice&)> answer)
        : answer_(std::move(answer)) {
        for (std::size_t i = 0; i < threads; ++i) {
            threads_.emplace_back([this, i] { serve(tests::stress_seed() + i); });
        }
    }
    ~slow_sink() {
        {
            std::lock_guard const lock(mutex_);
            closed_ = true;
        }
        changed_.notify_all();
        for (auto& one : threads_) one.join();
    }

    void take(async_batch<std::uint64_t> batch) {
        {
            std::lock_guard const lock(mutex_);
            arrived_.push_back(std::move(batch));
        }
        changed_.notify_one();
    }

private:
    void serve(std::uint64_t seed) {
        tests::dice random(seed);
        for (;;) {
            std::optional<async_batch<std::uint64_t>> next;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, [&] { return closed_ || !arrived_.empty(); });
                if (arrived_.empty()) return;
                auto const at = static_cast<std::ptrdiff_t>(random.below(arrived_.size()));
                next.emplace(std::move(arrived_[static_cast<std::size_t>(at)]));
                arrived_.erase(arrived_.begin() + at);
            }
            answer_(std::move(*next), random);
        }
    }

    std::function<void(async_batch<std::uint64_t>, tests::dice&)> const answer_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool closed_ = false;
    std::vector<async_batch<std::uint64_t>> arrived_;
    std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("stress: 1,500,000 values through three stages with capacities on two runtimes") {
    auto const values_each = tests::unless_sanitized(500'000);
    checker check({{checker::rule::each, true}});
    auto const first_runtime = tidefall::make_runtime({.workers = 3});  // two may wait
    auto const second_runtime = tidefall::make_runtime({.workers = 1});
    auto const stage = [](std::shared_ptr<tidefall::runtime> on, std::size_t batch, std::size_t capacity) {
        return tidefall::options{.partitions = 1,
                                 .processing_interval = 1ms,
                                 .processing_batch_size = batch,
                                 .capacity = capacity,
                                 .overflow_timeout = never,
                                 .shutdown_timeout = never,
                                 .runtime = std::move(on)};
    };
    std::atomic<std::uint64_t> refused{0};
    tidefall::queue<stamp> third(stage(second_runtime, 70, 300), [&](std::span<stamp const> batch) {
        for (auto const& one : batch) check.came_out(one, checker::turn::regular);
    });
    auto const hand_on = [&](tidefall::queue<stamp>& to) {
        return [&](std::span<stamp const> batch) { refused += batch.size() - to.push_range(batch); };
    };
    tidefall::queue<stamp> second(stage(first_runtime, 100, 200), hand_on(third));
    tidefall::queue<stamp> first(stage(first_runtime, 50, 1'000), hand_on(second));
    tests::on_threads(producers, [&](std::size_t) {
        for (auto left = values_each; left > 0; --left) {
            auto const mark = check.next(0);
            if (first.push(mark) == write_status::accepted) check.wrote(mark);
        }
    });
    CHECK(first.stop().complete);
    CHECK(second.stop().complete);
    CHECK(third.stop().complete);
    CHECK(refused == 0);
    CHECK(third.stats().processed == producers * values_each);
    CHECK(check.verdict() == "");
}

TEST_CASE("stress: 1,500,000 values to a sink that answers later, in part or not at all, under every limit") {
    auto const values_each = tests::unless_sanitized(500'000);
    constexpr auto weight = [](std::uint64_t value) { return static_cast<std::size_t>(1 + value % 5); };
    std::vector<std::atomic<unsigned char>> seen(producers * values_each);  // batches are completed in any order
    auto const came_out = [&](std::uint64_t value) { ++seen[static_cast<std::size_t>(value)]; };
    std::atomic<std::uint64_t> given_up{0};
    slow_sink sink(2, [&](async_batch<std::uint64_t> batch, tests::dice& random) {
        auto const values = batch.values();
        switch (random.below(20)) {
            case 0: batch.fail(std::make_exception_ptr(std::runtime_error("not now"))); return;
            case 1: return;
            case 2:
            case 3: {
                tidefall::batch_result result;
                for (std::size_t i = 0; i < values.size(); ++i) {
                    if (random.one_in(2)) {
                        came_out(values[i]);
                    } else {
                        result.reject(i);
                    }
                }
                result.retry_after(random.one_in(2) ? 0ns : 100us);
                batch.complete(std::move(result));
                return;
            }
            default:
                for (auto const one : values) came_out(one);
                batch.complete();
        }
    });
    tidefall::queue<std::uint64_t, tidefall::insertion_order, tidefall::weighed_by<weight>> items(
        {.partitions = 3,
         .processing_interval = 1ms,
         .processing_batch_size = 100,
         .processing_batch_weight = 250,
         .max_in_flight = 4,
         .capacity_weight = 20'000,
         .total_capacity = 10'000,
         .overflow_timeout = never,
         .shutdown_timeout = never},
        [&](async_batch<std::uint64_t> batch) { sink.take(std::move(batch)); },
        [&](std::span<std::uint64_t const> values, tidefall::failure const&) {
            given_up += values.size();
            for (auto const one : values) came_out(one);
        });
    tests::on_threads(producers, [&](std::size_t index) {
        for (auto left = values_each; left > 0; --left) {
            items.push(index * values_each + left - 1);
            if (index == 0 && left % 50'000 == 0) items.flush();
        }
    });
    CHECK(items.stop().complete);
    auto const stats = items.stats();
    CHECK(stats.accepted == producers * values_each);
    CHECK(stats.failed == given_up);
    CHECK(stats.processed == producers * values_each - given_up);
    tests::check_conservation(stats);
    CHECK(std::all_of(seen.begin(), seen.end(), [](auto const& times) { return times == 1; }));
}
