// SPDX-License-Identifier: MIT
//
// Queues whose stripes lean to threads that write alone, against all that ends a lean: intruders, looks from outside,
// swaps, changed limits, threads that end and others that take their places and addresses, buffers that do.
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/stress.hpp"

#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace std::chrono_literals;
using tests::checker;
using tests::dice;
using tests::stamp;
using tidefall::write_status;

namespace {

using stamp_queue = tidefall::queue<stamp>;

void push(stamp_queue& to, checker& check, std::uint64_t count) {
    for (; count > 0; --count) {
        auto const mark = check.next(0);
        if (to.push(mark) == write_status::accepted) check.wrote(mark);
    }
}

/// Whatever looks at, or changes, a queue from outside, until it is told to end.
class disturbance {
public:
    disturbance(stamp_queue& of, std::uint64_t seed)
        : thread_([this, &of, seed] {
              dice rolls(seed);
              while (!is_over_) {
                  switch (rolls.below(6)) {
                      case 0: static_cast<void>(of.size()); break;
                      case 1: static_cast<void>(of.stats()); break;
                      case 2: of.update_options({.capacity = std::optional<std::size_t>(1'000'000)}); break;
                      case 3: of.update_options({.capacity = std::optional<std::size_t>{}}); break;
                      case 4: of.flush(); break;
                      default: in_a_fork(of);
                  }
                  std::this_thread::yield();
              }
          }) {}
    ~disturbance() {
        is_over_ = true;
        thread_.join();
    }
    disturbance(disturbance const&) = delete;
    disturbance& operator=(disturbance const&) = delete;

private:
    /// In a child, where the owners are gone, nothing is accepted.
    static void in_a_fork([[maybe_unused]] stamp_queue& of) {
#if defined(__linux__)
        if constexpr (tests::sanitized) return;  // threads and forks do not go together there
        auto const child = fork();
        if (child == 0) _exit(of.push(stamp{}) == write_status::stopped ? 0 : 1);
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0) ++wrong_children;
#endif
    }

    std::atomic<bool> is_over_{false};
    std::thread thread_;

public:
    static inline std::atomic<int> wrong_children{0};
};

}  // namespace

TEST_CASE("stress: owners, intruders and looks from outside") {
    auto const each = tests::unless_sanitized(3'000'000);
    constexpr std::size_t owners = 3;
    std::vector<checker::lane_rule> const lanes(1 + owners, {checker::rule::each, false});
    checker check(lanes);
    stamp_queue items({.partitions = owners, .processing_interval = 2ms, .processing_batch_size = 1'000},
                      [&](std::span<stamp const> batch) {
                          for (auto const& one : batch) check.came_out(one, checker::turn::regular);
                      });
    std::atomic<std::uint64_t> intruded{0};
    {
        disturbance const outside(items, tests::stress_seed());
        tests::on_threads(owners + 1, [&](std::size_t index) {
            if (index < owners) return push(items, check, each);
            // An intruder's values go where the owners write, now and then.
            dice rolls(tests::stress_seed() + 1);
            for (std::uint64_t left = each / 100; left > 0; --left) {
                auto const to = static_cast<std::uint32_t>(rolls.below(owners));
                auto const mark = check.next(1 + to);
                if (items.push(mark, tidefall::partition_key{to}) == write_status::accepted) {
                    check.wrote(mark);
                    ++intruded;
                }
            }
        });
    }
    CHECK(items.stop(std::chrono::nanoseconds::max()).complete);
    auto const stats = items.stats();
    CHECK(stats.accepted == owners * each + intruded);
    CHECK(stats.processed == stats.accepted);
    CHECK(disturbance::wrong_children == 0);
    tests::check_conservation(stats);
    CHECK(check.verdict() == "");
}

TEST_CASE("stress: owners that end, and others at their places and addresses") {
    auto const turns = tests::unless_sanitized(100);
    constexpr std::uint64_t each = 8'000;
    std::optional<stamp_queue> items;
    for (std::uint64_t turn = 0; turn < turns; ++turn) {
        checker check({{checker::rule::each, false}});
        // At the address of the one before.
        items.emplace(tidefall::options{.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 1'000},
                      [&](std::span<stamp const> batch) {
                          for (auto const& one : batch) check.came_out(one, checker::turn::regular);
                      });
        for (int round = 0; round < 5; ++round) {
            tests::on_threads(3, [&](std::size_t) { push(*items, check, each); });
        }
        CHECK(items->stop(std::chrono::nanoseconds::max()).complete);
        CHECK(items->stats().processed == 15 * each);
        CHECK(check.verdict() == "");
    }
}
