// SPDX-License-Identifier: MIT
//
// When work is due and who does it. A task (a partition, as seen from here) has two alarms and a place in the queue
// of jobs; two timers sound the alarms, workers run the jobs. Nothing here knows what a buffer is, and nothing here
// allocates once a task is constructed.
//
// All of it takes the time as a parameter, so that the same code runs with threads (runtime.hpp) and without
// (manual_runtime.hpp).
#pragma once

#include <tidefall/detail/job_queue.hpp>
#include <tidefall/detail/task.hpp>
#include <tidefall/detail/this_thread.hpp>
#include <tidefall/detail/time.hpp>
#include <tidefall/detail/timer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// The workers of a runtime, as far as one may have to be replaced.
class worker_source {
public:
    /// Starts a worker in the place of this one, which ends with its job; false if no thread can be started.
    [[nodiscard]] virtual bool replace(std::uint64_t worker) noexcept = 0;
    [[nodiscard]] virtual std::size_t count() const noexcept = 0;

protected:
    ~worker_source() = default;
};

/// The timers, the jobs and the clock of one runtime. With `manual`, time stands still until it is moved and nothing
/// runs until somebody asks.
class scheduler {
public:
    explicit scheduler(bool manual) noexcept : manual_(manual) {}

    timer ticks{&task::tick_};
    timer timeouts{&task::overdue_};
    job_queue jobs;

    [[nodiscard]] bool manual() const noexcept { return manual_; }

    [[nodiscard]] time_point now() const noexcept {
        // Acquires [manual clock]: what happened before the clock was moved is seen by who reads the new time.
        return manual_ ? time_point(nanoseconds(manual_now_.load(std::memory_order_acquire))) : monotonic_clock::now();
    }

    /// True where `flush` and `stop` do the work themselves, since waiting for a worker could wait for oneself.
    [[nodiscard]] bool works_on_this_thread() const noexcept { return manual_ || this_thread.works_for == this; }

    /// From whom replacements come; null once there are none to be had.
    void set_workers(worker_source* source) noexcept {
        lock_guard const lock(workers_mutex_);
        workers_ = source;
    }

    /// As `worker_source::replace`: for a worker whose thread ends.
    bool replace_worker(std::uint64_t worker) noexcept {
        lock_guard const lock(workers_mutex_);
        return workers_ != nullptr && workers_->replace(worker);
    }

    /// The same for a worker whose call is given up; false too if as many calls as there are workers have been, and
    /// have not returned.
    [[nodiscard]] bool release_from_call(std::uint64_t worker) noexcept {
        lock_guard const lock(workers_mutex_);
        if (worker == 0 || workers_ == nullptr || late_calls_ >= workers_->count()) return false;
        if (!workers_->replace(worker)) return false;
        ++late_calls_;
        return true;
    }

    void late_call_returned() noexcept {
        lock_guard const lock(workers_mutex_);
        --late_calls_;
    }

    /// Runs one queued job of `owner` here, which looks at `until` between calls; false if there was none.
    bool run_one_of(void const* owner, time_point until) {
        auto job = jobs.take_of(owner);
        if (!job) return false;
        run(std::move(job), until);
        return true;
    }

    /// Moves the manual clock from alarm to alarm, each at its own time, and runs what falls due. While a job runs,
    /// on whatever thread, only timeouts sound; the rest follows when that job ends.
    void advance(nanoseconds by) noexcept {
        auto const target = later(now(), by);
        if (running() == 0) {
            settle();
            for (auto next = next_alarm(); has_passed(next, target); next = next_alarm()) {
                move_clock(next);
                settle();
            }
            move_clock(target);
            return;
        }
        for (auto next = timeouts.next(); has_passed(next, target); next = timeouts.next()) {
            move_clock(next);
            sound_timeout();
        }
        move_clock(target);
        // Sequentially consistent, with [running]: either the job that ends sees that the clock was moved, or this
        // thread sees that it has ended.
        moved_while_running_.store(true, std::memory_order_seq_cst);
        if (running() == 0) settle_if_moved();
    }

private:
    [[nodiscard]] time_point next_alarm() noexcept { return (std::min)(ticks.next(), timeouts.next()); }

    bool sound_tick() noexcept {
        auto const due = ticks.take_due(now());
        if (due) due->on_tick(now());
        return due != nullptr;
    }

    bool sound_timeout() noexcept {
        auto const due = timeouts.take_due(now());
        if (due) due->on_overdue(now());
        return due != nullptr;
    }

    void settle_if_moved() noexcept {
        // Sequentially consistent, as in `advance`.
        if (moved_while_running_.exchange(false, std::memory_order_seq_cst)) settle();
    }

    /// Sounds what is due now, runs the jobs that follow, and so on until there is nothing left. Where that is being
    /// done already, further up the stack or on another thread, it is left to be done there.
    void settle() noexcept {
        do {
            // Sequentially consistent: whoever is turned away here set its alarm before, and is seen by the last look
            // below.
            if (settling_.exchange(true, std::memory_order_seq_cst)) return;
            for (bool busy = true; busy;) {
                busy = false;
                while (sound_timeout() || sound_tick()) {
                }
                while (auto job = jobs.take()) {
                    run(std::move(job), never);
                    busy = true;
                }
            }
            settling_.store(false, std::memory_order_seq_cst);
        } while (has_passed(next_alarm(), now()) || !jobs.empty());
    }

    void run(std::shared_ptr<task> job, time_point until) {
        // Sequentially consistent, with [running] in `advance`.
        running_.fetch_add(1, std::memory_order_seq_cst);
        bool const again = job->run(until);
        bool const outermost = running_.fetch_sub(1, std::memory_order_seq_cst) == 1;
        // The processor moved the clock: what fell due meanwhile runs now, but for this job.
        if (manual_ && outermost) settle_if_moved();
        if (again) jobs.post(*job);
    }

    /// The clock never goes back, whoever else moves it.
    void move_clock(time_point to) noexcept {
        nanoseconds const since = to.time_since_epoch();
        auto const target = since.count();
        auto seen = manual_now_.load(std::memory_order_relaxed);
        while (seen < target) {
            // Releases [manual clock]. Relaxed on failure: the value is only compared.
            if (manual_now_.compare_exchange_weak(seen, target, std::memory_order_release, std::memory_order_relaxed)) {
                return;
            }
        }
    }

    [[nodiscard]] int running() const noexcept { return running_.load(std::memory_order_seq_cst); }  // [running]

    bool const manual_;
    atomic<nanoseconds::rep> manual_now_{0};
    atomic<int> running_{0};
    atomic<bool> moved_while_running_{false};
    atomic<bool> settling_{false};

    mutex workers_mutex_;
    // Guarded by workers_mutex_, which is held while a worker is started.
    worker_source* workers_ = nullptr;
    std::size_t late_calls_ = 0;
};

}  // namespace tidefall::inline v0::detail
