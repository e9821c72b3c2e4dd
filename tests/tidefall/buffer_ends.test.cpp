// SPDX-License-Identifier: MIT
//
// No call outlives its buffer: the destructor waits for those that run all the same.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>
#include <tidefall/runtime.hpp>

#if defined(__unix__) || defined(__APPLE__)

#include "../support/standard_error.hpp"

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::any_buffer;
using tests::latch;
using tests::numbers;
using tests::standard_error;
using tests::until;
using tidefall::write_status;

namespace {

constexpr char const* still_waits =
    "tidefall: buffer \"slow\" is being destroyed and waits for a call of its processor that does not end, although "
    "its "
    "token was stopped (options::calls_at_destruction).\n";

}  // namespace

BUFFER_TEST_CASE("ends: the destructor waits for a call that honours its token, and then destroys the callables",
                 EVERY_BUFFER) {
    latch entered;
    std::atomic<bool> returned{false};
    auto const life = std::make_shared<int>(1);
    {
        any_buffer items(
            kind, {.partitions = 1, .drain_threshold = 1, .shutdown_timeout = 1ms},
            [&, life](std::span<int>, std::stop_token const& token) {
                latch stopped;
                std::stop_callback const opens(token, [&] { stopped.open(); });
                entered.open();
                stopped.wait();
                returned = true;
            },
            [life](std::span<int>, tidefall::failure const&) {});
        items.write(1);
        entered.wait();
    }
    CHECK(returned);
    CHECK(life.use_count() == 1);
}

BUFFER_TEST_CASE("ends: the destructor says once that it waits for a call that does not end, and waits on",
                 EVERY_BUFFER) {
    standard_error const captured;
    latch entered;
    auto const runtime = tidefall::make_runtime({.workers = 1});  // the destructor joins none of its threads
    auto const destroying = tests::this_thread_number();
    latch stopped;
    std::atomic<bool> left{false};
    std::atomic<bool> returned{false};
    auto const life = std::make_shared<int>(1);
    {
        any_buffer items(kind,
                         {.name = "slow",
                          .partitions = 1,
                          .drain_threshold = 1,
                          .shutdown_timeout = 1ms,
                          .unheard = tidefall::unheard_action::ignore,
                          .runtime = runtime},
                         [&, life](std::span<int>, std::stop_token const& token) {
                             std::stop_callback const opens(token, [&] { stopped.open(); });
                             entered.open();
                             stopped.wait();
                             until([&] { return captured.says("slow") || left; });
                             until([&] { return tests::is_asleep(destroying) || left; });
                             returned = true;
                         });
        items.write(1);
        entered.wait();
    }
    CHECK(returned);
    CHECK(life.use_count() == 1);
    CHECK(captured.text() == still_waits);
    left = true;
    until([&] { return returned.load(); });
}

BUFFER_TEST_CASE("ends: the destructor waits for calls that were given up", EVERY_BUFFER) {
    standard_error const captured;
    latch entered;
    std::atomic<bool> left{false};
    std::atomic<int> returned{0};
    auto const life = std::make_shared<int>(1);
    {
        any_buffer items(kind,
                         {.name = "slow",
                          .partitions = 1,
                          .processing_timeout = 1ms,
                          .timeout_action = tidefall::timeout_action::abandon,
                          .drain_threshold = 1,
                          .shutdown_timeout = 1ms,
                          .unheard = tidefall::unheard_action::ignore},
                         [&, life](std::span<int>) {
                             entered.open();
                             until([&] { return captured.says("slow") || left; });
                             ++returned;
                         });
        items.write(1);
        entered.wait();
        until([&] { return items.stats().abandoned == 1; });
        CHECK(items.stop().complete);
    }
    CHECK(returned == 1);
    CHECK(life.use_count() == 1);
    CHECK(captured.text() == still_waits);
    left = true;
    until([&] { return returned == 1; });
}

BUFFER_TEST_CASE("ends: a buffer that leaves its calls says nothing and does not wait", EVERY_BUFFER) {
    standard_error const captured;
    latch entered;
    auto const go_on = std::make_shared<latch>();
    std::atomic<bool> returned{false};
    auto const life = std::make_shared<int>(1);
    {
        any_buffer items(kind,
                         {.partitions = 1,
                          .drain_threshold = 1,
                          .shutdown_timeout = 1ms,
                          .calls_at_destruction = tidefall::destruction_action::leave,
                          .unheard = tidefall::unheard_action::ignore},
                         [&, life, go_on](std::span<int>) {
                             entered.open();
                             go_on->wait();
                             returned = true;
                         });
        items.write(1);
        entered.wait();
    }
    CHECK_FALSE(returned);
    CHECK(life.use_count() == 2);
    CHECK(captured.text().empty());
    go_on->open();
    until([&] { return life.use_count() == 1; });
}

BUFFER_TEST_CASE("ends: a call that another thread is in by its advance() is waited for, and its token stopped",
                 EVERY_BUFFER) {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    std::atomic<bool> returned{false};
    auto const life = std::make_shared<int>(1);
    std::thread advances;
    {
        any_buffer items(kind, tests::one_partition(clock), [&, life](std::span<int>, std::stop_token const& token) {
            latch stopped;
            std::stop_callback const opens(token, [&] { stopped.open(); });
            entered.open();
            stopped.wait();
            returned = true;
        });
        items.write(1);
        advances = std::thread([&] { clock->advance(5s); });
        entered.wait();
    }
    CHECK(returned);
    CHECK(life.use_count() == 1);
    advances.join();
}

BUFFER_TEST_CASE("ends: of a call that has ended by the time its token is stopped, nothing is said", EVERY_BUFFER) {
    standard_error const captured;
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch go_on;
    std::atomic<bool> returned{false};
    // Runs on the destructor's thread, and outlives the call, which would wait for it.
    std::optional<std::stop_callback<std::function<void()>>> stops;
    std::thread advances;
    {
        any_buffer items(
            kind,
            {.partitions = 1, .shutdown_timeout = 0s, .unheard = tidefall::unheard_action::ignore, .runtime = clock},
            [&](std::span<int>, std::stop_token const& token) {
                stops.emplace(token, [&] {
                    go_on.open();
                    until([&] { return returned.load(); });
                });
                entered.open();
                go_on.wait();
            });
        items.write(1);
        advances = std::thread([&] {
            clock->advance(5s);
            returned = true;
        });
        entered.wait();
    }
    CHECK(captured.text().empty());
    advances.join();
}

BUFFER_TEST_CASE("ends: destroyed in a callback beside a call that was given up, it returns at once", EVERY_BUFFER) {
    latch given_up;
    latch go_on;
    latch destroyed;
    std::unique_ptr<any_buffer> items;
    std::atomic<bool> first{true};
    auto const life = std::make_shared<int>(1);
    items = std::make_unique<any_buffer>(kind,
                                         tidefall::options{.partitions = 1,
                                                           .processing_batch_size = 1,
                                                           .processing_timeout = 1ms,
                                                           .timeout_action = tidefall::timeout_action::abandon,
                                                           .shutdown_timeout = std::chrono::nanoseconds::max(),
                                                           .unheard = tidefall::unheard_action::ignore},
                                         [&, life](std::span<int>, std::stop_token const& token) {
                                             if (first.exchange(false)) {
                                                 std::stop_callback const opens(token, [&] { given_up.open(); });
                                                 go_on.wait();
                                                 return;
                                             }
                                             given_up.wait();
                                             items.reset();
                                             destroyed.open();
                                         });
    items->write_all({1, 2});
    items->flush(0s);
    destroyed.wait();
    CHECK(life.use_count() == 2);
    go_on.open();
    until([&] { return life.use_count() == 1; });
}

// ---- those who keep buffers

TEST_CASE("ends: a registry's stop beside a call that runs is bounded, and its destructor waits for that call") {
    standard_error const captured;
    latch entered;
    std::atomic<bool> left{false};
    std::atomic<bool> returned{false};
    auto const life = std::make_shared<int>(1);
    {
        tidefall::registry<tidefall::queue<int>> all;
        all.start("slow",
                  {.partitions = 1,
                   .drain_threshold = 1,
                   .shutdown_timeout = 1ms,
                   .unheard = tidefall::unheard_action::ignore},
                  [&, life](std::span<int>) {
                      entered.open();
                      until([&] { return captured.says("slow") || left; });
                      returned = true;
                  })
            ->push(1);
        entered.wait();
        CHECK_FALSE(all.stop("slow", 0s).complete);
        CHECK_FALSE(all.find("slow"));
        CHECK_FALSE(returned);
        CHECK(life.use_count() == 2);
        all.start("slow", {.partitions = 1}, [](std::span<int>) {})->push(1);
        CHECK(all.stop("slow").processed == 1);
        CHECK(captured.text().empty());
    }
    CHECK(returned);
    CHECK(life.use_count() == 1);
    CHECK(captured.text() == still_waits);
    left = true;
    until([&] { return returned.load(); });
}

TEST_CASE("ends: a registry keeps a buffer for as long as its call runs, until a later stop") {
    latch entered;
    latch go_on;
    tidefall::registry<tidefall::queue<int>> all;
    std::weak_ptr<tidefall::queue<int>> kept;
    {
        auto const one = all.start("a", {.partitions = 1, .drain_threshold = 1}, [&](std::span<int>) {
            entered.open();
            go_on.wait();
        });
        one->push(1);
        kept = one;
    }
    entered.wait();
    CHECK_FALSE(all.stop("a", 0s).complete);
    auto const stop_another = [&] {
        all.start("b", {.partitions = 1}, [](std::span<int>) {});
        all.stop("b");
    };
    stop_another();
    CHECK_FALSE(kept.expired());
    go_on.open();
    until([&] { return kept.lock()->stats().processed == 1; });
    until([&] {
        stop_another();  // the call has returned; its worker may have a little to do
        return kept.expired();
    });
}

TEST_CASE("ends: a registry does not wait for the calls of a buffer that leaves them") {
    auto const entered = std::make_shared<latch>();
    auto const go_on = std::make_shared<latch>();
    auto const life = std::make_shared<int>(1);
    {
        tidefall::registry<tidefall::queue<int>> all;
        all.start("a",
                  {.partitions = 1,
                   .drain_threshold = 1,
                   .shutdown_timeout = 1ms,
                   .calls_at_destruction = tidefall::destruction_action::leave,
                   .unheard = tidefall::unheard_action::ignore},
                  [entered, go_on, life](std::span<int>) {
                      entered->open();
                      go_on->wait();
                  })
            ->push(1);
        entered->wait();
        CHECK_FALSE(all.stop("a", 0s).complete);
    }
    CHECK(life.use_count() == 2);
    go_on->open();
    until([&] { return life.use_count() == 1; });
}

#endif

TEST_CASE("ends: a range whose oldest value's undelivered destroys the queue ends there") {
    bool const side_by_side = GENERATE(true, false);
    auto const clock = tidefall::make_manual_runtime();
    std::unique_ptr<tidefall::queue<int>> items;
    items = std::make_unique<tidefall::queue<int>>(
        tidefall::options{
            .partitions = 1, .capacity = 4, .overflow = tidefall::overflow_policy::drop_oldest, .runtime = clock},
        [](std::span<int>) {},
        [&](std::span<int>, tidefall::failure const& why) {
            if (why.reason == tidefall::failure_reason::overflow) items.reset();
        });
    std::vector<int> const range(64);
    auto& one = *items;
    auto const accepted =
        side_by_side ? one.push_range(range) : one.push_range(std::list<int>(range.begin(), range.end()));
    CHECK(items == nullptr);
    clock->advance(0s);    // what was queued
    CHECK(accepted == 5);  // four that filled the partition, and one that needed room
}
