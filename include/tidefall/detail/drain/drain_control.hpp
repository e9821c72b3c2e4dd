// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/run_control.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace tidefall::inline v0::detail {

/// What writers, flushes, stops and the timer ask of a partition's control. See `drain_state`.
class drain_control final : public run_control {
public:
    drain_control(task& its, scheduler& serving, write_tables& tables) noexcept : run_control(its, serving, tables) {}

    // ---- writes

    /// A write found its stripe empty: the next tick is one interval from now, or earlier.
    void value_waits() noexcept {
        auto const now = schedule_.now();
        lock_guard const lock(mutex_);
        if (!stop_.is_closed() && plan_.value_waits(now)) set_alarm();
    }

    /// Starts a drain, or has one follow the one in progress; without threads, at the next chance.
    void limit_reached(drain_trigger trigger) noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        if (stop_.is_closed()) return;
        if (!is(phase::idle)) {
            cycle_.request(trigger);
        } else if (schedule_.manual()) {
            cycle_.request(trigger);
            plan_.tick_by(schedule_.now());
            set_alarm();
        } else {
            begin(trigger, worker);
        }
    }

    /// Until when a write that began to wait at `since` waits for room.
    [[nodiscard]] time_point room_deadline(time_point since) const noexcept {
        lock_guard const lock(mutex_);
        return later(since, overflow_timeout_);
    }

    [[nodiscard]] bool is_closed() const noexcept {
        lock_guard const lock(mutex_);
        return stop_.is_closed();
    }

    /// Returns the limit that is reached now, for `limit_reached`.
    std::optional<drain_trigger> change_options(options_update const& update, bool leases_anew = false) noexcept {
        lock_guard const lock(mutex_);
        if (update.processing_batch_size) batch_size_ = *update.processing_batch_size;
        if (update.processing_batch_weight)
            batch_weight_ = update.processing_batch_weight->value_or(next_step::any_weight);
        if (update.overflow_timeout) overflow_timeout_ = *update.overflow_timeout;
        if (update.processing_timeout) {
            calls_.set_timeout(*update.processing_timeout);
            watch();
        }
        if (update.max_in_flight) {
            max_in_flight_ = *update.max_in_flight;
            look_further();
        }
        if (update.processing_interval) {
            if (!stop_.is_closed()) note_first_write();  // by the interval that held when it was written
            plan_.change_interval(*update.processing_interval, schedule_.now(), tables_.waiting() > 0,
                                  ledger_.swaps() > 0);
            set_alarm();
        }
        return tables_.change_limits(update, leases_anew);
    }

    // ---- flush

    /// Starts a drain of all that was written before. Returns what `is_settled` is to be asked for.
    std::uint64_t flush() noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        bool const closed = stop_.is_closed();
        if (is(phase::idle)) {
            if (!closed) begin(drain_trigger::flush, worker);
            return cycle_.newest();
        }
        bool const another = closed || tables_.waiting() > 0;
        if (another && !closed) cycle_.request(drain_trigger::flush);
        return cycle_.newest() + (another ? 1 : 0);
    }

    /// The same where no drain is in progress; otherwise that one is to be asked for.
    std::uint64_t begin_if_idle(drain_trigger trigger) noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        if (is(phase::idle) && !stop_.is_closed()) begin(trigger, worker);
        return cycle_.newest();
    }

    /// True once all of that drain has an outcome, or the partition ended.
    [[nodiscard]] bool is_settled(std::uint64_t drain) const noexcept {
        lock_guard const lock(mutex_);
        return (cycle_.has_ended(drain) || stop_.was_announced()) && !stop_.is_returning();
    }

    /// Of one that is settled: true if everything has an outcome, and nothing hangs in a call.
    [[nodiscard]] bool is_complete(std::uint64_t drain) const noexcept {
        lock_guard const lock(mutex_);
        return cycle_.has_ended(drain) || ledger_.in_flight() == 0;
    }

    // ---- stop

    /// Takes no write from now on, and starts the last drain, to be done by that time. May be called again, to bring
    /// that forward. True if the caller is to announce the end.
    bool close(time_point deadline) noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        if (stop_.close(deadline)) {
            ledger_.close();
            plan_.close();
            schedule_.ticks.unset(task_);
            if (is(phase::idle)) {
                begin(drain_trigger::stop, worker);
            } else {
                tables_.close();
                look_further();
            }
        }
        watch();
        return claim_end();
    }

    /// The deadline passed: drops all that waits. A call that is running keeps its values. What is being prepared is
    /// returned by its worker, which also announces the end. The caller returns the rest, and says so by `returned`.
    expiry expire() noexcept {
        lock_guard const lock(mutex_);
        if (is_stopped() || !stop_.expire()) return {};
        expiry result{.happened = true,
                      .rest_is_ours = !is(phase::preparing) && ledger_.rest() > 0,
                      .swapped = ledger_.swapped()};
        stop_.begin_return();
        result.lost = drop_waiting() + ledger_.drop_rest();
        if (is(phase::waiting)) schedule_.jobs.expect_no_more();
        if (is(phase::queued)) {
            schedule_.jobs.remove(task_);
            if (calls_.out() > 0) {
                cycle_.unqueue();
            } else {
                result.ended_drain = cycle_.has_started();
                cycle_.cancel();
                unwatch();
            }
        }
        result.announces = !is(phase::preparing) && stop_.claim_end();
        return result;
    }
    void returned() noexcept {
        lock_guard const lock(mutex_);
        stop_.end_return();
    }

    void announced() noexcept {
        lock_guard const lock(mutex_);
        stop_.announced();
    }

    [[nodiscard]] bool has_ended() const noexcept {
        lock_guard const lock(mutex_);
        return stop_.has_ended();
    }
    [[nodiscard]] bool is_expired() const noexcept {
        lock_guard const lock(mutex_);
        return stop_.is_expired();
    }
    [[nodiscard]] time_point stop_deadline() const noexcept {
        lock_guard const lock(mutex_);
        return stop_.deadline();
    }

    /// Of a partition that was stopped: true while code of the user may be running for it all the same, a call of the
    /// processor that hangs, or what is returned. Once false it stays so.
    [[nodiscard]] bool is_in_use() const noexcept {
        lock_guard const lock(mutex_);
        return in_use();
    }

    /// The same, but for batches that are out while no worker is in their calls.
    [[nodiscard]] bool is_running() const noexcept {
        lock_guard const lock(mutex_);
        return !stop_.has_ended() || !(is(phase::idle) || is(phase::waiting));
    }

    /// Until when a runtime that is being destroyed waits for what runs here.
    [[nodiscard]] time_point may_run_until() const noexcept {
        lock_guard const lock(mutex_);
        if (!stop_.is_closed() || !in_use()) return never;  // it returns by itself
        if (stop_.is_expired() && is(phase::calling)) return (time_point::min)();
        return later(stop_.deadline(), grace);  // for hooks and `undelivered`
    }

    /// Calls `f` with each call that serves no batch, under the mutex, which is held: from `write_tables`.
    template <typename F>
    void each_idle(F f) const {
        for (auto* const one : calls_.idle()) f(*one);
    }

    // ---- counters

    void count_in(buffer_stats& stats) const noexcept {
        lock_guard const lock(mutex_);
        buffer_stats waiting;
        tables_.count_waiting(waiting);
        add(waiting, stats);
    }
    /// The same in a forked child, which has no other thread and must not lock.
    void count_alone_in(buffer_stats& stats, buffer_stats const& waiting) const noexcept { add(waiting, stats); }

    /// Adds the change since `close`.
    void count_in(drain_report& report) const noexcept {
        lock_guard const lock(mutex_);
        ledger_.add_to(report);
        if (is(phase::calling)) report.complete = false;  // also where the call has no values: a replay
    }
    [[nodiscard]] std::uint64_t abandoned() const noexcept {
        lock_guard const lock(mutex_);
        return ledger_.abandoned();
    }

    // ---- the timer

    /// True where a drain goes on that waited: who waits for its end may have to do that. For nothing else need anybody
    /// be told, since who waits for room, or for an end, waits for a drain that a write or a flush asked for.
    bool tick(time_point now) noexcept {
        wake_up worker(*this);
        lock_guard const lock(mutex_);
        if (plan_.take_retry(now)) {
            if (auto* const first = calls_.first_waiting(); first && first->again_at() <= now) first->set_due();
        }
        bool const resumes = look_further();
        if (plan_.is_look_due(now)) note_first_write();
        if (plan_.take_tick(now)) {
            if (is(phase::idle)) {
                begin(cycle_.requested().value_or(drain_trigger::interval), worker);
            } else {
                cycle_.request(drain_trigger::interval);
            }
        }
        // A busy partition is looked at as long after the end of its drain.
        if (plan_.take_trim(now) && is(phase::idle)) tables_.free_memory();
        set_alarm();
        return resumes;
    }

private:
    // The mutex is held in these.

    /// Plans the tick for what was written since the swap.
    void note_first_write() noexcept {
        plan_.end_look();
        if (auto const since = tables_.first_write()) static_cast<void>(plan_.value_waits(*since));
    }

    [[nodiscard]] bool in_use() const noexcept {
        return !stop_.has_ended() || !is(phase::idle) || ledger_.has_late_calls();
    }

    void add(buffer_stats waiting, buffer_stats& stats) const noexcept {
        if (stop_.is_expired()) waiting.pending = waiting.pending_weight = 0;  // counted as dropped
        ledger_.add_to(stats, waiting);
    }
};

}  // namespace tidefall::inline v0::detail
