// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drain_state.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// What is asked of a partition's control for one batch that was handed out: by its worker, by who completes it, and by
/// what it calls meanwhile. Says whose the rest of the drain is once the batch has its outcome. See `drain_state`.
class batch_control : public drain_state {
public:
    /// No timeout is declared for the call any more. False where one was, or the call was abandoned.
    bool settle_call(call_in_progress& call) noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        return call.is_open() && call.settle(now);
    }
    [[nodiscard]] bool is_abandoned(call_in_progress const& call) const noexcept {
        lock_guard const lock(mutex_);
        return call.is_late();
    }

    [[nodiscard]] bool is_token_stopped(call_in_progress const& call) const noexcept {
        lock_guard const lock(mutex_);
        return !call.signal_is_unspent();
    }
    void wait_at(call_in_progress& call, std::shared_ptr<waiting_place> place) noexcept {
        std::shared_ptr<waiting_place> before;  // released after the lock
        lock_guard const lock(mutex_);
        before = call.wait_at(std::move(place));
    }

    // ---- a call that returns with the outcome of its batch

    call_end leave_call(call_in_progress& call, call_ticket const& ticket, call_outcome const& came) noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        if (call.is_late()) return {.rest = call_end::owner::late};
        cycle_.leave_call();
        call.leave();
        auto const result = settle(call, ticket, came, now);
        if (!result.offers_again) calls_.take_back(call);
        return result;
    }

    // ---- a call that returns, and a batch that is completed, before or after it, perhaps on another thread

    /// The batch has its outcome. Its values are the caller's to destroy or return; then `finish`, or `offer_again`.
    call_end complete(call_in_progress& call, call_ticket const& ticket, call_outcome const& came) noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        if (call.is_late()) return {.rest = call_end::owner::late};
        return settle(call, ticket, came, now);
    }

    /// The values have gone where they go. True if the drain is the caller's to end: nobody else comes.
    bool finish(call_in_progress& call) noexcept {
        lock_guard const lock(mutex_);
        call.finish();
        if (call.is_inside()) return false;  // `leave_later_call` goes on
        calls_.take_back(call);
        calls_.put_aside(call);
        if (is(phase::waiting) && stop_.is_expired() && calls_.out() == 0) {
            cycle_.take_up();
            return true;
        }
        look_further();
        return false;
    }

    /// The worker has returned from the call.
    call_return leave_later_call(call_in_progress& call) noexcept {
        auto* const here = schedule_.worker_here();
        lock_guard const lock(mutex_);
        call_return result{.late = call.is_late(), .taken_over = stop_.is_expired(), .is_given_up = call.is_given_up()};
        call.leave();
        if (result.late) {
            schedule_.jobs.late_call_returned(*here);  // only a worker's call is abandoned before it returns
            if (call.is_finished()) {
                forget_late(call);
            } else {
                call.count_late();
                ++late_batches_;
            }
            return result;
        }
        cycle_.leave_call();
        if (call.is_finished()) {
            calls_.take_back(call);
            result.is_free = true;
        } else if (call.waits_for_return()) {
            calls_.take_back(call);
            result.offers_again = !result.taken_over;
            result.is_dropped = result.taken_over;
            if (result.offers_again) calls_.wait(call);
        }
        return result;
    }

    /// The batch is given up, which fails it: at once, or, where its call runs, when that returns; then it is false.
    bool give_up(call_in_progress& call) noexcept {
        lock_guard const lock(mutex_);
        if (!call.is_inside()) return true;
        call.give_up();
        return false;
    }

    // ---- both

    /// The values that are to be offered again lie side by side. False, and they are the caller's to return, where they
    /// were dropped.
    bool offer_again(call_in_progress& call) noexcept {
        lock_guard const lock(mutex_);
        if (stop_.is_expired()) return false;
        if (call.is_inside()) {
            call.wait_for_return();
        } else {
            calls_.take_back(call);
            calls_.wait(call);
            look_further();
        }
        return true;
    }

    /// It went on beside the drain, and what it had was returned.
    void late_call_returned(call_in_progress& call) noexcept {
        schedule_.jobs.late_call_returned(*schedule_.worker_here());
        lock_guard const lock(mutex_);
        call.leave();
        forget_late(call);
    }
    void late_batch_completed(call_in_progress& call) noexcept {
        lock_guard const lock(mutex_);
        call.finish();
        if (!call.is_inside()) forget_late(call);
    }

    /// What was to be offered again fails. Returns how much that is: none where it was dropped.
    std::size_t fail_again(std::size_t size) noexcept {
        lock_guard const lock(mutex_);
        return ledger_.fail_again(size);
    }

    // ---- the drain

    /// The drain is over; what was requested meanwhile follows at once. True if the caller is to announce the end of
    /// the partition.
    bool end_drain() noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        cycle_.end();
        unwatch();
        if (plan_.drained(schedule_.now())) set_alarm();
        bool const closed = stop_.is_closed();
        auto const next = cycle_.requested();
        if (!stop_.is_expired() && (next || closed)) begin(closed ? drain_trigger::stop : *next, worker);
        return claim_end();
    }

    /// How many values the drain took.
    [[nodiscard]] std::size_t swapped() const noexcept {
        lock_guard const lock(mutex_);
        return ledger_.swapped();
    }

protected:
    using drain_state::drain_state;

private:
    // The mutex is held in these.

    call_end settle(call_in_progress& call, call_ticket const& ticket, call_outcome const& came,
                    time_point now) noexcept {
        auto const result = call.end(now);
        bool const failed = result.timed_out || came.threw;
        bool const expired = stop_.is_expired();
        auto const again = failed || expired || ticket.is_last ? 0 : came.rejected;
        auto const lost = failed ? ticket.size : came.rejected + came.refused - again;
        ledger_.settle_call(ticket.size - lost - again, lost, again);
        if (again > 0) calls_.part(call, later(now, (std::max)(came.delay, nanoseconds::zero())), again);
        return {.rest = expired ? call_end::owner::taken_over : call_end::owner::mine,
                .timed_out = result.timed_out,
                .unnoticed = result.unnoticed,
                .offers_again = again > 0,
                .duration = result.duration};
    }

    /// Its batch has an outcome, and nobody is in its call: until then the destructor of the buffer waits for it.
    void forget_late(call_in_progress& call) noexcept {
        ledger_.late_call_returned(call.size());
        if (call.is_counted_late()) --late_batches_;
        call.forget();
        calls_.put_aside(call);
    }
};

}  // namespace tidefall::inline v0::detail
