// SPDX-License-Identifier: MIT
//
// The control of a partition, driven by hand: what workers, the watchdog, the timer, flushes and stops ask of it, in
// orders that threads seldom come in.
#include "../support/catch.hpp"
#include "../support/control.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

using namespace std::chrono_literals;
using tests::counted_tables;
using tests::idle_task;
using tests::some_call;
using tidefall::detail::call_end;
using tidefall::detail::call_ticket;
using tidefall::detail::drain_control;
using tidefall::detail::later;
using tidefall::detail::never;
using tidefall::detail::next_step;
using tidefall::detail::scheduler;
using tidefall::detail::workforce;

namespace {

/// Batches of one value, a tick after an hour.
class driven {
public:
    explicit driven(std::size_t in_flight = 1, workforce who = workforce::manual) : schedule(who) {
        control.emplace(*task, schedule, tables);
        change({.processing_interval = 1h,
                .processing_batch_size = 1,
                .max_in_flight = in_flight,
                .processing_timeout = 1h});
    }
    driven(driven const&) = delete;
    driven& operator=(driven const&) = delete;
    /// A task keeps itself alive while it is queued.
    ~driven() { schedule.jobs.remove(*task); }

    void change(tidefall::options_update const& update) { static_cast<void>(control->change_options(update)); }

    /// So many values are drained, and their worker has begun.
    void begin(std::size_t values) {
        tables.count = values;
        control->flush();
        take_up();
    }
    tidefall::detail::run_start take_up() {
        REQUIRE(schedule.jobs.take() == task);
        return control->start_run();
    }
    /// Makes a call, which is in progress from then on.
    call_ticket enter(some_call& batch) {
        auto const entry = control->enter_call(batch, 1, true);
        REQUIRE(entry.ticket);
        return *entry.ticket;
    }
    /// Makes a call that keeps its batch.
    call_ticket hand_out(some_call& batch) {
        auto const ticket = enter(batch);
        CHECK_FALSE(control->leave_later_call(batch).is_free);
        return ticket;
    }

    scheduler schedule;
    std::shared_ptr<idle_task> const task = std::make_shared<idle_task>();
    counted_tables tables;
    std::optional<drain_control> control;
};

}  // namespace

TEST_CASE("control: no alarm outlives it") {
    driven one;
    some_call batch;
    one.begin(1);
    one.enter(batch);
    CHECK(one.schedule.ticks.next() != never);
    CHECK(one.schedule.timeouts.next() != never);
    one.control.reset();
    CHECK(one.schedule.ticks.next() == never);
    CHECK(one.schedule.timeouts.next() == never);
}

TEST_CASE("control: a batch whose time has come has no alarm, however long it waits for its turn") {
    driven one(2);
    auto& control = *one.control;
    some_call first;
    some_call second;
    one.begin(3);
    auto const ticket = one.hand_out(first);
    one.hand_out(second);
    CHECK(control.wait());
    CHECK(control.complete(first, ticket, {.rejected = 1, .delay = 10ms}).offers_again);
    CHECK(control.offer_again(first));
    auto const then = later(one.schedule.now(), 10ms);
    CHECK(one.schedule.ticks.next() == then);
    one.change({.max_in_flight = 1});
    CHECK_FALSE(control.tick(then));  // the other one is out
    CHECK(one.schedule.ticks.next() == later(one.schedule.now(), 1h));
    CHECK(one.schedule.jobs.empty());
}

TEST_CASE("control: a retry's tick that comes late leaves alone what waits then") {
    driven one(1, workforce::polled);
    auto& control = *one.control;
    some_call batch;
    one.begin(1);
    auto const ticket = one.enter(batch);
    CHECK(control.leave_call(batch, ticket, {.rejected = 1, .delay = 1ms}).offers_again);
    CHECK(control.offer_again(batch));
    CHECK(control.wait());
    while (one.schedule.now() < batch.again_at()) {
    }
    one.change({.max_in_flight = 2});  // somebody looks before the timer does
    one.take_up();
    CHECK(control.next(never, false).call == &batch);
    CHECK_FALSE(control.tick(one.schedule.now()));
}

TEST_CASE("control: while what a batch refused is returned, others are handed out") {
    driven one(2);
    auto& control = *one.control;
    some_call first;
    some_call second;
    one.begin(3);
    auto const first_ticket = one.hand_out(first);
    auto const second_ticket = one.hand_out(second);
    CHECK(control.wait());
    CHECK_FALSE(control.complete(first, first_ticket, {.refused = 1}).offers_again);
    CHECK_FALSE(control.complete(second, second_ticket, {}).offers_again);
    CHECK(one.schedule.jobs.empty());
    CHECK_FALSE(control.finish(second));
    CHECK(one.schedule.jobs.size() == 1);
    CHECK_FALSE(control.finish(first));
}

TEST_CASE("control: what was to be offered again is its caller's where a stop's deadline has passed meanwhile") {
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(1);
    auto const ticket = one.hand_out(batch);
    CHECK(control.wait());
    CHECK(control.complete(batch, ticket, {.rejected = 1}).offers_again);
    CHECK_FALSE(control.close(one.schedule.now()));
    CHECK(control.expire().lost == 1);
    CHECK_FALSE(control.offer_again(batch));
}

TEST_CASE("control: a worker that would wait or pause has the rest to return where a stop's deadline has passed") {
    driven one;
    auto& control = *one.control;
    one.begin(1);
    CHECK_FALSE(control.close(one.schedule.now()));
    auto const found = control.expire();
    CHECK(found.lost == 1);
    CHECK_FALSE(found.rest_is_ours);
    CHECK_FALSE(found.announces);
    bool const waits = GENERATE(true, false);
    CHECK_FALSE((waits ? control.wait() : control.pause()));
    CHECK(control.reach_end().is_over);
    CHECK(control.end_drain());
}

TEST_CASE("control: as many batches may be abandoned as may be out, at a time") {
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(3);
    for (std::uint64_t i = 1; i <= 3; ++i) {
        one.hand_out(batch);
        CHECK(control.wait());
        control.abandon_call(batch.who(), std::make_shared<int>(1));
        CHECK(control.abandoned() == i);
        control.late_batch_completed(batch);
        CHECK(control.take_idle() == &batch);
        one.take_up();
    }
}

TEST_CASE("control: a call without a batch is none of those that are counted in a drain") {
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(2);
    for (std::size_t i = 0; i < 2; ++i) {
        control.leave_call(batch, one.enter(batch), {});
        CHECK(batch.index() == i);
        auto const follow_up = control.enter_call(batch, 0, true);
        control.leave_call(batch, *follow_up.ticket, {});
        CHECK(batch.index() == 0);
    }
}

TEST_CASE("control: who stops a token wakes its call, and nobody else does") {
    struct place final : tidefall::detail::waiting_place {
        void changed() noexcept override {}
    };
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(1);
    one.enter(batch);
    batch.renew_signal();
    auto const here = std::make_shared<place>();
    control.wait_at(batch, here);
    CHECK_FALSE(control.close(one.schedule.now()));
    auto const by_stop = control.look_at_calls(one.schedule.now());
    CHECK(by_stop.stops_token);
    CHECK(by_stop.wakes == here);
    auto const by_timeout = control.look_at_calls(later(one.schedule.now(), 1h));
    CHECK(by_timeout.timed_out);
    CHECK_FALSE(by_timeout.stops_token);
    CHECK(by_timeout.wakes == nullptr);
}

TEST_CASE("control: while a drain is paused the watchdog looks at the batches that are out") {
    driven one(2);
    auto& control = *one.control;
    some_call batch;
    one.begin(2);
    one.hand_out(batch);
    auto const too_late = later(one.schedule.now(), 1h);
    CHECK(control.pause());
    CHECK(one.schedule.timeouts.next() == too_late);
}

TEST_CASE("control: a batch that was put aside is the next to be taken") {
    driven one;
    some_call batch;
    one.control->put_aside(batch);
    CHECK(one.control->take_idle() == &batch);
    CHECK(one.control->take_idle() == nullptr);
}

TEST_CASE("control: a flush of what is closed begins nothing, whatever is being returned") {
    driven one;
    CHECK(one.control->close(one.schedule.now()));
    one.tables.count = 1;
    one.control->flush();
    CHECK(one.tables.count == 1);
    CHECK(one.schedule.jobs.empty());
}

TEST_CASE("control: a stop whose deadline passes ends a drain that waits for a worker, and says whether it had begun") {
    bool const has_begun = GENERATE(true, false);
    driven one;
    auto& control = *one.control;
    if (has_begun) {
        one.begin(2);
        CHECK(control.pause());
        one.schedule.jobs.post(*one.task);
    } else {
        one.tables.count = 2;
        control.flush();
    }
    CHECK_FALSE(control.close(one.schedule.now()));
    auto const found = control.expire();
    CHECK(found.lost == 2);
    CHECK(found.rest_is_ours);
    CHECK(found.ended_drain == has_begun);
    CHECK(found.announces);
    CHECK(one.schedule.jobs.empty());
}

TEST_CASE("control: what a stop's deadline drops before its worker comes leaves the watchdog nothing to look at") {
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(2);
    auto const ticket = one.hand_out(batch);
    CHECK(control.wait());
    auto const deadline = later(one.schedule.now(), 5s);
    CHECK_FALSE(control.close(deadline));
    CHECK(one.schedule.timeouts.next() == deadline);
    control.complete(batch, ticket, {});
    CHECK_FALSE(control.finish(batch));
    CHECK(one.schedule.jobs.size() == 1);
    CHECK(control.expire().lost == 1);
    CHECK(one.schedule.timeouts.next() == never);
}

TEST_CASE("control: in a child nothing is locked to count") {
    driven one;
    tidefall::buffer_stats stats;
    one.control->count_alone_in(stats, {.pending = 3});
    CHECK(stats.pending == 3);
}

TEST_CASE("control: a call that was abandoned and gave its batch away is late until both are over") {
    driven one;
    auto& control = *one.control;
    tidefall::detail::worker busy;
    one.schedule.jobs.want_workers(1);
    for (int i = 0; i < 2; ++i) one.schedule.jobs.worker_starts();
    auto& here = one.schedule.this_thread();
    here.serves = &one.schedule;
    here.worker = &busy;
    some_call first;
    some_call second;
    one.begin(3);
    one.enter(first);
    control.abandon_call(first.who(), std::make_shared<int>(1));
    CHECK(one.schedule.jobs.is_late(busy));
    bool const is_completed_first = GENERATE(true, false);
    auto const late = [&] {
        tidefall::buffer_stats stats;
        control.count_in(stats);
        return stats.abandoned;
    };
    if (is_completed_first) control.late_batch_completed(first);
    CHECK(late() == 1);
    CHECK(control.leave_later_call(first).late);
    CHECK_FALSE(one.schedule.jobs.is_late(busy));
    here.serves = nullptr;
    here.worker = nullptr;
    CHECK(control.take_idle() == (is_completed_first ? &first : nullptr));
    one.take_up();
    one.hand_out(second);
    CHECK(control.wait());
    auto const abandon = [&] { control.abandon_call(second.who(), std::make_shared<int>(1)); };
    CHECK(late() == (is_completed_first ? 0 : 1));
    if (!is_completed_first) {
        abandon();
        CHECK(control.abandoned() == 1);  // as many are late as may be
        control.late_batch_completed(first);
        CHECK(control.take_idle() == &first);
    }
    abandon();
    CHECK(control.abandoned() == 2);
}

TEST_CASE("control: a stop's deadline may pass between a batch's outcome and the return of its call") {
    driven one;
    auto& control = *one.control;
    some_call batch;
    one.begin(1);
    auto const ticket = one.enter(batch);
    CHECK(control.complete(batch, ticket, {.rejected = 1}).offers_again);
    CHECK(control.offer_again(batch));
    CHECK_FALSE(control.close(one.schedule.now()));
    CHECK(control.expire().lost == 1);
    auto const returned = control.leave_later_call(batch);
    CHECK(returned.taken_over);
    CHECK(returned.is_dropped);
    CHECK_FALSE(returned.offers_again);
    CHECK(control.take_waiting() == nullptr);
}
