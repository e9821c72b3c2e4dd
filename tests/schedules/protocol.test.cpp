// SPDX-License-Identifier: MIT
//
// The real engine, steered: a writer is parked right before it takes its stripe's lock, or while it holds it, or every
// wake-up is lost. Nothing may be lost or hang. CMakeLists.txt builds this file against broken engines too, which must
// fail it.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
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
              tests::before_exchange = [this](std::size_t) {
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

/// A queue whose items may be made under the lock, by a conversion.
class bare_queue : public tidefall::buffer<tidefall::queue_table<int>> {
public:
    using buffer::buffer;

    template <typename From>
    write_status insert(From from) {
        return write(route_by_thread(), [&](tidefall::queue_table<int>& table) {
            table.emplace_back(from);
            return write_status::accepted;
        });
    }
};

/// A thread that stops in the midst of a write, where it holds its stripe's lock, until it is released.
class write_in_progress {
public:
    write_in_progress(bare_queue& to, int item) : thread_([this, &to, item] { to.insert(parking{*this, item}); }) {
        parked_.wait();
    }
    ~write_in_progress() {
        go_on_.open();
        thread_.join();
    }
    write_in_progress(write_in_progress const&) = delete;
    write_in_progress& operator=(write_in_progress const&) = delete;

private:
    struct parking {
        write_in_progress& in;
        int item;
        operator int() const {  // NOLINT(google-explicit-constructor)
            in.parked_.open();
            in.go_on_.wait();
            return item;
        }
    };

    latch parked_;
    latch go_on_;
    std::thread thread_;
};

/// How a thread waits for a lock that is not released.
struct waiter {
    latch waits;
    int spins = 0;
    bool slept = false;

    /// Watches the calling thread.
    void watch() {
        tests::on_sleep = [this] {
            slept = true;
            stop_watching();
        };
        tests::on_spin = [this] {
            if (++spins == 10'000) stop_watching();
        };
    }

private:
    void stop_watching() {
        tests::on_spin = nullptr;
        waits.open();
        tests::on_sleep = nullptr;
    }
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

TEST_CASE("protocol: a swap waits for the write in progress, and delivers its item") {
    auto const clock = tidefall::make_manual_runtime();
    waiter swaps;
    tests::recorder<int> const seen;
    bare_queue items({.partitions = 1, .runtime = clock}, [&](std::span<int> batch) {
        seen(batch);
        swaps.waits.open();
    });
    for (int tick = 0; tick < 2; ++tick) {  // now both tables have been written to
        items.insert(0);
        clock->advance(5s);
    }
    swaps.waits.close();
    items.insert(1);
    std::thread ticks;
    std::vector<int> meanwhile;
    {
        write_in_progress const late(items, 2);
        ticks = std::thread([&] {
            swaps.watch();
            clock->advance(5s);
        });
        swaps.waits.wait();  // it waits for the lock, or has not heeded it
        meanwhile = seen.values();
    }
    ticks.join();
    CHECK(meanwhile == std::vector<int>{0, 0});
    CHECK(seen.values() == std::vector<int>{0, 0, 1, 2});
}

TEST_CASE("protocol: who waits for a stripe's lock goes to sleep, so that its holder can run") {
    auto const clock = tidefall::make_manual_runtime();
    bare_queue items({.partitions = 1, .runtime = clock}, [](std::span<int>) {});
    waiter second;
    std::thread pushes;
    {
        write_in_progress const first(items, 1);
        pushes = std::thread([&] {
            second.watch();
            items.insert(2);
        });
        second.waits.wait();
    }
    pushes.join();
    CHECK(second.slept);
    CHECK(items.size() == 2);
}

TEST_CASE("protocol: where every wake-up is lost, everything is late and nothing hangs") {
    struct lost_wake_ups {
        lost_wake_ups() { tests::wake_ups_are_lost = true; }
        ~lost_wake_ups() { tests::wake_ups_are_lost = false; }
    };
    lost_wake_ups const now;
    auto const processed = std::make_shared<std::atomic<int>>(0);
    auto const ticked = std::make_shared<latch>();
    auto const done = std::make_shared<std::promise<bool>>();
    auto complete = done->get_future();
    std::thread([processed, ticked, done] {
        bool all = true;
        {
            tidefall::queue<int> items({.partitions = 1,
                                        .processing_interval = 1ms,
                                        .capacity = 2,
                                        .overflow_timeout = std::chrono::nanoseconds::max(),
                                        .shutdown_timeout = std::chrono::nanoseconds::max()},
                                       [processed, ticked](std::span<int> batch) {
                                           *processed += static_cast<int>(batch.size());
                                           ticked->open();
                                       });
            items.push(1);
            ticked->wait();  // the timer looked, and a worker
            for (int i = 0; i < 4; ++i) all = items.push(i) == write_status::accepted && all;  // blocks for room
            all = items.flush().complete && all;
            items.push(5);
            all = items.stop().complete && all;
        }
        done->set_value(all);
    }).detach();  // which is left behind where it hangs
    REQUIRE(complete.wait_for(20s) == std::future_status::ready);
    CHECK(complete.get());
    CHECK(*processed == 6);
}
