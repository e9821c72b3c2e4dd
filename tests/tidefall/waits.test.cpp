// SPDX-License-Identifier: MIT
//
// By which clock the library waits. The tests' own waits are without a time here.
#include "../support/waits.hpp"
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/threads.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>
#include <tidefall/runtime.hpp>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>

using namespace std::chrono_literals;
using tests::until;
using tidefall::write_status;

namespace {

std::uint64_t waits_by_system_clock() {
    return tests::timed_waits_so_far().by_system_clock;
}

}  // namespace

TEST_CASE(
    "waits: of threads that idle, of a flush, a blocked write, a stop and a destructor, none is by the system's "
    "clock") {
    auto const before = tests::timed_waits_so_far();
    std::atomic<bool> entered{false};
    std::atomic<bool> go_on{false};
    std::atomic<bool> stopped{false};
    {
        auto const runtime = tidefall::make_runtime({.workers = 2});
        until([] { return tests::others_are_asleep(); });  // the timer, the watchdog and the workers
        tidefall::queue<int> items(
            {.partitions = 1, .processing_interval = 1h, .capacity = 1, .overflow_timeout = 1h, .runtime = runtime},
            [&](std::span<int>, std::stop_token const& token) {
                entered = true;
                until([&] { return go_on || token.stop_requested(); });
                if (!token.stop_requested()) return;
                until([&] { return stopped.load(); });
            });
        items.push(1);
        until([&] { return entered.load(); });
        items.push(2);
        auto const asleep_in = [](auto act) {
            std::atomic<long> number{0};
            std::thread thread([&] {
                number = tests::this_thread_number();
                act();
            });
            until([&] { return number != 0 && tests::is_asleep(number); });
            return thread;
        };
        auto writer = asleep_in([&] { CHECK(items.push(3) == write_status::accepted); });
        auto flusher = asleep_in([&] { CHECK(items.flush(1h).complete); });
        go_on = true;
        writer.join();
        flusher.join();
        items.flush();
        go_on = false;
        entered = false;
        items.push(4);
        until([&] { return entered.load(); });
        CHECK_FALSE(items.stop(1ms).complete);
        stopped = true;
    }
    auto const after = tests::timed_waits_so_far();
    CHECK(after.by_system_clock == before.by_system_clock);
    CHECK(after.by_steady_clock > before.by_steady_clock);
}

TEST_CASE("waits: of an own runtime and of a registry, none is by the system's clock") {
    auto const before = waits_by_system_clock();
    {
        tidefall::queue<int> items({.partitions = 2, .processing_interval = 1ms}, [](std::span<int>) {});
        items.push(1);
        until([&] { return items.stats().processed == 1; });
        until([] { return tests::others_are_asleep(); });
    }
    {
        tidefall::registry<tidefall::queue<int>> all;
        all.start("a", {.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {})->push(1);
        CHECK(all.stop_all().processed == 1);
    }
    CHECK(waits_by_system_clock() == before);
}

TEST_CASE("waits: one by the system's clock is counted") {
    auto const before = waits_by_system_clock();
    std::mutex mutex;
    std::condition_variable changed;
    std::unique_lock lock(mutex);
    changed.wait_until(lock, std::chrono::system_clock::now() - 1s, [] { return false; });
    CHECK(waits_by_system_clock() > before);
}
