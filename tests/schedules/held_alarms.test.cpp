// SPDX-License-Identifier: MIT
//
// The real engine, where a watchdog or a timer is held, or has nothing to look at.
// CMakeLists.txt builds files of this kind against broken engines too, which must fail them.
#include "../support/catch.hpp"
#include "../support/control.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"
#include "held.hpp"

#include <tidefall/detail/drain/drain_control.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::abandoning;
using tests::counted_tables;
using tests::held_calls;
using tests::idle_task;
using tests::int_queue;
using tests::latch;
using tests::never;
using tests::patience;
using tests::schedule_of;
using tests::some_call;
using tests::until;

namespace {

/// Before any test: one that has just ended may be listed for a moment more.
std::size_t const threads = tests::thread_count();

/// Holds the watchdog before it locks the partition for the n-th time from `watch` on, until `release`.
class held_watchdog {
public:
    explicit held_watchdog(int nth) : left_(nth) {
        tests::before_lock = [this](void const* mutex) {
            auto const* const from = from_.load();
            auto const* const at = static_cast<char const*>(mutex);
            if (from == nullptr || at < from || at >= from + sizeof(tidefall::partition<tidefall::queue_table<int>>)) {
                return;
            }
            if (!tests::thread_name.ends_with("/watch") || --left_ != 0) return;
            held.open();
            go_on_.wait();
            from_ = nullptr;
        };
        tests::before_wait = [this] {
            if (go_on_.is_open() && tests::thread_name.ends_with("/watch")) went_on.open();
            if (tests::thread_name.ends_with("/work/1")) replacement_waits.open();
        };
    }
    ~held_watchdog() {
        tests::before_lock = nullptr;
        tests::before_wait = nullptr;
    }
    held_watchdog(held_watchdog const&) = delete;
    held_watchdog& operator=(held_watchdog const&) = delete;

    void watch(int_queue& one) { from_ = reinterpret_cast<char const*>(&one.partition(0)); }
    void release() { go_on_.open(); }

    latch held;
    latch went_on;            ///< it has done what it was about to do
    latch replacement_waits;  ///< for a job, beside the only worker

private:
    latch go_on_;
    std::atomic<char const*> from_{nullptr};
    std::atomic<int> left_;
};

}  // namespace

TEST_CASE("held: an alarm that a late watchdog hears leaves none set once the drain has ended") {
    // The hook that is called when the drain's last call has returned waits until the watchdog has looked.
    struct hook final : tidefall::telemetry_hook {
        void on_processing_stop(tidefall::processing_stop const&) override {
            if (++drains == 2) returned.open(), looked.wait();
        }
        std::atomic<int> drains{0};
        latch returned;
        latch looked;
    };
    held_watchdog watchdog(1);
    auto const events = std::make_shared<hook>();
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::atomic<int> calls{0};
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .processing_timeout = 1ms,
                     .unheard = tidefall::unheard_action::ignore,
                     .telemetry = events,
                     .runtime = runtime},
                    [&](std::span<int>) {
                        if (++calls == 1) watchdog.held.wait();  // as long as its timeout
                    });
    watchdog.watch(items);
    items.push(1);
    items.flush();  // its alarm has sounded, and is not heard yet
    items.update_options({.processing_timeout = 1h});
    items.push(2);
    items.flush(0s);  // the next call sets an alarm, and returns
    events->returned.wait();
    watchdog.release();
    watchdog.went_on.wait();
    events->looked.open();
    items.flush();
    CHECK(schedule_of(*runtime).timeouts.next() == tidefall::detail::never);
}

TEST_CASE("held: a call that is about to be given up destroys its buffer, and every value has its outcome") {
    held_watchdog watchdog(2);  // between the start of the replacement and the look at the call
    std::atomic<std::size_t> seen{0};
    latch all_seen;
    auto const see = [&](std::span<int> some) {
        if ((seen += some.size()) == 5) all_seen.open();
    };
    std::atomic<int> calls{0};
    std::atomic<bool> only_these_two{true};
    std::unique_ptr<int_queue> items;
    items = std::make_unique<int_queue>(
        abandoning(),
        [&](std::span<int> batch) {
            if (++calls == 1) {
                watchdog.held.wait();
                items.reset();
                // The timer leaves, and the replacement, which has found nothing to do.
                if (threads != 0) only_these_two = tests::thread_count_becomes(threads + 2);
                watchdog.release();
                watchdog.went_on.wait();
            }
            see(batch);
        },
        [](std::span<int>, tidefall::failure const&) {});  // what timed out, seen by its call already
    watchdog.watch(*items);
    for (int i = 0; i < 5; ++i) items->push(i);
    items->flush(0s);
    all_seen.wait();
    CHECK(only_these_two);
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: a call that returns before it is given up leaves the next call alone, and a worker leaves again") {
    patience const nobody_looks_again;
    {
        held_watchdog watchdog(2);
        held_calls hold(2);
        int_queue items(abandoning(), [&](std::span<int>) { hold(); });
        auto const with_the_buffer = tests::thread_count();
        watchdog.watch(items);
        items.push(1);
        items.push(2);
        items.push(3);
        items.flush(0s);
        hold.entered[0].wait();
        watchdog.held.wait();
        watchdog.replacement_waits.wait();  // or it would leave by itself once the call has returned
        items.update_options({.processing_timeout = never});
        hold.go_on[0].open();
        hold.entered[1].wait();
        watchdog.release();
        CHECK((threads == 0 || tests::thread_count_becomes(with_the_buffer)));
        CHECK(items.stats().abandoned == 0);
        hold.go_on[1].open();
        CHECK(items.stop().abandoned == 0);
        CHECK(items.stats().processed == 2);
        CHECK(items.stats().failed == 1);
    }
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: the timer has nothing to look at while a call hangs and nothing is written") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    held_calls hold(1);
    int_queue items({.partitions = 1, .processing_interval = 1s, .processing_timeout = never, .runtime = clock},
                    [&](std::span<int>) { hold(); });
    items.push(1);
    std::thread other([&] { items.flush(); });
    hold.entered[0].wait();
    clock->advance(11s);  // beside a call it moves the clock alone
    auto const due = schedule.ticks.take_due(schedule.now());
    REQUIRE(due != nullptr);  // to give back the memory of an idle partition
    due->on_tick(schedule.now());
    CHECK(schedule.ticks.next() == tidefall::detail::never);
    hold.go_on[0].open();
    other.join();
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 10s));
}

TEST_CASE("held: the timer has nothing to look at once a flush found that all was erased") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    map.put(1, 1);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 1s));
    CHECK(map.erase(1));
    CHECK(map.flush().complete);
    CHECK(schedule.ticks.next() == tidefall::detail::never);
    map.put(2, 2);
    CHECK(map.flush().complete);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 1s));  // for what is written next
    clock->advance(1s);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 9s));  // for idle memory
}

TEST_CASE("held: the watchdog has nothing to look at while a drain is paused") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    int_queue items({.partitions = 1, .processing_batch_size = 1, .processing_timeout = 1h, .runtime = clock},
                    [&](std::span<int>) {
                        CHECK(schedule.timeouts.next() != tidefall::detail::never);
                        clock->advance(1s);
                    });
    items.push(1);
    items.push(2);
    CHECK_FALSE(items.flush(1s).complete);
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
    CHECK(items.stop().complete);
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
}

TEST_CASE("held: the watchdog looks when the next batch that is out is too late, and at a stop's deadline") {
    using order = tidefall::detail::next_step::order;
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options(
        {.processing_interval = 1h, .processing_batch_size = 1, .max_in_flight = 2, .processing_timeout = 2s}));
    some_call first;
    some_call second;
    auto const hand_out = [&](some_call& batch) {
        CHECK(control.enter_call(batch, 1, true).ticket);
        CHECK_FALSE(control.leave_later_call(batch).is_free);
    };
    auto const start = schedule.now();
    tables.count = 4;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    hand_out(first);
    schedule.advance(1s);
    hand_out(second);
    CHECK(schedule.timeouts.next() == start + 2s);
    CHECK(control.wait());
    CHECK(schedule.timeouts.next() == start + 2s);
    for (std::uint64_t number = 1; number <= 2; ++number) {
        schedule.advance(1s);  // the alarm sounds
        auto const late = control.look_at_calls(schedule.now());
        CHECK(late.timed_out);
        CHECK(late.call.number == number);
        CHECK(schedule.timeouts.next() == (number == 1 ? start + 3s : tidefall::detail::never));
    }
    auto const deadline = schedule.now() + 5s;
    CHECK_FALSE(control.close(deadline));
    CHECK(schedule.timeouts.next() == deadline);  // by then what waits is to be dropped
    schedule.advance(5s);
    CHECK(schedule.jobs.empty());
    bool const by_watchdog = GENERATE(true, false);
    if (by_watchdog) {
        CHECK_FALSE(control.look_at_calls(schedule.now()).timed_out);
        CHECK(schedule.jobs.take() == task);
        control.start_run();
        auto const next = control.next(tidefall::detail::never, false);
        CHECK(next.what == order::expired);
        CHECK(next.lost == 2);
        CHECK(control.reach_end().announces);
    } else {
        auto const found = control.expire();
        CHECK(found.lost == 2);
        CHECK(found.rest_is_ours);
        CHECK(found.announces);
    }
    schedule.jobs.shut_down();
    CHECK(schedule.jobs.is_deserted());  // nobody comes for what is out
}

TEST_CASE("held: while a batch waits for its time the timer has something to look at, and the watchdog nothing") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options({.processing_interval = 1h, .processing_timeout = 1h}));
    some_call batch;
    tables.count = 1;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    auto const call = control.enter_call(batch, 1, true);
    CHECK(control.leave_call(batch, *call.ticket, {.rejected = 1, .delay = 5s}).offers_again);
    CHECK(control.offer_again(batch));
    CHECK(control.wait());
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 5s));
    schedule.jobs.shut_down();
    CHECK_FALSE(schedule.jobs.is_deserted());  // somebody is to offer it again
    static_cast<void>(control.close(schedule.now()));
    bool const is_dropped_at_once = GENERATE(false, true);
    if (is_dropped_at_once) {
        CHECK(control.expire().lost == 1);
        CHECK(schedule.jobs.is_deserted());
        CHECK(schedule.timeouts.next() == tidefall::detail::never);
    } else {
        CHECK(schedule.jobs.take() == task);
        CHECK(control.start_run().what == tidefall::detail::run_start::order::run);
        CHECK(control.next(tidefall::detail::never, false).lost == 1);
        CHECK(control.take_waiting() == &batch);
    }
}

TEST_CASE("held: a write that leaves nothing in its table sets no tick") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    CHECK_THROWS_AS(map.update(1, [](auto&&) { throw std::runtime_error("no value"); }), std::runtime_error);
    CHECK(map.size() == 0);
    CHECK(schedule.ticks.next() == tidefall::detail::never);
}

TEST_CASE("held: a flush on the only worker goes on once a batch that is out too long is abandoned") {
    patience const for_an_hour;
    held_watchdog watchdog(1);
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::vector<tidefall::async_batch<int>> kept;
    auto how = abandoning(runtime);
    how.processing_timeout = 1h;
    int_queue inner(how, [&](tidefall::async_batch<int> batch) { kept.push_back(std::move(batch)); });
    latch waits;
    latch waits_again;
    bool complete = false;
    int_queue outer({.partitions = 1, .processing_interval = never, .shutdown_timeout = never, .runtime = runtime},
                    [&](std::span<int>) {
                        tests::on_wait = [&](auto) { (waits.is_open() ? waits_again : waits).open(); };
                        complete = inner.flush().complete;
                        tests::on_wait = nullptr;
                    });
    inner.push(1);
    outer.push(1);
    outer.flush(0s);
    waits.wait();
    watchdog.watch(inner);
    inner.update_options({.processing_timeout = 1ns});
    waits_again.wait();  // the update woke it
    watchdog.held.wait();
    watchdog.release();
    CHECK(outer.flush().complete);
    CHECK(complete);
    CHECK(inner.stats().abandoned == 1);
    kept.clear();
    outer.push(2);  // the worker is there as before
    CHECK(outer.flush().complete);
}
