// SPDX-License-Identifier: MIT
//
// Very many values through a queue, from several producers, against ticks all the time: none is lost, doubled or out of
// order.
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/stress.hpp"

#include <tidefall/queue.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::checker;
using tests::stamp;

namespace {

constexpr std::size_t producers = 3;

/// Pushes them one by one and side by side, and has them checked as they come out.
void push_through(std::uint64_t values_each, tidefall::options how) {
    // With one partition the order is over all producers.
    checker check({{checker::rule::each, how.partitions == 1}});
    tidefall::queue<stamp> items(std::move(how), [&](std::span<stamp const> batch) {
        for (auto const& one : batch) check.came_out(one, checker::turn::regular);
    });
    tests::on_threads(producers, [&](std::size_t index) {
        constexpr std::uint64_t most = 200;
        std::vector<stamp> range;
        bool flushed = false;
        for (std::uint64_t left = values_each; left > 0;) {
            for (auto single = std::min(left, most); single > 0; --single, --left) {
                auto const mark = check.next(0);
                if (items.push(mark) == tidefall::write_status::accepted) check.wrote(mark);
            }
            auto const many = std::min(left, most);
            auto const first = check.next(0, many);
            range.assign(static_cast<std::size_t>(many), first);
            for (std::uint64_t i = 0; i < many; ++i) range[static_cast<std::size_t>(i)].number += i;
            auto const taken = items.push_range(range);
            for (std::size_t i = 0; i < taken; ++i) check.wrote(range[i]);
            left -= many;
            // Whatever the time, there is more than one tick.
            if (index == 0 && !flushed && left <= values_each / 2) flushed = items.flush().complete;
        }
    });
    CHECK(items.stop(std::chrono::nanoseconds::max()).complete);
    auto const stats = items.stats();
    CHECK(stats.accepted == producers * values_each);
    CHECK(stats.processed == producers * values_each);
    CHECK(stats.ticks > 1);
    tests::check_conservation(stats);
    CHECK(check.verdict() == "");
}

}  // namespace

TEST_CASE("stress: 20,000,000 values through a queue") {
    push_through(tests::unless_sanitized(4'000'000),
                 {.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 1'000});
    push_through(tests::unless_sanitized(2'666'667),
                 {.partitions = 1, .processing_interval = 1ms, .processing_batch_size = 100});
}

TEST_CASE("stress: 10,000,000 values through a queue whose writers wait for room") {
    push_through(tests::unless_sanitized(3'333'334), {.partitions = 2,
                                                      .processing_interval = 1ms,
                                                      .processing_batch_size = 500,
                                                      .capacity = 5'000,
                                                      .overflow_timeout = std::chrono::nanoseconds::max()});
}
