// SPDX-License-Identifier: MIT
//
// The real engine, with a writer parked right before it takes its stripe's lock: what happens meanwhile must not lose
// its value. CMakeLists.txt builds this file against broken engines too, which must fail it.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;

namespace {

/// A thread that pushes one item and stops before it takes the lock, until it is released.
class parked_push {
public:
    parked_push(tidefall::queue<int>& to, int item)
        : thread_([this, &to, item] {
              tests::before_exchange = [this] {
                  tests::before_exchange = nullptr;
                  parked_.open();
                  go_on_.wait();
              };
              result_ = to.push(item);
          }) {
        parked_.wait();
    }
    ~parked_push() {
        if (thread_.joinable()) release();
    }
    parked_push(parked_push const&) = delete;
    parked_push& operator=(parked_push const&) = delete;

    write_status release() {
        go_on_.open();
        thread_.join();
        return *result_;
    }

private:
    latch parked_;
    latch go_on_;
    std::optional<write_status> result_;
    std::thread thread_;
};

}  // namespace

TEST_CASE("protocol: a swap between the start of a push and its lock does not lose the item") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, seen);
    for (int swaps = 1; swaps <= 3; ++swaps) {
        parked_push late(items, 100 * swaps);
        for (int i = 0; i < swaps; ++i) {
            items.push(i);
            clock->advance(5s);
        }
        CHECK(late.release() == write_status::accepted);
        CHECK(items.size() == 1);
        clock->advance(5s);
        REQUIRE_FALSE(seen.values().empty());
        CHECK(seen.values().back() == 100 * swaps);
    }
}

TEST_CASE("protocol: a stop between the start of a push and its lock: the item is refused or drained, never lost") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, seen);
    items.push(1);
    parked_push late(items, 2);
    items.stop();
    CHECK(late.release() == write_status::stopped);
    auto const stats = items.stats();
    CHECK(stats.accepted == 1);
    CHECK(stats.refused == 1);
    CHECK(stats.processed == 1);
    CHECK(stats.pending == 0);
    CHECK(seen.values() == std::vector<int>{1});
}

TEST_CASE("protocol: no second drain of a partition begins beside the first") {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch release;
    std::atomic<int> calls{0};
    std::atomic<int> concurrent{0};
    std::atomic<int> most{0};
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_batch_size = 1, .runtime = clock},
                               [&](std::span<int> batch) {
                                   most = std::max(most.load(), ++concurrent);
                                   if (++calls == 1) {
                                       entered.open();
                                       release.wait();
                                   }
                                   seen(batch);
                                   --concurrent;
                               });
    items.push(1);
    items.push(2);
    std::thread drains([&] { clock->advance(5s); });
    entered.wait();
    items.push(3);
    auto const complete = items.flush().complete;  // a second drain would run here
    auto const calls_meanwhile = calls.load();
    release.open();
    drains.join();
    items.stop();
    CHECK_FALSE(complete);
    CHECK(calls_meanwhile == 1);
    CHECK(most == 1);
    CHECK(seen.values() == std::vector<int>{1, 2, 3});
}
