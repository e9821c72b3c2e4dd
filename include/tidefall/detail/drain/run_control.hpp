// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drain_state.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// What a partition's workers, and the watchdog beside them, ask of its control: whether a drain is to be run, a call
/// made, and whose the rest is once it has ended. See `drain_state`.
class run_control : public drain_state {
public:
    /// A worker takes up a drain that was queued.
    run_start start_run() noexcept {
        lock_guard const lock(mutex_);
        if (!is(phase::queued)) return {};
        run_start result{.what = run_start::order::run,
                         .is_first = cycle_.start_run(),
                         .trigger = cycle_.trigger(),
                         .swapped = ledger_.swapped(),
                         .rest = ledger_.rest(),
                         .drain = ledger_.swaps(),
                         .swapped_at = swapped_at_};
        if (result.is_first && stop_.is_over(schedule_.now())) {
            result.what = run_start::order::drop;
            result.lost = expire_here();
        }
        return result;
    }

    [[nodiscard]] std::size_t batch_size() const noexcept {
        lock_guard const lock(mutex_);
        return batch_size_;
    }

    /// Has a token ready for the next call: one that was stopped serves no other. May throw for memory.
    void renew_signal() {
        stop_signal fresh;
        {
            lock_guard const lock(mutex_);
            if (!call_.needs_signal()) return;
        }
        fresh.renew();
        lock_guard const lock(mutex_);
        call_.exchange_signal(fresh);
    }
    /// For the next call. Its worker alone writes it.
    [[nodiscard]] stop_signal const& signal() const noexcept { return call_.signal(); }

    /// `is_new`: with a batch that is handed out for the first time.
    call_entry enter_call(std::size_t size, bool is_new) noexcept {
        lock_guard const lock(mutex_);
        auto const now = schedule_.now();
        if (stop_.is_over(now)) return {.ticket = std::nullopt, .lost = expire_here()};
        cycle_.enter_call();
        ledger_.hand_to_call(size);
        auto const number = call_.begin(size, now, schedule_.worker_here());
        watch();
        auto const index = is_new ? cycle_.next_batch() : 0;
        return {.ticket = call_ticket{number, size, index, stop_.is_closed()}};
    }

    /// No timeout is declared for the call any more. False where one was, or the call was abandoned.
    bool settle_call(call_ticket const& call) noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        return call_.is(call.number) && call_.settle(now);
    }
    [[nodiscard]] bool is_abandoned(call_ticket const& call) const noexcept {
        lock_guard const lock(mutex_);
        return !call_.is(call.number);
    }

    call_end leave_call(call_ticket const& call, call_outcome const& came) noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        if (!call_.is(call.number)) return {.rest = call_end::owner::late};
        cycle_.leave_call();
        auto const result = call_.end(now);
        bool const failed = result.timed_out || came.threw;
        bool const expired = stop_.is_expired();
        auto const again = failed || expired || call.is_last ? 0 : came.rejected;
        auto const lost = failed ? call.size : came.rejected + came.refused - again;
        ledger_.settle_call(call.size - lost - again, lost, again);
        return {.rest = expired ? call_end::owner::taken_over : call_end::owner::mine,
                .timed_out = result.timed_out,
                .unnoticed = result.unnoticed,
                .offers_again = again > 0,
                .duration = result.duration};
    }
    void late_call_returned(call_ticket const& call) noexcept {
        if (auto* const here = schedule_.worker_here()) schedule_.jobs.late_call_returned(*here);
        lock_guard const lock(mutex_);
        ledger_.late_call_returned(call.size);
    }

    /// Sorting or gathering threw: the rest fails. Returns how much that is: none where it was dropped before.
    std::size_t fail_rest() noexcept {
        lock_guard const lock(mutex_);
        return ledger_.fail_rest();
    }
    /// The same for a part of it, a batch that was to be offered again.
    std::size_t fail_of_rest(std::size_t size) noexcept {
        lock_guard const lock(mutex_);
        return ledger_.fail_of_rest(size);
    }

    /// Leaves the rest of the drain until a batch of it may be offered again, at once where the partition is closed.
    /// False, and it is the caller's, where it was dropped.
    bool put_off(nanoseconds delay) noexcept {
        lock_guard const lock(mutex_);
        if (stop_.is_expired()) return false;
        cycle_.put_off();
        unwatch();
        if (stop_.is_closed() || (delay <= nanoseconds::zero() && !schedule_.manual())) {
            resume();
        } else {
            plan_.retry_at(later(schedule_.now(), (std::max)(delay, nanoseconds::zero())));
            set_alarm();
        }
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

    /// The tables that take the place of those which a late call may look at; null: there is no such call.
    [[nodiscard]] std::shared_ptr<void> take_spare_tables() noexcept {
        lock_guard const lock(mutex_);
        return std::move(spare_tables_);
    }

    /// The drain is over; what was requested meanwhile follows at once. True if the caller is to announce the end of
    /// the partition.
    bool end_drain() noexcept {
        lock_guard const lock(mutex_);
        cycle_.end();
        unwatch();
        if (plan_.drained(schedule_.now())) set_alarm();
        bool const closed = stop_.is_closed();
        auto const next = cycle_.requested();
        if (!stop_.is_expired() && (next || closed)) begin(closed ? drain_trigger::stop : *next);
        return claim_end();
    }

    // ---- the watchdog

    overdue_call look_at_call(time_point now) noexcept {
        lock_guard const lock(mutex_);
        unwatch();
        if (!is(phase::calling)) return {};
        overdue_call found;
        found.timed_out = call_.time_out(now);
        found.stops_token = call_.signal_is_unspent() && (found.timed_out || stop_.is_past_deadline(now));
        if (found.stops_token) found.signal = call_.spend_signal();
        found.size = call_.size();
        found.call = call_.who();
        watch();
        return found;
    }

    /// The values of the call have failed, and another worker goes on with the rest. Does nothing where the call has
    /// returned meanwhile, or where there is no other worker. `tables` take the place of the drained ones, which the
    /// call may look at.
    void abandon_call(call_in_progress::identity call, std::shared_ptr<void> tables) noexcept {
        lock_guard const lock(mutex_);
        if (!is(phase::calling) || !call_.is(call.number) || stop_.is_expired()) return;
        if (!schedule_.jobs.abandon_call(*call.worker, task_)) return;
        ledger_.abandon_call(call_.abandon());
        spare_tables_.swap(tables);  // those of an earlier call are destroyed after the lock, with the parameter
        cycle_.abandon_call();
        unwatch();
    }

protected:
    using drain_state::drain_state;

private:
    // The mutex is held in these.

    void leave_rest() noexcept {
        cycle_.pause();
        unwatch();
    }

    /// By a worker that finds the deadline passed. Returns how many values are lost that were not before.
    std::size_t expire_here() noexcept { return (stop_.expire() ? drop_waiting() : 0) + ledger_.drop_rest(); }
};

}  // namespace tidefall::inline v0::detail
