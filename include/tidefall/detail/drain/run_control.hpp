// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/batch_control.hpp>
#include <tidefall/detail/drain/decisions.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// What a partition's workers, and the watchdog beside them, ask of its control: what is to be done next, and what
/// follows where a call takes too long. See `drain_state`.
class run_control : public batch_control {
public:
    /// A worker takes up a drain that was queued.
    run_start start_run() noexcept {
        lock_guard const lock(mutex_);
        if (!is(phase::queued)) return {};
        run_start result{.what = run_start::order::run,
                         .is_first = cycle_.start_run(),
                         .trigger = cycle_.trigger(),
                         .swapped = ledger_.swapped(),
                         .drain = ledger_.swaps(),
                         .swapped_at = swapped_at_};
        if (result.is_first && stop_.is_over(schedule_.now())) {
            result.what = run_start::order::drop;
            result.lost = expire_here();
        }
        return result;
    }

    /// What its worker does next, until that time. `whole`: what no call has had makes one batch.
    next_step next(time_point until, bool whole) noexcept {
        lock_guard const lock(mutex_);
        using order = next_step::order;
        auto const* const waiting = calls_.first_waiting();
        bool const has_more = waiting != nullptr || ledger_.fresh() > 0 || calls_.out() > 0;
        if (stop_.is_closed() && (stop_.is_expired() || (has_more && stop_.is_over(schedule_.now())))) {
            return {.what = order::expired, .lost = expire_here()};
        }
        if (!has_more) return {.what = order::end};
        if (!may_go_on(is_first_due())) return {.what = order::wait};
        if (until != never && has_passed(until, schedule_.now())) return {.what = order::pause};
        if (waiting != nullptr) return {.what = order::offer, .size = waiting->size(), .call = calls_.take_waiting()};
        auto const size = whole ? ledger_.fresh() : (std::min)(batch_size_, ledger_.fresh());
        return {.what = order::cut, .size = size, .weight = batch_weight_};
    }

    /// The call is made, with so many values: `cut` from the drained tables, or offered again.
    call_entry enter_call(call_in_progress& call, std::size_t size, bool is_cut) noexcept {
        lock_guard const lock(mutex_);
        auto const now = schedule_.now();
        if (stop_.is_over(now)) return {.ticket = std::nullopt, .lost = expire_here()};
        cycle_.enter_call();
        if (is_cut) {
            ledger_.hand_to_call(size);
            call.set_index(size > 0 ? cycle_.next_batch() : 0);
        } else {
            ledger_.hand_to_call_again(size);
        }
        calls_.begin(call, size, now, schedule_.worker_here());
        watch(call);
        return {.ticket = call_ticket{size, ledger_.rest(), stop_.is_closed()}};
    }

    /// One that serves no batch, null if there is none.
    [[nodiscard]] call_in_progress* take_idle() noexcept {
        lock_guard const lock(mutex_);
        return calls_.take_idle();
    }
    /// The worker needs it no more.
    void put_aside(call_in_progress& call) noexcept {
        lock_guard const lock(mutex_);
        calls_.put_aside(call);
    }

    /// Sorting or gathering threw: what no call has had fails. Returns how much that is: none where it was dropped.
    std::size_t fail_fresh() noexcept {
        lock_guard const lock(mutex_);
        return ledger_.fail_fresh();
    }

    // ---- the worker leaves

    /// Leaves the rest of the drain until there is something to do. False, and it is the caller's, where it was
    /// dropped.
    bool wait() noexcept {
        lock_guard const lock(mutex_);
        if (stop_.is_expired()) return false;
        put_off();
        return true;
    }

    /// Leaves the rest of the drain for another run. False, and it is the caller's, where it was dropped.
    bool pause() noexcept {
        lock_guard const lock(mutex_);
        if (stop_.is_expired()) return false;
        leave_rest();
        return true;
    }

    /// Has another worker go on, since this one ends.
    void hand_over() noexcept {
        lock_guard const lock(mutex_);
        leave_rest();
        schedule_.jobs.post(task_);
    }

    /// Takes the batches that wait out of the control, one by one, for the caller to return. Null if there is none.
    [[nodiscard]] call_in_progress* take_waiting() noexcept {
        lock_guard const lock(mutex_);
        return calls_.take_waiting();
    }

    /// The tables that take the place of those which a late call may look at; null: there is no such call.
    [[nodiscard]] std::shared_ptr<void> take_spare_tables() noexcept {
        lock_guard const lock(mutex_);
        return std::move(spare_tables_);
    }

    /// Nothing is left that no call has. True if the drain is over; otherwise who completes the last batch goes on.
    drain_rest reach_end() noexcept {
        lock_guard const lock(mutex_);
        if (calls_.out() == 0) return {.is_over = true};
        put_off();
        return {.is_over = false, .announces = stop_.is_expired() && stop_.claim_end()};
    }

    // ---- the watchdog

    /// One that is overdue, and was not found before; until there is none.
    overdue_call look_at_calls(time_point now) noexcept {
        lock_guard const lock(mutex_);
        unwatch();
        overdue_call found;
        bool const is_past_stop = stop_.is_past_deadline(now);
        for (auto* const call : calls_.all_out()) {
            found.timed_out = call->time_out(now);
            found.stops_token = call->signal_is_unspent() && (found.timed_out || is_past_stop);
            if (!found.timed_out && !found.stops_token) continue;
            if (found.stops_token) {
                found.signal = call->spend_signal();
                found.wakes = call->waits_at();
            }
            found.size = call->size();
            found.call = call->who();
            break;
        }
        if (is(phase::waiting) && is_past_stop && !stop_.is_expired()) resume();  // what waits is dropped
        watch();
        return found;
    }

    /// The values of the call have failed, and another worker goes on with the rest. Does nothing where the batch has
    /// its outcome meanwhile, or where there is no other worker. `tables` take the place of the drained ones, which the
    /// call may look at.
    void abandon_call(call_in_progress::identity const& found, std::shared_ptr<void> tables) noexcept {
        lock_guard const lock(mutex_);
        auto* const call = calls_.find(found.number);
        if (call == nullptr || !call->is_open() || stop_.is_expired()) return;
        if (!call->is_inside()) {
            if (late_batches_ >= max_in_flight_) return;
            ++late_batches_;
            call->count_late();
        } else {
            if (call->who().worker == nullptr || !schedule_.jobs.abandon_call(*call->who().worker, task_)) return;
            cycle_.abandon_call();
        }
        calls_.take_back(*call);
        ledger_.abandon_call(call->abandon());
        spare_tables_.swap(tables);  // those of an earlier call are destroyed after the lock, with the parameter
        look_further();
    }

protected:
    using batch_control::batch_control;

private:
    // The mutex is held in these.

    void leave_rest() noexcept {
        cycle_.pause();
        if (calls_.out() == 0) unwatch();
    }

    /// By a worker that finds the deadline passed. Returns how many values are lost that were not before.
    std::size_t expire_here() noexcept { return (stop_.expire() ? drop_waiting() : 0) + ledger_.drop_rest(); }
};

}  // namespace tidefall::inline v0::detail
