// SPDX-License-Identifier: MIT
//
// The real engine, where the parts of the engine that have a lock of their own are asked, each by itself.
// CMakeLists.txt builds files of this kind against broken engines too, which must fail them.
#include "../support/catch.hpp"
#include "../support/control.hpp"
#include "held.hpp"

#include <tidefall/detail/drain/drain_control.hpp>
#include <tidefall/detail/threads/job_queue.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <memory>

using namespace std::chrono_literals;
using tests::counted_tables;
using tests::idle_task;
using tests::locks_in;
using tests::never;
using tests::some_call;
using tidefall::detail::time_point;

TEST_CASE("held: a runtime that ends waits for a partition's run by how far its stop has come") {
    using tidefall::detail::grace;
    using tidefall::detail::never;
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options({.processing_timeout = 1h}));
    auto const deadline = schedule.now() + 5s;
    bool const calls = GENERATE(true, false);
    tables.count = 1;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    CHECK(control.may_run_until() == never);  // it is open
    some_call batch;
    auto const call = control.enter_call(batch, 1, true);
    CHECK_FALSE(control.close(deadline));
    CHECK(control.may_run_until() == deadline + grace);
    if (!calls) CHECK(control.leave_call(batch, *call.ticket, {}).rest == tidefall::detail::call_end::owner::mine);
    CHECK(control.may_run_until() == deadline + grace);
    auto const found = control.expire();
    CHECK(found.happened);
    CHECK(found.announces == calls);
    CHECK(control.may_run_until() == (calls ? time_point::min() : deadline + grace));
    if (calls) CHECK(control.leave_call(batch, *call.ticket, {}).rest == tidefall::detail::call_end::owner::taken_over);
    control.returned();
    CHECK(control.end_drain() == !calls);
    control.announced();
    CHECK(control.may_run_until() == never);  // it returns by itself
}

TEST_CASE("held: whatever is asked of a partition's control is asked under its mutex") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    locks_in held(control);
    tidefall::detail::worker busy;
    schedule.jobs.want_workers(1);
    schedule.jobs.worker_starts();
    schedule.jobs.worker_starts();
    auto const now = schedule.now();
    some_call batch;
    auto const enter = [&] {
        return held.check("enter_call", [&] { return *control.enter_call(batch, 1, true).ticket; });
    };
    auto const take_up = [&] {
        REQUIRE(schedule.jobs.take() == task);
        return held.check("start_run", [&] { return control.start_run(); });
    };

    held.check("change_options", [&] { return control.change_options({.processing_timeout = 1s}); });
    held.check("value_waits", [&] { control.value_waits(); });
    held.check("limit_reached", [&] { control.limit_reached(tidefall::drain_trigger::threshold); });
    held.check("room_deadline", [&] { return control.room_deadline(now); });
    held.check("tick", [&] { control.tick(now); });
    held.check("begin_if_idle", [&] { return control.begin_if_idle(tidefall::drain_trigger::capacity); });
    tables.count = 7;
    auto const drain = held.check("flush", [&] { return control.flush(); });
    held.check("is_settled", [&] { return control.is_settled(drain); });
    held.check("is_complete", [&] { return control.is_complete(drain); });
    take_up();
    held.check("swapped", [&] { return control.swapped(); });
    held.check("next", [&] { return control.next(tidefall::detail::never, false); });
    held.check("take_idle", [&] { return control.take_idle(); });
    auto call = enter();
    held.check("look_at_calls", [&] { return control.look_at_calls(now); });
    held.check("is_abandoned", [&] { return control.is_abandoned(batch); });
    held.check("settle_call", [&] { return control.settle_call(batch); });
    CHECK_FALSE(held.check("is_token_stopped", [&] { return control.is_token_stopped(batch); }));
    held.check("wait_at", [&] { control.wait_at(batch, nullptr); });
    held.check("leave_call", [&] { return control.leave_call(batch, call, {.rejected = 1}); });
    CHECK(held.check("offer_again", [&] { return control.offer_again(batch); }));
    CHECK(held.check("wait", [&] { return control.wait(); }));
    CHECK(control.tick(now));  // it is offered again
    take_up();
    CHECK(held.check("take_waiting", [&] { return control.take_waiting(); }) == &batch);
    CHECK(held.check("fail_again", [&] { return control.fail_again(1); }) == 1);
    held.check("pause", [&] { return control.pause(); });
    static_cast<void>(schedule.jobs.remove(*task));
    schedule.jobs.post(*task);
    take_up();
    held.check("hand_over", [&] { control.hand_over(); });
    take_up();
    auto& here = schedule.this_thread();
    here.serves = &schedule;
    here.worker = &busy;
    call = enter();
    held.check("abandon_call", [&] { control.abandon_call(batch.who(), std::make_shared<int>(1)); });
    CHECK(held.check("abandoned", [&] { return control.abandoned(); }) == 1);
    CHECK(control.leave_call(batch, call, {}).rest == tidefall::detail::call_end::owner::late);
    held.check("late_call_returned", [&] { control.late_call_returned(batch); });
    here.serves = nullptr;
    here.worker = nullptr;
    CHECK(held.check("take_spare_tables", [&] { return control.take_spare_tables(); }) != nullptr);
    take_up();
    CHECK(control.take_idle() == &batch);
    call = enter();
    CHECK(held.check("complete", [&] { return control.complete(batch, call, {}); }).rest ==
          tidefall::detail::call_end::owner::mine);
    CHECK_FALSE(held.check("finish", [&] { return control.finish(batch); }));
    CHECK(held.check("leave_later_call", [&] { return control.leave_later_call(batch); }).is_free);
    call = enter();
    CHECK_FALSE(held.check("give_up", [&] { return control.give_up(batch); }));
    CHECK(control.leave_later_call(batch).is_given_up);
    CHECK_FALSE(held.check("reach_end", [&] { return control.reach_end(); }).is_over);  // it is still out
    held.check(
        "late_batch_completed",
        [&] {
            control.abandon_call(batch.who(), std::make_shared<int>(1));
            control.late_batch_completed(batch);
        },
        2);
    take_up();
    CHECK(held.check("fail_fresh", [&] { return control.fail_fresh(); }) == 3);
    CHECK(control.take_idle() == &batch);
    held.check("put_aside", [&] { control.put_aside(batch); });
    held.check("end_drain", [&] { return control.end_drain(); });

    tables.count = 1;
    held.check("close", [&] { return control.close(now); });
    held.check("is_closed", [&] { return control.is_closed(); });
    held.check("stop_deadline", [&] { return control.stop_deadline(); });
    held.check("may_run_until", [&] { return control.may_run_until(); });
    held.check("is_in_use", [&] { return control.is_in_use(); });
    held.check("is_running", [&] { return control.is_running(); });
    CHECK(held.check("expire", [&] { return control.expire(); }).announces);
    held.check("is_expired", [&] { return control.is_expired(); });
    held.check("announced", [&] { control.announced(); });
    held.check("returned", [&] { control.returned(); });
    CHECK(held.check("has_ended", [&] { return control.has_ended(); }));
    tidefall::buffer_stats stats;
    held.check("count_in", [&] { control.count_in(stats); });
    CHECK(stats.failed == 6);
    tidefall::drain_report report;
    held.check("count_in", [&] { control.count_in(report); });
    CHECK(report.dropped == 1);
}

TEST_CASE("held: whatever is asked of a queue of jobs is asked under its mutex") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker busy;
    locks_in held(jobs);
    held.check("want_workers", [&] { jobs.want_workers(1); });
    CHECK(held.check("lacks_workers", [&] { return jobs.lacks_workers(); }));
    held.check("worker_starts", [&] { jobs.worker_starts(); });
    held.check("worker_starts", [&] { jobs.worker_starts(); });
    held.check("worker_did_not_start", [&] { jobs.worker_did_not_start(); });
    CHECK(held.check("want_spare", [&] { return jobs.want_spare(); }));
    jobs.worker_starts();
    CHECK(held.check("abandon_call", [&] { return jobs.abandon_call(busy, *task); }));
    held.check("want_no_spare", [&] { jobs.want_no_spare(); });
    CHECK(held.check("is_late", [&] { return jobs.is_late(busy); }));
    CHECK(held.check("has_of", [&] { return jobs.has_of(nullptr); }));
    CHECK(held.check("take_of", [&] { return jobs.take_of(nullptr); }) == task);
    CHECK(held.check("empty", [&] { return jobs.empty(); }));
    held.check("post", [&] { jobs.post(*task); });
    CHECK(held.check("take", [&] { return jobs.take(); }) == task);
    held.check("expect", [&] { jobs.expect(); });
    held.check("post_expected", [&] { jobs.post_expected(*task); });
    CHECK(held.check("size", [&] { return jobs.size(); }) == 1);
    CHECK(jobs.remove(*task));
    jobs.expect();
    held.check("expect_no_more", [&] { jobs.expect_no_more(); });
    held.check("serve_one_more", [&] { jobs.serve_one_more(); });
    CHECK(held.check("begin_wait", [&] { return jobs.begin_wait(); }));
    held.check("end_wait", [&] { jobs.end_wait(); });
    held.check("serve_one_less", [&] { jobs.serve_one_less(); });
    jobs.post(*task);
    CHECK(held.check("wait", [&] { return jobs.wait(); }) == task);
    CHECK_FALSE(held.check("remove", [&] { return jobs.remove(*task); }));
    held.check("late_call_returned", [&] { jobs.late_call_returned(busy); });
    CHECK(jobs.wait() == nullptr);  // there was one more than is wanted
    held.check("worker_ends", [&] { jobs.worker_ends(busy); });
    CHECK_FALSE(held.check("is_deserted", [&] { return jobs.is_deserted(); }));
    held.check("shut_down", [&] { jobs.shut_down(); });
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: a worker in several late calls is one worker, and each of the calls counts") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker busy;
    jobs.want_workers(2);
    for (int i = 0; i < 3; ++i) jobs.worker_starts();
    for (int i = 0; i < 2; ++i) {
        CHECK(jobs.want_spare());
        CHECK(jobs.abandon_call(busy, *task));
        CHECK(jobs.take() == task);
        CHECK_FALSE(jobs.lacks_workers());  // two are left
        jobs.want_no_spare();
    }
    CHECK_FALSE(jobs.want_spare());
    CHECK_FALSE(jobs.abandon_call(busy, *task));
    CHECK(jobs.empty());
    bool const returns = GENERATE(true, false);
    if (returns) {
        jobs.late_call_returned(busy);
        CHECK(jobs.is_late(busy));
        CHECK(jobs.want_spare());
        jobs.want_no_spare();
        jobs.late_call_returned(busy);
        CHECK_FALSE(jobs.is_late(busy));
        CHECK(jobs.wait() == nullptr);  // there is one too many
    } else {
        jobs.worker_ends(busy);
        CHECK(jobs.want_spare());
        jobs.want_no_spare();
    }
    CHECK_FALSE(jobs.lacks_workers());
    jobs.shut_down();
    CHECK_FALSE(jobs.is_deserted());
    for (int i = 0; i < 2; ++i) CHECK(jobs.wait() == nullptr);
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: a call is given up only where another worker is there for the rest") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker first;
    tidefall::detail::worker second;
    jobs.want_workers(3);
    jobs.worker_starts();
    CHECK_FALSE(jobs.abandon_call(first, *task));
    CHECK(jobs.empty());
    jobs.worker_starts();
    CHECK(jobs.abandon_call(first, *task));
    CHECK(jobs.take() == task);
    CHECK(jobs.abandon_call(first, *task));  // the second of the same worker, which counts no more
    CHECK(jobs.take() == task);
    CHECK_FALSE(jobs.abandon_call(second, *task));
    CHECK(jobs.empty());
}

TEST_CASE("held: a worker may wait for another buffer where its queue serves no other, or has a worker left") {
    tidefall::detail::job_queue jobs;
    jobs.serve_one_more();
    CHECK(jobs.begin_wait());
    jobs.end_wait();
    jobs.serve_one_more();
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.end_wait();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.serve_one_less();
    CHECK(jobs.begin_wait());
}

TEST_CASE("held: workers are wanted while a job is expected, also once their queue is shut down") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    jobs.want_workers(1);
    jobs.expect();
    jobs.expect();
    jobs.shut_down();
    CHECK(jobs.lacks_workers());
    CHECK_FALSE(jobs.is_deserted());
    jobs.post_expected(*task);
    CHECK(jobs.take() == task);
    CHECK(jobs.lacks_workers());
    jobs.expect_no_more();
    CHECK_FALSE(jobs.lacks_workers());
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: whatever is asked of a timer is asked under its mutex") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto& timer = schedule.ticks;
    auto const task = std::make_shared<idle_task>();
    auto const now = schedule.now();
    locks_in held(timer);
    held.check("set", [&] { timer.set(*task, now); });
    CHECK(held.check("next", [&] { return timer.next(); }) == now);
    CHECK(held.check("take_due", [&] { return timer.take_due(now); }) == task);
    held.check("unset", [&] { timer.unset(*task); });
    held.check("shut_down", [&] { timer.shut_down(); });
    held.check(
        "serve", [&] { timer.serve([](auto, auto) {}, [] {}); }, 2);
}
