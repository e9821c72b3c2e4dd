// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/calls_in_progress.hpp>
#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drain_cycle.hpp>
#include <tidefall/detail/drain/drain_ledger.hpp>
#include <tidefall/detail/drain/stop_state.hpp>
#include <tidefall/detail/drain/tick_plan.hpp>
#include <tidefall/detail/drain/write_tables.hpp>
#include <tidefall/detail/threads/scheduler.hpp>
#include <tidefall/detail/threads/task.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>

namespace tidefall::inline v0::detail {

/// The parts of a partition's control, the one mutex that guards them, and the transitions that all its faces make:
/// `batch_control`, which a batch sees that was handed out, `run_control`, which workers and the watchdog see, and
/// `drain_control`, which all others see.
///
/// Nothing under the mutex runs code of the user's or waits. What is decided there is returned, and whoever called does
/// it without the mutex (decisions.hpp).
///
/// Who may do what. `drain_cycle` has the states of a drain. In `preparing` its worker owns the drained tables, where
/// it sorts and gathers without a lock. In all others whoever holds the mutex may drop the rest of them, which is how a
/// stop expires beside a call that hangs; the worker then finds its call `taken_over`. A call that took too long may be
/// abandoned: it goes on beside the drain, which another worker takes up, and finds itself `late`.
///
/// A batch that is completed later belongs to whoever completes it, and is out until its values have gone where they
/// go. A drain in which there is nothing to do meanwhile is `waiting`: whatever may end that calls `look_further`.
///
/// Order of locks: buffer_core, this mutex, then stripes, timers or jobs.
class drain_state {
public:
    drain_state(drain_state const&) = delete;
    drain_state& operator=(drain_state const&) = delete;

protected:
    using phase = drain_cycle::phase;

    /// All three outlive it; `its` is the task that runs the drains.
    drain_state(task& its, scheduler& serving, write_tables& tables) noexcept
        : task_(its), schedule_(serving), tables_(tables) {}

    /// No alarm outlives it.
    ~drain_state() {
        schedule_.ticks.unset(task_);
        schedule_.timeouts.unset(task_);
    }

    /// Wakes a worker when its life ends, if a drain was queued: made before the mutex is taken, so that nobody who
    /// waits for the mutex waits for that too.
    class wake_up {
    public:
        explicit wake_up(drain_state& of) noexcept : jobs_(of.schedule_.jobs) {}
        ~wake_up() {
            if (is_due_) jobs_.wake_one();
        }
        wake_up(wake_up const&) = delete;
        wake_up& operator=(wake_up const&) = delete;

        void set_due() noexcept { is_due_ = true; }

    private:
        job_queue& jobs_;
        bool is_due_ = false;
    };

    // The mutex is held in these.

    [[nodiscard]] bool is(phase one) const noexcept { return cycle_.is(one); }
    [[nodiscard]] bool is_stopped() const noexcept { return stop_.is_closed() && is(phase::idle); }
    [[nodiscard]] bool claim_end() noexcept { return is_stopped() && stop_.claim_end(); }

    /// Exchanges the tables and queues the drain; if nothing was written, the drain ends here.
    void begin(drain_trigger trigger, wake_up& worker) noexcept {
        auto const now = schedule_.now();
        auto const size = tables_.swap(stop_.is_closed(), now);
        cycle_.begin(trigger, size > 0);
        plan_.swapped(size > 0, now);
        if (size > 0) {
            swapped_at_ = now;
            ledger_.take(size);
            schedule_.jobs.queue_up(task_);
            worker.set_due();
        }
        set_alarm();
    }

    // ---- a drain without a worker

    /// A worker has nothing to do for now.
    void put_off() noexcept {
        cycle_.put_off();
        calls_.out() == 0 ? unwatch() : watch();
        if (!stop_.is_expired()) schedule_.jobs.expect();
        look_further();
    }

    /// What a drain waits for may have come: then a worker is to go on, behind the work that is queued. False if not.
    bool look_further() noexcept {
        if (!is(phase::waiting) || stop_.is_expired()) return false;
        auto const* const first = calls_.first_waiting();
        bool const first_is_due = is_first_due();  // one look at the clock: what is not due then has an alarm
        if (!may_go_on(first_is_due)) {
            if (first != nullptr && !first_is_due) plan_retry(*first);
            return false;
        }
        resume();
        return true;
    }

    void resume() noexcept {
        cycle_.resume();
        schedule_.jobs.post_expected(task_);
    }

    /// A batch that is to be offered again keeps its place: none is handed out before it.
    [[nodiscard]] bool may_hand_out() const noexcept { return !calls_.is_parting() && calls_.out() < max_in_flight_; }

    /// True too where none waits.
    [[nodiscard]] bool is_first_due() const noexcept {
        auto const* const first = calls_.first_waiting();
        return first == nullptr || stop_.is_closed() || first->is_due() ||
               (!schedule_.manual() && first->again_at() <= schedule_.now());
    }
    [[nodiscard]] bool may_go_on(bool first_is_due) const noexcept {
        if (calls_.first_waiting() != nullptr) return first_is_due && may_hand_out();
        return ledger_.fresh() > 0 ? may_hand_out() : calls_.out() == 0;
    }

    /// Has the timer look when the first of those that wait may be offered again.
    void plan_retry(call_in_progress const& first) noexcept {
        plan_.retry_at(first.again_at());
        set_alarm();
    }

    std::size_t drop_waiting() noexcept { return ledger_.drop_waiting(tables_.expire(schedule_.now())); }

    void set_alarm() noexcept {
        auto const at = plan_.next();
        if (at == never) {
            schedule_.ticks.unset(task_);
        } else {
            schedule_.ticks.set(task_, at);
        }
    }

    /// Has the watchdog look when the call is too late, by its own time or by that of the stop.
    void watch(call_in_progress const& call) noexcept {
        auto at = call.times_out_at();
        if (stop_.is_closed() && call.signal_is_unspent()) at = (std::min)(at, stop_.deadline());
        watch_until(at);
    }
    /// The same for all that are out, and for what waits beside them.
    void watch() noexcept {
        for (auto const* const one : calls_.all_out()) watch(*one);
        if (is(phase::waiting) && stop_.is_closed() && !stop_.is_expired()) watch_until(stop_.deadline());
    }
    void watch_until(time_point at) noexcept {
        // An alarm that is set already and sounds too early costs less than moving it with every call.
        if (at >= watched_until_) return;
        watched_until_ = at;
        schedule_.timeouts.set(task_, at);
    }

    /// Whatever was set is not any more: the timer alone knows, since it may have sounded an alarm already that is
    /// heard later.
    void unwatch() noexcept {
        watched_until_ = never;
        schedule_.timeouts.unset(task_);
    }

    task& task_;
    scheduler& schedule_;
    write_tables& tables_;

    mutable mutex mutex_;
    // Invariant: all below is guarded by mutex_, which is held neither while code of the user runs nor while one waits.
    tick_plan plan_;
    drain_cycle cycle_;
    drain_ledger ledger_;
    stop_state stop_;
    calls_in_progress calls_;
    time_point swapped_at_{};             ///< when the drain began
    time_point watched_until_ = never;    ///< when the watchdog looks
    std::shared_ptr<void> spare_tables_;  ///< the partition's own type
    std::size_t batch_size_ = 1;
    std::size_t batch_weight_ = next_step::any_weight;
    std::size_t max_in_flight_ = 1;
    std::size_t late_batches_ = 0;  ///< abandoned and not completed, while no worker is in their calls
    nanoseconds overflow_timeout_{};
};

}  // namespace tidefall::inline v0::detail
