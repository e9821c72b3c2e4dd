// SPDX-License-Identifier: MIT
//
// The passive parts of a partition's control, each by itself: random sequences against what must hold, and what must
// not be done, which debug builds refuse.
#include "../support/catch.hpp"
#include "../support/checker.hpp"

#include <tidefall/detail/drain/call_in_progress.hpp>
#include <tidefall/detail/drain/drain_cycle.hpp>
#include <tidefall/detail/drain/drain_ledger.hpp>
#include <tidefall/detail/drain/stop_state.hpp>
#include <tidefall/detail/drain/tick_plan.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#endif

using namespace std::chrono_literals;
using tidefall::drain_trigger;
using tidefall::detail::call_in_progress;
using tidefall::detail::drain_cycle;
using tidefall::detail::drain_ledger;
using tidefall::detail::never;
using tidefall::detail::stop_state;
using tidefall::detail::tick_plan;
using tidefall::detail::time_point;
using phase = drain_cycle::phase;

namespace {

constexpr time_point at(std::chrono::nanoseconds time) {
    return time_point(time);
}

class dice {
public:
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(tests::mixed(++state_) % limit); }

private:
    std::uint64_t state_ = tests::seed();
};

/// True if a debug build refuses that; true always where asserts are off, or there is no fork.
bool is_refused([[maybe_unused]] std::function<void()> const& act) {
#if !defined(NDEBUG) && (defined(__unix__) || defined(__APPLE__))
    auto const child = fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
        act();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
#else
    return true;
#endif
}

}  // namespace

TEST_CASE("parts: a tick plan looks at the earliest of tick, trim and retry, once") {
    tick_plan plan;
    plan.change_interval(10ms, at(0ms), false, false);
    CHECK(plan.next() == never);
    CHECK(plan.value_waits(at(1ms)));
    CHECK(plan.next() == at(11ms));
    CHECK_FALSE(plan.value_waits(at(2ms)));
    CHECK_FALSE(plan.take_tick(at(10ms)));
    CHECK(plan.take_tick(at(11ms)));
    CHECK_FALSE(plan.take_tick(at(12ms)));
    plan.swapped(true, at(11ms));
    CHECK(plan.next() == at(111ms));
    CHECK_FALSE(plan.drained(at(50ms)));  // it is planned
    CHECK(plan.take_trim(at(111ms)));
    CHECK(plan.drained(at(120ms)));
    CHECK(plan.next() == at(220ms));
    CHECK(plan.tick_by(at(130ms)));
    CHECK_FALSE(plan.tick_by(at(130ms)));
    plan.swapped(false, at(130ms));  // puts nothing off
    CHECK(plan.next() == at(220ms));
    plan.change_interval(1ms, at(140ms), true, true);
    CHECK(plan.next() == at(141ms));
    CHECK(plan.take_tick(at(141ms)));
    CHECK(plan.next() == at(150ms));
    plan.change_interval(1h, at(140ms), true, true);  // never later for it
    CHECK(plan.take_trim(at(150ms)));
    plan.swapped(true, at(150ms));
    plan.retry_at(at(160ms));
    CHECK(plan.next() == at(160ms));
    plan.change_interval(1ms, at(151ms), true, false);  // has no say in it
    CHECK(plan.take_tick(at(152ms)));
    CHECK(plan.next() == at(160ms));
    CHECK_FALSE(plan.take_retry(at(160ms) - 1ns));
    CHECK(plan.take_retry(at(160ms)));
    CHECK_FALSE(plan.take_retry(at(161ms)));
    plan.retry_at(at(170ms));
    plan.close();
    CHECK(plan.next() == never);
    CHECK(is_refused([&] { plan.retry_at(at(200ms)); }));
    plan.swapped(true, at(200ms));
    plan.change_interval(1ms, at(200ms), true, true);
    CHECK_FALSE(plan.drained(at(200ms)));
    CHECK(plan.next() == never);
    CHECK(is_refused([&] { plan.value_waits(at(200ms)); }));
}

TEST_CASE("parts: a plan with an interval of for ever has no look") {
    tick_plan plan;
    plan.change_interval(std::chrono::nanoseconds::max(), at(0ms), true, true);
    CHECK(plan.next() == never);
    CHECK_FALSE(plan.value_waits(at(1ms)));
    CHECK_FALSE(plan.take_tick(at(24h)));
    plan.swapped(true, at(1ms));
    CHECK(plan.drained(at(2ms)));
    CHECK(plan.next() == never);
}

TEST_CASE("parts: a drain cycle goes round, and its numbers say what has ended") {
    dice random;
    drain_cycle cycle;
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
    constexpr int none = -1;
    int asked = none;  // an optional that is empty has g++ 12 warn
    auto const begins = [&](drain_trigger trigger, bool has_values) {
        cycle.begin(trigger, has_values);
        ++begun;
        if (!has_values) ++ended;
        asked = none;
    };
    bool first = true;
    std::size_t batches = 0;
    for (int round = 0; round < 20'000; ++round) {
        if (random.below(4) == 0) {
            auto const trigger = random.below(2) == 0 ? drain_trigger::flush : drain_trigger::threshold;
            cycle.request(trigger);
            if (asked == none) asked = static_cast<int>(trigger);
        }
        auto const requested = cycle.requested();
        REQUIRE((requested ? static_cast<int>(*requested) : none) == asked);
        switch (cycle.now()) {
            case phase::idle: {
                bool const has_values = random.below(3) > 0;
                begins(drain_trigger::interval, has_values);
                first = true;
                batches = 0;
                if (has_values) REQUIRE(cycle.trigger() == drain_trigger::interval);
                break;
            }
            case phase::queued:
                REQUIRE(cycle.has_started() != first);
                if (random.below(8) == 0) {
                    cycle.cancel();
                    ++ended;
                } else {
                    REQUIRE(cycle.start_run() == first);
                    first = false;
                }
                break;
            case phase::preparing:
                switch (random.below(6)) {
                    case 0: cycle.pause(); break;
                    case 1: cycle.end(), ++ended; break;
                    case 2: cycle.put_off(); break;
                    case 3: REQUIRE(cycle.next_batch() == batches++); break;
                    default: cycle.enter_call();
                }
                break;
            case phase::waiting: cycle.resume(); break;
            case phase::calling: random.below(4) == 0 ? cycle.abandon_call() : cycle.leave_call();
        }
        REQUIRE(cycle.newest() == begun);
        REQUIRE(cycle.has_ended(ended));
        REQUIRE_FALSE(cycle.has_ended(ended + 1));
        REQUIRE((begun == ended) == cycle.is(phase::idle));
    }
}

TEST_CASE("parts: a drain cycle refuses what does not follow") {
    auto const in = [](phase where) {
        drain_cycle cycle;
        if (where != phase::idle) cycle.begin(drain_trigger::flush, true);
        if (where != phase::idle && where != phase::queued) cycle.start_run();
        if (where == phase::calling) cycle.enter_call();
        if (where == phase::waiting) cycle.put_off();
        return cycle;
    };
    for (auto const where : {phase::idle, phase::queued, phase::preparing, phase::calling, phase::waiting}) {
        auto cycle = in(where);
        if (where != phase::idle) CHECK(is_refused([&] { cycle.begin(drain_trigger::flush, true); }));
        if (where != phase::queued) {
            CHECK(is_refused([&] { cycle.start_run(); }));
            CHECK(is_refused([&] { cycle.cancel(); }));
        }
        if (where != phase::preparing) {
            CHECK(is_refused([&] { cycle.pause(); }));
            CHECK(is_refused([&] { cycle.put_off(); }));
            CHECK(is_refused([&] { cycle.enter_call(); }));
            CHECK(is_refused([&] { cycle.end(); }));
        }
        if (where != phase::waiting) CHECK(is_refused([&] { cycle.resume(); }));
        if (where != phase::calling) {
            CHECK(is_refused([&] { cycle.leave_call(); }));
            CHECK(is_refused([&] { cycle.abandon_call(); }));
        }
    }
}

TEST_CASE("parts: a drain ledger loses no value, whatever becomes of it") {
    dice random;
    drain_ledger ledger;
    tidefall::buffer_stats expected;
    tidefall::drain_report since_close;
    bool closed = false;
    std::size_t in_call = 0;
    std::uint64_t abandoned_in_all = 0;
    auto const count = [&](std::uint64_t tidefall::buffer_stats::*what, std::uint64_t tidefall::drain_report::*report,
                           std::size_t size) {
        expected.*what += size;
        if (closed) since_close.*report += size;
    };
    for (int round = 0; round < 20'000; ++round) {
        if (ledger.rest() == 0 && in_call == 0) {
            auto const size = 1 + random.below(9);
            ledger.take(size);
            expected.accepted += size;
            ++expected.ticks;
            REQUIRE(ledger.swapped() == size);
        } else if (in_call == 0 && random.below(10) > 0) {
            in_call = 1 + random.below(ledger.rest());
            ledger.hand_to_call(in_call);
        } else if (in_call > 0) {
            switch (random.below(3)) {
                case 0:
                case 1: {
                    auto const processed = random.below(in_call + 1);
                    auto const failed = random.below(in_call - processed + 1);
                    auto const rest = ledger.rest();
                    ledger.settle_call(processed, failed, in_call - processed - failed);
                    REQUIRE(ledger.rest() == rest + in_call - processed - failed);
                    count(&tidefall::buffer_stats::processed, &tidefall::drain_report::processed, processed);
                    count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, failed);
                    break;
                }
                default:
                    ledger.abandon_call(in_call);
                    count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, in_call);
                    if (closed) since_close.abandoned += in_call;
                    abandoned_in_all += in_call;
                    expected.abandoned += in_call;
            }
            in_call = 0;
        } else if (random.below(2) == 0) {
            auto const part = random.below(ledger.rest() + 2);
            auto const rest = ledger.rest();
            auto const failed = random.below(2) == 0 ? ledger.fail_rest() : ledger.fail_of_rest(part);
            REQUIRE((failed == rest || failed == part));
            REQUIRE(ledger.rest() == rest - failed);
            count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, failed);
        } else if (closed) {
            auto const rest = ledger.rest();
            REQUIRE(ledger.drop_rest() == rest);
            count(&tidefall::buffer_stats::dropped, &tidefall::drain_report::dropped, rest);
            REQUIRE(ledger.drop_rest() == 0);
            REQUIRE(ledger.fail_rest() == 0);
            auto const waiting = random.below(3);
            REQUIRE(ledger.drop_waiting(waiting) == waiting);
            count(&tidefall::buffer_stats::dropped, &tidefall::drain_report::dropped, waiting);
            expected.accepted += waiting;
        }
        if (expected.abandoned > 0 && random.below(3) == 0) {
            auto const back = 1 + random.below(static_cast<std::size_t>(expected.abandoned));
            ledger.late_call_returned(back);
            expected.abandoned -= back;
        }
        if (!closed && round == 10'000) {
            closed = true;
            ledger.close();
        }
        expected.in_flight = ledger.rest() + in_call;
        tidefall::buffer_stats stats;
        ledger.add_to(stats, {});
        REQUIRE(stats == expected);
        REQUIRE(ledger.in_flight() == expected.in_flight);
        REQUIRE(ledger.has_dropped() == (expected.dropped > 0));
        REQUIRE(ledger.has_late_calls() == (expected.abandoned > 0));
        REQUIRE(ledger.abandoned() == abandoned_in_all);
        if (closed) {
            since_close.complete = expected.dropped == 0 && expected.in_flight == 0;
            tidefall::drain_report report;
            ledger.add_to(report);
            REQUIRE(report == since_close);
        }
    }
    CHECK(ledger.swaps() == expected.ticks);
}

TEST_CASE("parts: a drain ledger refuses values that are not there, and adds what stripes counted") {
    drain_ledger ledger;
    CHECK(ledger.swaps() == 0);
    ledger.take(2);
    CHECK(is_refused([&] { ledger.take(1); }));
    CHECK(is_refused([&] { ledger.hand_to_call(3); }));
    CHECK(is_refused([&] { ledger.settle_call(1, 0, 0); }));
    CHECK(is_refused([&] { ledger.abandon_call(1); }));
    CHECK(is_refused([&] { ledger.late_call_returned(1); }));
    tidefall::buffer_stats stats;
    ledger.add_to(stats, {.refused = 1, .coalesced = 2, .erased = 4, .dropped = 8, .pending = 16});
    CHECK(stats == tidefall::buffer_stats{.accepted = 2 + 2 + 4 + 8 + 16,
                                          .refused = 1,
                                          .coalesced = 2,
                                          .erased = 4,
                                          .dropped = 8,
                                          .pending = 16,
                                          .in_flight = 2,
                                          .ticks = 1});
}

TEST_CASE("parts: a stop goes forward only, and one announces its end") {
    stop_state stop;
    CHECK_FALSE(stop.is_closed());
    CHECK_FALSE(stop.is_past_deadline(at(24h)));
    CHECK_FALSE(stop.is_over(at(24h)));
    CHECK(is_refused([&] { stop.expire(); }));
    CHECK(is_refused([&] { stop.claim_end(); }));
    CHECK(stop.close(at(5s)));
    CHECK_FALSE(stop.close(at(9s)));
    CHECK(stop.deadline() == at(5s));
    CHECK_FALSE(stop.close(at(3s)));
    CHECK(stop.deadline() == at(3s));
    CHECK(stop.is_closed());
    CHECK_FALSE(stop.is_over(at(2s)));
    CHECK(stop.is_past_deadline(at(3s)));
    CHECK(stop.is_over(at(3s)));
    CHECK(is_refused([&] { stop.announced(); }));
    CHECK(stop.expire());
    CHECK_FALSE(stop.expire());
    CHECK(stop.is_over(at(0s)));
    CHECK(stop.is_expired());
    stop.begin_return();
    CHECK(stop.claim_end());
    CHECK_FALSE(stop.claim_end());
    CHECK_FALSE(stop.was_announced());
    stop.announced();
    CHECK(stop.was_announced());
    CHECK(stop.is_returning());
    CHECK_FALSE(stop.has_ended());
    stop.end_return();
    CHECK(stop.has_ended());
    CHECK(is_refused([&] { stop.announced(); }));
}

TEST_CASE("parts: a call in progress is judged by its own time") {
    call_in_progress call;
    call.set_timeout(10ms);
    CHECK(call.needs_signal());
    tidefall::detail::stop_signal fresh;
    fresh.renew();
    call.exchange_signal(fresh);
    CHECK_FALSE(call.needs_signal());

    auto const first = call.begin(3, at(0ms), nullptr);
    CHECK(first != 0);
    CHECK(call.is(first));
    CHECK(call.size() == 3);
    CHECK(call.times_out_at() == at(10ms));
    CHECK_FALSE(call.time_out(at(9ms)));
    call.set_timeout(20ms);  // for this one too
    CHECK_FALSE(call.time_out(at(10ms)));
    auto const in_time = call.end(at(19ms));
    CHECK_FALSE(in_time.timed_out);
    CHECK(in_time.duration == 19ms);
    CHECK_FALSE(call.is(first));

    CHECK(is_refused([&] { static_cast<void>(call.end(at(20ms))); }));
    CHECK(is_refused([&] { call.abandon(); }));
    auto const second = call.begin(1, at(20ms), nullptr);
    CHECK(second != first);
    CHECK(is_refused([&] { call.begin(1, at(20ms), nullptr); }));
    CHECK(call.time_out(at(40ms)));
    CHECK_FALSE(call.time_out(at(41ms)));
    CHECK(call.times_out_at() == never);
    call.set_timeout(1h);
    CHECK(call.times_out_at() == never);
    auto const noticed = call.end(at(50ms));
    CHECK(noticed.timed_out);
    CHECK_FALSE(noticed.unnoticed);

    call.set_timeout(10ms);
    call.begin(1, at(0ms), nullptr);
    CHECK(call.settle(at(9ms)));
    CHECK(call.times_out_at() == never);
    call.set_timeout(1ms);  // for the next one
    CHECK_FALSE(call.time_out(at(1h)));
    CHECK(call.settle(at(1h)));
    CHECK_FALSE(call.end(at(1h)).timed_out);
    CHECK(is_refused([&] { call.settle(at(1h)); }));
    call.begin(1, at(0ms), nullptr);
    CHECK_FALSE(call.settle(at(1ms)));  // which nobody has said yet
    CHECK(call.end(at(1ms)).unnoticed);
    call.begin(1, at(0ms), nullptr);
    CHECK(call.time_out(at(1ms)));
    CHECK_FALSE(call.settle(at(1ms)));
    CHECK_FALSE(call.end(at(1ms)).unnoticed);

    call.begin(2, at(0ms), nullptr);
    auto const unnoticed = call.end(at(2h));
    CHECK(unnoticed.timed_out);
    CHECK(unnoticed.unnoticed);

    CHECK(call.signal_is_unspent());
    auto const last = call.begin(4, at(0ms), nullptr);
    CHECK(call.abandon() == 4);
    CHECK_FALSE(call.is(last));
    CHECK_FALSE(call.signal_is_unspent());
    CHECK(call.needs_signal());
}
