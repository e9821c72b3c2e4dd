// SPDX-License-Identifier: MIT
//
// The passive parts of a partition's control, each by itself: random sequences against what must hold, and what must
// not be done, which debug builds refuse.
#include "../support/catch.hpp"
#include "../support/checker.hpp"

#include <tidefall/detail/drain/batch_parts.hpp>
#include <tidefall/detail/drain/call_in_progress.hpp>
#include <tidefall/detail/drain/calls_in_progress.hpp>
#include <tidefall/detail/drain/drain_cycle.hpp>
#include <tidefall/detail/drain/drain_ledger.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/detail/drain/stop_state.hpp>
#include <tidefall/detail/drain/tick_plan.hpp>
#include <tidefall/detail/threads/job_queue.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <memory>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#endif

using namespace std::chrono_literals;
using tidefall::drain_trigger;
using tidefall::detail::call_in_progress;
using tidefall::detail::calls_in_progress;
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

TEST_CASE("parts: a tick plan looks at the earliest of tick, first write, trim and retry, once") {
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
    CHECK(plan.next() == at(21ms));
    CHECK_FALSE(plan.is_look_due(at(20ms)));
    CHECK(plan.is_look_due(at(21ms)));
    plan.end_look();
    CHECK_FALSE(plan.is_look_due(at(22ms)));
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
    plan.end_look();
    CHECK(plan.next() == at(160ms));
    plan.change_interval(1ms, at(151ms), true, false);  // has no say in it
    CHECK(plan.take_tick(at(152ms)));
    CHECK(plan.next() == at(160ms));
    CHECK_FALSE(plan.take_retry(at(160ms) - 1ns));
    CHECK(plan.take_retry(at(160ms)));
    CHECK_FALSE(plan.take_retry(at(161ms)));
    plan.swapped(true, at(160ms));
    plan.swapped(false, at(160ms));  // then the next write plans its tick
    CHECK_FALSE(plan.is_look_due(at(200ms)));
    plan.swapped(true, at(160ms));
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
                if (auto const what = random.below(8); what == 0) {
                    cycle.cancel();
                    ++ended;
                } else if (what == 1) {
                    cycle.unqueue();
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
            case phase::waiting: random.below(4) == 0 ? cycle.take_up() : cycle.resume(); break;
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
            CHECK(is_refused([&] { cycle.unqueue(); }));
        }
        if (where != phase::preparing) {
            CHECK(is_refused([&] { cycle.pause(); }));
            CHECK(is_refused([&] { cycle.put_off(); }));
            CHECK(is_refused([&] { cycle.enter_call(); }));
            CHECK(is_refused([&] { cycle.end(); }));
        }
        if (where != phase::waiting) {
            CHECK(is_refused([&] { cycle.resume(); }));
            CHECK(is_refused([&] { cycle.take_up(); }));
        }
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
    std::size_t fresh = 0;
    std::size_t again = 0;
    std::vector<std::size_t> calls;
    std::vector<std::size_t> late_calls;
    std::uint64_t abandoned_in_all = 0;
    auto const count = [&](std::uint64_t tidefall::buffer_stats::*what, std::uint64_t tidefall::drain_report::*report,
                           std::size_t size) {
        expected.*what += size;
        if (closed) since_close.*report += size;
    };
    auto const take_one = [&](std::vector<std::size_t>& from) {
        auto const at = from.begin() + static_cast<std::ptrdiff_t>(random.below(from.size()));
        auto const size = *at;
        from.erase(at);
        return size;
    };
    auto const one_of = [&](std::size_t& from) {
        auto const size = 1 + random.below(from);
        from -= size;
        calls.push_back(size);
        return size;
    };
    for (int round = 0; round < 20'000; ++round) {
        auto const what = random.below(12);
        if (fresh + again + calls.size() == 0) {
            fresh = 1 + random.below(9);
            ledger.take(fresh);
            expected.accepted += fresh;
            ++expected.ticks;
            REQUIRE(ledger.swapped() == fresh);
        } else if (what < 4 && fresh > 0) {
            ledger.hand_to_call(one_of(fresh));
        } else if (what < 5 && again > 0) {
            ledger.hand_to_call_again(one_of(again));
        } else if (what < 10 && !calls.empty()) {
            auto const size = take_one(calls);
            if (random.below(3) > 0) {
                auto const processed = random.below(size + 1);
                auto const failed = random.below(size - processed + 1);
                ledger.settle_call(processed, failed, size - processed - failed);
                again += size - processed - failed;
                count(&tidefall::buffer_stats::processed, &tidefall::drain_report::processed, processed);
                count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, failed);
            } else {
                ledger.abandon_call(size);
                late_calls.push_back(size);
                count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, size);
                if (closed) since_close.abandoned += size;
                abandoned_in_all += size;
                expected.abandoned += size;
            }
        } else if (what == 10) {
            auto const part = random.below(again + 2);
            bool const of_fresh = random.below(2) == 0;
            auto const failed = of_fresh ? ledger.fail_fresh() : ledger.fail_again(part);
            REQUIRE(failed == (of_fresh ? fresh : (std::min)(part, again)));
            (of_fresh ? fresh : again) -= failed;
            count(&tidefall::buffer_stats::failed, &tidefall::drain_report::failed, failed);
        } else if (what == 11 && closed) {
            REQUIRE(ledger.drop_rest() == fresh + again);
            count(&tidefall::buffer_stats::dropped, &tidefall::drain_report::dropped, fresh + again);
            fresh = again = 0;
            REQUIRE(ledger.drop_rest() == 0);
            REQUIRE(ledger.fail_fresh() == 0);
            REQUIRE(ledger.fail_again(1) == 0);
            auto const waiting = random.below(3);
            REQUIRE(ledger.drop_waiting(waiting) == waiting);
            count(&tidefall::buffer_stats::dropped, &tidefall::drain_report::dropped, waiting);
            expected.accepted += waiting;
        }
        if (random.below(20) == 0) {
            ledger.abandon_call(0);
            late_calls.push_back(0);
        }
        if (!late_calls.empty() && random.below(3) == 0) {
            auto const size = take_one(late_calls);
            ledger.late_call_returned(size);
            expected.abandoned -= size;
        }
        if (!closed && round == 10'000) {
            closed = true;
            ledger.close();
        }
        expected.in_flight = std::accumulate(calls.begin(), calls.end(), fresh + again);
        tidefall::buffer_stats stats;
        ledger.add_to(stats, {});
        REQUIRE(stats == expected);
        REQUIRE(ledger.fresh() == fresh);
        REQUIRE(ledger.rest() == fresh + again);
        REQUIRE(ledger.in_flight() == expected.in_flight);
        REQUIRE(ledger.has_dropped() == (expected.dropped > 0));
        REQUIRE(ledger.has_late_calls() == !late_calls.empty());
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
    CHECK(is_refused([&] { ledger.hand_to_call_again(1); }));
    CHECK(is_refused([&] { ledger.settle_call(1, 0, 0); }));
    CHECK(is_refused([&] { ledger.abandon_call(1); }));
    CHECK(is_refused([&] { ledger.late_call_returned(1); }));
    CHECK(is_refused([&] { ledger.late_call_returned(0); }));
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

namespace {

struct some_call final : call_in_progress {};

}  // namespace

TEST_CASE("parts: a call in progress is judged by its own time") {
    some_call call;
    call.begin(1, 3, at(0ms), 10ms, nullptr);
    CHECK(call.who().number == 1);
    CHECK(call.size() == 3);
    CHECK(call.is_inside());
    CHECK(call.times_out_at() == at(10ms));
    CHECK_FALSE(call.time_out(at(9ms)));
    call.set_timeout(20ms);
    CHECK_FALSE(call.time_out(at(10ms)));
    auto const in_time = call.end(at(19ms));
    CHECK_FALSE(in_time.timed_out);
    CHECK(in_time.duration == 19ms);
    CHECK_FALSE(call.is_open());
    CHECK(call.times_out_at() == never);
    CHECK_FALSE(call.time_out(at(1h)));  // the batch has its outcome, whatever the call does
    CHECK(is_refused([&] { static_cast<void>(call.end(at(20ms))); }));
    CHECK(is_refused([&] { call.abandon(); }));
    CHECK(is_refused([&] { call.begin(2, 1, at(20ms), 10ms, nullptr); }));
    call.leave();
    CHECK(is_refused([&] { call.leave(); }));

    call.begin(2, 1, at(20ms), 20ms, nullptr);
    CHECK(is_refused([&] { call.begin(3, 1, at(20ms), 10ms, nullptr); }));
    CHECK(is_refused([&] { call.finish(); }));
    call.leave();  // the batch is still out
    CHECK(is_refused([&] { call.begin(3, 1, at(20ms), 10ms, nullptr); }));
    CHECK(call.time_out(at(40ms)));
    CHECK_FALSE(call.time_out(at(41ms)));
    CHECK(call.times_out_at() == never);
    call.set_timeout(1h);
    CHECK(call.times_out_at() == never);
    auto const noticed = call.end(at(50ms));
    CHECK(noticed.timed_out);
    CHECK_FALSE(noticed.unnoticed);
    call.finish();
    CHECK(call.is_finished());
    CHECK(is_refused([&] { call.finish(); }));

    auto const again = [&](std::chrono::nanoseconds timeout) {
        if (call.is_inside()) call.leave();
        call.begin(3, 1, at(0ms), timeout, nullptr);
    };
    again(10ms);
    CHECK_FALSE(call.is_finished());
    CHECK(call.settle(at(9ms)));
    CHECK(call.times_out_at() == never);
    call.set_timeout(1ms);
    CHECK_FALSE(call.time_out(at(1h)));
    CHECK(call.settle(at(1h)));
    CHECK_FALSE(call.end(at(1h)).timed_out);
    CHECK(is_refused([&] { call.settle(at(1h)); }));
    again(1ms);
    CHECK_FALSE(call.settle(at(1ms)));  // which nobody has said yet
    CHECK(call.end(at(1ms)).unnoticed);
    again(1ms);
    CHECK(call.time_out(at(1ms)));
    CHECK_FALSE(call.settle(at(1ms)));
    CHECK_FALSE(call.end(at(1ms)).unnoticed);
    again(1ms);
    auto const unnoticed = call.end(at(2h));
    CHECK(unnoticed.timed_out);
    CHECK(unnoticed.unnoticed);
}

TEST_CASE("parts: whether a call was asked to stop is its own, and whose it is ends with it") {
    some_call call;
    tidefall::detail::worker busy;
    call.begin(1, 1, at(0ms), 10ms, &busy);  // nobody has a token
    CHECK(call.who().worker == &busy);
    CHECK(call.signal_is_unspent());
    static_cast<void>(call.spend_signal());
    CHECK_FALSE(call.signal_is_unspent());
    static_cast<void>(call.end(at(1ms)));
    call.leave();
    CHECK(call.who().worker == nullptr);
    call.begin(2, 1, at(1ms), 10ms, nullptr);
    CHECK(call.signal_is_unspent());
    static_cast<void>(call.end(at(2ms)));
    call.leave();
    call.renew_signal();
    call.begin(3, 1, at(2ms), 10ms, nullptr);
    static_cast<void>(call.spend_signal());
    static_cast<void>(call.end(at(3ms)));
    call.leave();
    call.begin(4, 1, at(3ms), 10ms, nullptr);  // whose token is the one that was stopped
    CHECK_FALSE(call.signal_is_unspent());
}

TEST_CASE("parts: a call that was abandoned is late until it is forgotten, and its token serves no other") {
    some_call call;
    call.renew_signal();
    CHECK(call.signal_is_unspent());
    call.begin(1, 4, at(0ms), 10ms, nullptr);
    CHECK(is_refused([&] { call.forget(); }));
    call.count_late();
    CHECK(call.abandon() == 4);
    CHECK(call.is_late());
    CHECK_FALSE(call.is_open());
    CHECK_FALSE(call.signal_is_unspent());
    CHECK(is_refused([&] { call.forget(); }));  // somebody is in it
    call.leave();
    CHECK(is_refused([&] { call.begin(2, 1, at(0ms), 10ms, nullptr); }));
    CHECK(call.is_counted_late());
    call.forget();
    CHECK_FALSE(call.is_late());
    CHECK_FALSE(call.is_counted_late());
    call.renew_signal();
    CHECK(call.signal_is_unspent());
    static_cast<void>(call.spend_signal());
    CHECK_FALSE(call.signal_is_unspent());
}

TEST_CASE("parts: of the calls of a partition each is in one list, and those that wait are in the batches' order") {
    dice random;
    calls_in_progress calls;
    calls.set_timeout(10ms);
    std::array<some_call, 8> all;
    std::set<call_in_progress*> mine;
    std::set<call_in_progress*> out;
    std::set<call_in_progress*> waiting;
    std::set<call_in_progress*> idle;
    std::set<call_in_progress*> parting;
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].set_index(i);
        mine.insert(&all[i]);
    }
    auto const one_of = [&](std::set<call_in_progress*>& from) {
        auto const at = std::next(from.begin(), static_cast<std::ptrdiff_t>(random.below(from.size())));
        auto* const found = *at;
        from.erase(at);
        return found;
    };
    for (int round = 0; round < 20'000; ++round) {
        auto const what = random.below(7);
        if (what < 2 && !mine.empty()) {
            auto* const one = one_of(mine);
            if (what == 0) {
                calls.begin(*one, 1 + random.below(3), at(0ms), nullptr);
                REQUIRE(one->times_out_at() == at(10ms));
                REQUIRE(calls.find(one->who().number) == one);
                out.insert(one);
            } else {
                calls.put_aside(*one);
                idle.insert(one);
            }
        } else if (what == 2 && !out.empty()) {
            auto* const one = one_of(out);
            static_cast<void>(one->end(at(0ms)));
            one->leave();
            if (random.below(2) == 0) {
                calls.part(*one, at(5ms), 2);
                REQUIRE(one->size() == 2);
                REQUIRE(one->again_at() == at(5ms));
                parting.insert(one);
            } else {
                auto const number = one->who().number;
                calls.take_back(*one);
                REQUIRE(calls.find(number) == nullptr);
                mine.insert(one);
            }
        } else if (what == 3 && !parting.empty()) {
            auto* const one = one_of(parting);
            calls.take_back(*one);
            calls.wait(*one);
            waiting.insert(one);
        } else if (what == 4) {
            auto* const one = calls.take_idle();
            REQUIRE((one == nullptr) == idle.empty());
            if (one != nullptr) {
                REQUIRE(idle.erase(one) == 1);
                mine.insert(one);
            }
        } else if (what == 5) {
            auto* const one = calls.first_waiting();
            REQUIRE(calls.take_waiting() == one);
            REQUIRE((one == nullptr) == waiting.empty());
            if (one != nullptr) {
                for (auto const* other : waiting) REQUIRE(one->index() <= other->index());
                waiting.erase(one);
                mine.insert(one);
            }
        }
        REQUIRE(calls.out() == out.size() + parting.size());
        REQUIRE(calls.is_parting() == !parting.empty());
        REQUIRE(calls.idle().size() == idle.size());
    }
    CHECK(is_refused([&] { calls.put_aside(all[0]), calls.put_aside(all[0]); }));
}

TEST_CASE("parts: a batch's values are moved side by side, and those at the front stay where they are") {
    using tidefall::detail::batch_parts;
    using tidefall::detail::batch_verdict;
    using of_value = batch_verdict::of_value;
    std::array<std::size_t, 3> const rejected = {0, 1, 3};
    constexpr std::size_t size = 4;
    std::allocator<std::string> memory;
    auto* const values = memory.allocate(size);
    for (std::size_t i = 0; i < size; ++i) std::construct_at(values + i, std::to_string(i));
    tidefall::batch_result result;
    for (auto const index : rejected) result.reject(index);
    batch_verdict const verdict(result, size);
    batch_parts<std::string> parts(std::span(values, size), verdict);
    parts.destroy(of_value::taken);
    auto const side_by_side = parts.gather(of_value::rejected);
    CHECK(std::vector<std::string>(side_by_side.begin(), side_by_side.end()) ==
          std::vector<std::string>{"0", "1", "3"});
    CHECK(parts.gather(of_value::refused).empty());
    std::destroy(side_by_side.begin(), side_by_side.end());
    memory.deallocate(values, size);
}

TEST_CASE("parts: drained tables destroy what was looked at and not taken") {
    constexpr auto weight = [](std::shared_ptr<int> const&) -> std::size_t { return 1; };
    using table =
        tidefall::queue<std::shared_ptr<int>, tidefall::insertion_order, tidefall::weighed_by<weight>>::table_type;
    auto const value = std::make_shared<int>(1);
    {
        tidefall::detail::drained_tables<table> tables(1);
        auto const fill = [&] {
            for (int i = 0; i < 3; ++i) tables.tables()[0].emplace_back(value);
            CHECK(tables.look_ahead().size() == 3);
            auto const taken = tables.take(1);
            std::destroy(taken.begin(), taken.end());
            CHECK(value.use_count() == 3);
        };
        fill();
        tables.clear();
        CHECK(value.use_count() == 1);
        CHECK(tables.take().empty());
        fill();
    }
    CHECK(value.use_count() == 1);
}
