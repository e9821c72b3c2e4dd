// SPDX-License-Identifier: MIT
//
// A runtime that is polled, and what the threads of one that has some are told.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/threads.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tidefall::drain_report;
using tidefall::write_status;
using int_queue = tidefall::queue<int>;
using clock_type = std::chrono::steady_clock;

namespace {

constexpr auto nothing_to_come = clock_type::time_point::max();

tidefall::options on(std::shared_ptr<tidefall::runtime> polled) {
    return {.partitions = 1, .processing_interval = 1h, .shutdown_timeout = 1h, .runtime = std::move(polled)};
}

}  // namespace

TEST_CASE("polled: poll does what is due on the thread that calls it, and counts the drains") {
    auto const before = tests::thread_count();
    auto const polled = tidefall::make_polled_runtime();
    auto const here = std::this_thread::get_id();
    std::vector<int> taken;
    auto how = on(polled);
    how.drain_threshold = 3;
    int_queue items(how, [&](std::span<int> batch) {
        CHECK(std::this_thread::get_id() == here);
        taken.insert(taken.end(), batch.begin(), batch.end());
    });
    CHECK(tests::thread_count() == before);
    CHECK(polled->next_deadline() == nothing_to_come);
    CHECK(polled->poll() == 0);
    auto const now = clock_type::now();
    items.push(1);
    CHECK(polled->next_deadline() >= now + 1h);
    CHECK(polled->next_deadline() <= clock_type::now() + 1h);
    CHECK(polled->poll() == 0);
    items.push(2);
    items.push(3);
    CHECK(polled->next_deadline() <= clock_type::now());
    CHECK(taken.empty());
    CHECK(polled->poll() == 1);
    CHECK(taken == std::vector{1, 2, 3});
    items.update_options({.processing_interval = 1ns});
    items.push(4);
    while (polled->next_deadline() > clock_type::now()) std::this_thread::yield();
    CHECK(polled->poll() == 1);
    CHECK(taken.back() == 4);
}

TEST_CASE("polled: a drain that asks for another one leaves it to the next poll") {
    auto const polled = tidefall::make_polled_runtime();
    std::optional<int_queue> items;
    auto how = on(polled);
    how.drain_threshold = 1;
    int calls = 0;
    items.emplace(how, [&](std::span<int>) {
        if (++calls < 3) items->push(0);
    });
    items->push(0);
    for (int i = 1; i <= 3; ++i) {
        CHECK(polled->poll() == 1);
        CHECK(calls == i);
    }
    CHECK(polled->poll() == 0);
    items.reset();
}

TEST_CASE(
    "polled: flush, stop, a write that waits and the destructor do the work, and wait for what is offered again") {
    auto const polled = tidefall::make_polled_runtime();
    int attempts = 0;
    auto how = on(polled);
    how.capacity = 2;
    auto const fails_once = [&](std::span<int> batch, tidefall::batch_info const& info) {
        ++attempts;
        tidefall::batch_result result;
        if (info.attempt == 1 && batch.front() == 0) result.reject_from(0);
        return result.retry_after(1ms);
    };
    {
        int_queue items(how, fails_once);
        items.push(0);
        CHECK(items.flush() == drain_report{.processed = 1});
        CHECK(attempts == 2);
        for (int i = 1; i < 10; ++i) CHECK(items.push(i) == write_status::accepted);
        CHECK(items.stop().complete);
        CHECK(items.stats().processed == 10);
    }
    {
        int_queue items(how, fails_once);
        items.push(1);
        attempts = 0;
    }
    CHECK(attempts == 1);
}

TEST_CASE("polled: whoever brings the deadline forward tells, once, and not who polls") {
    int earlier = 0;
    auto const polled = tidefall::make_polled_runtime([&] {
        ++earlier;
        throw std::runtime_error("swallowed");
    });
    auto how = on(polled);
    how.drain_threshold = 2;
    std::optional<int_queue> items;
    items.emplace(how, [&](std::span<int> batch) {
        if (batch.front() == 1) items->push(9);
    });
    CHECK(earlier == 0);
    CHECK(polled->next_deadline() == nothing_to_come);
    std::thread([&] { items->push(1); }).join();
    CHECK(earlier == 1);
    std::thread([&] { items->push(1); }).join();  // a drain is due at once
    CHECK(earlier == 2);
    CHECK(polled->poll() == 1);
    CHECK(earlier == 2);
    static_cast<void>(polled->next_deadline());
    std::thread([&] { items->flush(0s); }).join();
    CHECK(earlier == 3);
    static_cast<void>(polled->next_deadline());
    std::thread([&] { items->push(7); }).join();  // behind what is due
    CHECK(earlier == 3);
    items.reset();
}

TEST_CASE("polled: who polls is told nothing by what it does itself, and then as anybody else") {
    int earlier = 0;
    auto const polled = tidefall::make_polled_runtime([&] { ++earlier; });
    auto how = on(polled);
    how.drain_threshold = 1;
    int_queue second(how, [](std::span<int>) {});
    int_queue first(how, [&](std::span<int>) {
        static_cast<void>(polled->next_deadline());
        second.push(1);
    });
    first.push(1);
    auto const before = earlier;
    CHECK(polled->poll() == 1);
    CHECK(polled->poll() == 1);
    CHECK(earlier == before);
    static_cast<void>(polled->next_deadline());
    second.push(2);
    CHECK(earlier == before + 1);
}

TEST_CASE("polled: a job that another one has done is none") {
    auto const polled = tidefall::make_polled_runtime();
    auto how = on(polled);
    how.drain_threshold = 1;
    int_queue second(how, [](std::span<int>) {});
    int_queue first(how, [&](std::span<int>) { second.flush(); });
    first.push(1);
    second.push(1);
    CHECK(polled->poll() == 1);
    CHECK(second.stats().processed == 1);
}

TEST_CASE("polled: what is rejected is offered again behind what is queued") {
    auto const polled = tidefall::make_polled_runtime();
    auto how = on(polled);
    how.drain_threshold = 1;
    std::string calls;
    auto const again = [] {
        tidefall::batch_result result;
        result.reject_from(0);
        return result.retry_after(0s);
    };
    int_queue second(how, [&](std::span<int>) { calls += " second"; });
    SECTION("a call that returns what it says") {
        int_queue first(how, [&](std::span<int const>, tidefall::batch_info const& info) {
            calls += " first";
            return info.attempt == 1 ? again() : tidefall::batch_result();
        });
        first.push(1);
        second.push(1);
        while (polled->poll() > 0) {
        }
    }
    SECTION("a call that completes its batch") {
        int_queue first(how, [&](tidefall::async_batch<int> batch) {
            calls += " first";
            if (batch.info().attempt == 1) return batch.complete(again());
            batch.complete();
        });
        first.push(1);
        second.push(1);
        while (polled->poll() > 0) {
        }
    }
    CHECK(calls == " first second first");
}

TEST_CASE("polled: batches that are completed on other threads bring the deadline forward, and timeouts are seen") {
    std::atomic<int> earlier{0};
    auto const polled = tidefall::make_polled_runtime([&] { ++earlier; });
    std::vector<tidefall::async_batch<int>> kept;
    auto how = on(polled);
    how.processing_batch_size = 1;
    how.processing_timeout = 1ms;
    int_queue items(how, [&](tidefall::async_batch<int> batch) { kept.push_back(std::move(batch)); });
    items.push(1);
    items.push(2);
    items.flush(0s);
    CHECK(polled->poll() == 1);
    REQUIRE(kept.size() == 1);
    auto const token = kept[0].token();
    while (!token.stop_requested()) polled->poll();
    static_cast<void>(polled->next_deadline());
    std::thread([&] { kept[0].complete(); }).join();
    CHECK(earlier >= 1);
    CHECK(polled->next_deadline() <= clock_type::now());
    CHECK(polled->poll() == 1);
    REQUIRE(kept.size() == 2);
    items.update_options({.processing_timeout = std::chrono::nanoseconds::max()});
    kept[1].complete();
    CHECK(items.stop().complete);
    CHECK(items.stats().failed == 1);
    CHECK(items.stats().processed == 1);
}

TEST_CASE("threads: each calls the functions of its runtime with its whole name when it begins and when it ends") {
    std::mutex mutex;
    std::vector<std::string> begun;
    std::vector<std::string> ended;
    auto const name = std::string("a name that is longer than the system's");
    {
        auto const runtime = tidefall::make_runtime({.workers = 2,
                                                     .thread_name = name,
                                                     .on_thread_start =
                                                         [&](std::string_view who) {
                                                             std::lock_guard const lock(mutex);
                                                             begun.emplace_back(who);
                                                             throw std::runtime_error("swallowed");
                                                         },
                                                     .on_thread_stop =
                                                         [&](std::string_view who) {
                                                             std::lock_guard const lock(mutex);
                                                             ended.emplace_back(who);
                                                             throw 1;
                                                         }});
        int_queue items(on(runtime), [](std::span<int>) {});
        items.push(1);
        CHECK(items.stop().processed == 1);
    }
    std::vector<std::string> expected{name + "/timer", name + "/watch", name + "/work/0", name + "/work/1"};
    std::sort(begun.begin(), begun.end());
    std::sort(ended.begin(), ended.end());
    CHECK(begun == expected);
    CHECK(ended == expected);
}
