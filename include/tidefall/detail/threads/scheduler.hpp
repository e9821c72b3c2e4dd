// SPDX-License-Identifier: MIT
//
// When work is due and who does it. A task (a partition, as seen from here) has two alarms and a place in the queue
// of jobs; two timers sound the alarms, workers run the jobs. Nothing here knows what a buffer is, and nothing here
// allocates once a task is constructed.
//
// All of it takes the time as a parameter, so that the same code runs with threads or polled (runtime.hpp), and by a
// clock that is moved (manual_runtime.hpp).
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/threads/job_queue.hpp>
#include <tidefall/detail/threads/task.hpp>
#include <tidefall/detail/threads/timer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// Where the workers of a runtime come from.
class worker_source {
public:
    /// Starts one more; false if no thread can be started.
    [[nodiscard]] virtual bool start_worker() noexcept = 0;

protected:
    ~worker_source() = default;
};

/// Who does the work of a runtime.
enum class workforce : std::uint8_t {
    threads,  ///< its own
    polled,   ///< whoever asks, by the real clock
    manual,   ///< whoever asks, and time stands still until it is moved
};

/// The timers, the jobs and the clock of one runtime.
///
/// Where it runs jobs on the calling thread, a forced unwind that leaves one passes.
class scheduler {
public:
    explicit scheduler(workforce who, std::function<void()> on_earlier = {})
        : manual_(who == workforce::manual), polled_(who == workforce::polled), on_earlier_(std::move(on_earlier)) {}

    timer ticks{&task::tick_};
    timer timeouts{&task::overdue_};
    job_queue jobs;

    [[nodiscard]] bool manual() const noexcept { return manual_; }
    [[nodiscard]] bool polled() const noexcept { return polled_; }

    [[nodiscard]] time_point now() const noexcept {
        // Acquires [manual clock]: what happened before the clock was moved is seen by who reads the new time.
        return manual_ ? time_point(nanoseconds(manual_now_.load(std::memory_order_acquire))) : monotonic_clock::now();
    }

    /// What the module that made the runtime knows of the calling thread.
    [[nodiscard]] thread_state& this_thread() const noexcept { return lookup_(); }

    /// True on each thread of the runtime.
    [[nodiscard]] bool serves_this_thread() const noexcept { return this_thread().serves == this; }

    /// The worker of the runtime that the calling thread is, null if it is none.
    [[nodiscard]] worker* worker_here() const noexcept { return serves_this_thread() ? this_thread().worker : nullptr; }

    /// True where `flush` and `stop` do the work themselves, since waiting for a worker could wait for oneself.
    [[nodiscard]] bool works_on_this_thread() const noexcept { return manual_ || polled_ || worker_here() != nullptr; }

    /// From whom workers come. Called before the first of them starts; it is there for as long as one of its threads.
    void set_workers(worker_source* source) noexcept { workers_ = source; }

    /// For a thread of the runtime: starts a worker beside one whose call is to be abandoned, and keeps it until
    /// `end_replacement`. False if that cannot be, or if as many calls as there should be workers have been, and have
    /// not returned.
    [[nodiscard]] bool start_replacement() noexcept {
        if (workers_ == nullptr || !jobs.want_spare()) return false;
        if (workers_->start_worker()) return true;
        jobs.want_no_spare();
        return false;
    }
    /// It is decided: there may be a worker too many, who leaves.
    void end_replacement() noexcept { jobs.want_no_spare(); }

    /// Runs one queued job of `owner` here, which looks at `until` between calls; false if there was none.
    bool run_one_of(void const* owner, time_point until) {
        auto job = jobs.take_of(owner);
        if (!job) return false;
        run(std::move(job), until);
        return true;
    }

    // ---- a runtime that is polled

    /// Sounds what is due, and runs the jobs that are queued then. Returns how many these were.
    std::size_t poll() {
        struct serving {
            thread_state& state;
            void const* const before;
            serving(thread_state& here, scheduler const* one) noexcept
                : state(here), before(std::exchange(here.serves, one)) {}
            ~serving() { state.serves = before; }
        };
        serving const here(this_thread(), this);
        while (sound_timeout() || sound_tick()) {
        }
        std::size_t ran = 0;
        for (auto left = jobs.size(); left > 0; --left) {
            auto job = jobs.take();
            if (!job) break;
            run(std::move(job), never);
            ++ran;
        }
        return ran;
    }

    /// When to poll again; never if there is nothing to come.
    [[nodiscard]] time_point next_deadline() noexcept {
        // Sequentially consistent, with [earlier]: whoever brings it forward from here on tells.
        told_.store(never.time_since_epoch().count(), std::memory_order_seq_cst);
        auto const next = next_due();
        auto expected = never.time_since_epoch().count();
        told_.compare_exchange_strong(expected, next.time_since_epoch().count(), std::memory_order_seq_cst,
                                      std::memory_order_seq_cst);
        return (std::max)(next, time_point());  // which no difference to another time overflows
    }

    /// Something may have become due earlier than whoever polls knows: then he is told. No lock is held.
    void tell_if_earlier() noexcept {
        if (!polled_ || serves_this_thread()) return;
        auto const next = next_due().time_since_epoch().count();
        auto told = told_.load(std::memory_order_seq_cst);  // [earlier]
        while (next < told) {
            if (!told_.compare_exchange_weak(told, next, std::memory_order_seq_cst, std::memory_order_seq_cst))
                continue;
            if (on_earlier_) thrown_by([&] { on_earlier_(); });
            return;
        }
    }

    /// For who waits: sounds the ticks that are due.
    void sound_ticks() noexcept {
        while (polled_ && sound_tick()) {
        }
    }
    /// Until when he may sleep.
    [[nodiscard]] time_point next_tick() noexcept { return polled_ ? ticks.next() : never; }

    // ---- a manual one

    /// Moves the manual clock from alarm to alarm, each at its own time, and runs what falls due. While a job runs, or
    /// another thread does all that, only timeouts sound; the rest is left to be done there.
    void advance(nanoseconds by) {
        auto const target = later(now(), by);
        bool all = settle_unless_running();
        for (auto next = next_alarm(); all && has_passed(next, target); next = next_alarm()) {
            move_clock(next);
            all = settle_unless_running();
        }
        if (all) {
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
    static constexpr time_point when_queued = (time_point::min)();

    [[nodiscard]] time_point next_due() noexcept { return jobs.empty() ? next_alarm() : when_queued; }
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

    void settle_if_moved() {
        // Sequentially consistent, as in `advance`.
        if (moved_while_running_.exchange(false, std::memory_order_seq_cst)) settle();
    }

    /// Of the one who settles: a forced unwind ends it too.
    struct settling {
        atomic<bool>& flag;
        // Sequentially consistent, and an exchange, so that it is ordered with those that were turned away meanwhile.
        ~settling() { flag.exchange(false, std::memory_order_seq_cst); }
    };

    bool settle_unless_running() { return running() == 0 && settle(); }

    /// Sounds what is due now, runs the jobs that follow, and so on until there is nothing left. False where that is
    /// being done already, further up the stack or on another thread: it is left to be done there.
    bool settle() {
        do {
            // Sequentially consistent: whoever is turned away here moved the clock before, and is seen by the last
            // look below.
            if (settling_.exchange(true, std::memory_order_seq_cst)) return false;
            settling const here{settling_};
            while (sound_timeout() || sound_tick()) {
            }
            while (auto job = jobs.take()) run(std::move(job), never);
        } while (has_passed(next_alarm(), now()) || !jobs.empty());
        return true;
    }

    /// A job that runs, until it ends in whatever way.
    struct running_job {
        atomic<int>& count;
        // Sequentially consistent, with [running] in `advance`.
        explicit running_job(atomic<int>& of) noexcept : count(of) { count.fetch_add(1, std::memory_order_seq_cst); }
        ~running_job() { count.fetch_sub(1, std::memory_order_seq_cst); }
    };

    void run(std::shared_ptr<task> job, time_point until) {
        bool again = false;
        {
            running_job const here(running_);
            again = job->run(until);
        }
        // The processor moved the clock: what fell due meanwhile runs now, but for this job.
        if (manual_ && running() == 0) settle_if_moved();
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
    bool const polled_;
    std::function<void()> const on_earlier_;
    atomic<time_point::rep> told_{never.time_since_epoch().count()};  ///< the deadline that whoever polls knows
    thread_lookup const lookup_ = &state_of_this_thread;
    worker_source* workers_ = nullptr;
    atomic<nanoseconds::rep> manual_now_{0};
    atomic<int> running_{0};
    atomic<bool> moved_while_running_{false};
    atomic<bool> settling_{false};
};

}  // namespace tidefall::inline v0::detail
