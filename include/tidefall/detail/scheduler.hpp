// SPDX-License-Identifier: MIT
//
// When work is due and who does it. A task (a partition, as seen from here) has two alarms and a place in the queue
// of jobs; two timers sound the alarms, workers run the jobs. Nothing here knows what a buffer is, and nothing here
// allocates once a task is constructed.
//
// All of it takes the time as a parameter, so that the same code runs with threads (runtime.hpp) and without
// (manual_runtime.hpp).
#pragma once

#include <tidefall/detail/this_thread.hpp>
#include <tidefall/detail/time.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

class task;

/// The place of a task in a timer.
class alarm {
public:
    explicit alarm(task& owner) {
        schedule one;
        one.emplace(never, &owner);
        unset_ = one.extract(one.begin());
    }

private:
    friend class timer;
    using schedule = std::multimap<time_point, task*>;

    // Guarded by the timer's mutex. Exactly one of the two is valid: the node while unset, the position while set.
    schedule::node_type unset_;
    schedule::iterator set_ = {};
};

/// What a scheduler serves. Owned by shared pointers; whoever calls one of its functions holds one.
class task : public std::enable_shared_from_this<task> {
public:
    /// `owner` tells the tasks of one buffer from those of another.
    explicit task(void const* owner) : owner_(owner), tick_(*this), overdue_(*this) {
        unqueued_.push_back(this);
        place_ = unqueued_.begin();
    }
    task(task const&) = delete;
    task& operator=(task const&) = delete;
    virtual ~task() = default;

    virtual void on_tick(time_point now) noexcept = 0;     ///< called by the timer
    virtual void on_overdue(time_point now) noexcept = 0;  ///< called by the watchdog

    /// Called by a worker; runs code of the user. From `until` on it stops early; true: it is to be queued again.
    /// Throws nothing, but a forced unwind passes.
    [[nodiscard]] virtual bool run(time_point until) = 0;

    /// Until when a runtime that is being destroyed waits for a call of `run`.
    [[nodiscard]] virtual time_point patience() noexcept = 0;

private:
    friend class timer;
    friend class job_queue;
    friend class scheduler;

    void const* owner_;
    alarm tick_;
    alarm overdue_;

    // Guarded by the job queue's mutex. One list node, here or in the queue; place_ never changes.
    std::list<task*> unqueued_;
    std::list<task*>::iterator place_;
    std::shared_ptr<task> kept_while_queued_;
};

/// Sounds alarms at their times: a sorted schedule, and the loop of the thread that sleeps until the earliest.
class timer {
public:
    using member = alarm task::*;

    explicit timer(member which) noexcept : which_(which) {}

    /// Sets the alarm, or moves it. Wakes the thread only if it would sleep too long. Does not allocate.
    void set(task& of, time_point at) noexcept {
        lock_guard const lock(mutex_);
        alarm& its = of.*which_;
        if (its.unset_.empty() && its.set_->first == at) return;
        auto node = its.unset_.empty() ? schedule_.extract(its.set_) : std::move(its.unset_);
        node.key() = at;
        its.set_ = schedule_.insert(std::move(node));
        if (at < asleep_until_) {
            asleep_until_ = at;
            changed_.notify_all();
        }
    }

    void unset(task& of) noexcept {
        lock_guard const lock(mutex_);
        if (alarm& its = of.*which_; its.unset_.empty()) its.unset_ = schedule_.extract(its.set_);
    }

    /// The time of the earliest alarm.
    [[nodiscard]] time_point next() noexcept {
        lock_guard const lock(mutex_);
        return earliest();
    }

    /// Unsets one alarm that is due and returns its task, null if none is.
    [[nodiscard]] std::shared_ptr<task> take_due(time_point now) noexcept {
        lock_guard const lock(mutex_);
        while (has_passed(earliest(), now)) {
            task& due = *schedule_.begin()->second;
            (due.*which_).unset_ = schedule_.extract(schedule_.begin());
            if (auto alive = due.weak_from_this().lock()) return alive;
        }
        return nullptr;
    }

    /// The loop of the timer's thread, until `shut_down`: calls `sound(task, now)`, without a lock, when one is due.
    template <typename Sound>
    void serve(Sound sound) noexcept {
        for (;;) {
            auto now = monotonic_clock::now();
            while (auto due = take_due(now)) {
                sound(std::move(due), now);
                now = monotonic_clock::now();
            }
            unique_lock lock(mutex_);
            if (shut_down_) return;
            now = monotonic_clock::now();
            asleep_until_ = std::min(earliest(), later(now, recheck_interval));
            if (asleep_until_ > now) changed_.wait_until(lock, asleep_until_);
            asleep_until_ = awake;
        }
    }

    void shut_down() noexcept {
        lock_guard const lock(mutex_);
        shut_down_ = true;
        changed_.notify_all();
    }

private:
    static constexpr time_point awake = time_point::min();

    [[nodiscard]] time_point earliest() const noexcept { return schedule_.empty() ? never : schedule_.begin()->first; }

    member const which_;

    mutex mutex_;
    condition_variable changed_;

    // Invariant: all below is guarded by mutex_. asleep_until_ is earlier than any time while the thread is awake.
    alarm::schedule schedule_;
    time_point asleep_until_ = awake;
    bool shut_down_ = false;
};

/// Tasks that wait for a worker, first come first served.
class job_queue {
public:
    /// Queues the task and keeps it alive until it was taken. Does not allocate. A task is queued once at a time.
    void post(task& job) noexcept {
        lock_guard const lock(mutex_);
        job.kept_while_queued_ = job.shared_from_this();
        jobs_.splice(jobs_.end(), job.unqueued_);
        posted_.notify_one();
    }

    /// The next job, or null if there is none now.
    [[nodiscard]] std::shared_ptr<task> take() noexcept {
        lock_guard const lock(mutex_);
        return jobs_.empty() ? nullptr : unlink(*jobs_.front());
    }

    /// The next job of one owner, or null.
    [[nodiscard]] std::shared_ptr<task> take_of(void const* owner) noexcept {
        lock_guard const lock(mutex_);
        auto const at = find(owner);
        return at == jobs_.end() ? nullptr : unlink(**at);
    }

    [[nodiscard]] bool has_of(void const* owner) noexcept {
        lock_guard const lock(mutex_);
        return find(owner) != jobs_.end();
    }

    [[nodiscard]] bool empty() noexcept {
        lock_guard const lock(mutex_);
        return jobs_.empty();
    }

    /// Takes a job back; false if it is not queued any more.
    bool remove(task& job) noexcept {
        std::shared_ptr<task> kept;  // released after the lock
        lock_guard const lock(mutex_);
        if (!job.kept_while_queued_) return false;
        kept = unlink(job);
        return true;
    }

    /// Waits for a job; null after `shut_down`, once none is left, and for a worker that was dismissed.
    [[nodiscard]] std::shared_ptr<task> wait(atomic<bool> const& dismissed) noexcept {
        unique_lock lock(mutex_);
        for (;;) {
            // Acquires [dismissed].
            if (dismissed.load(std::memory_order_acquire)) return nullptr;
            if (!jobs_.empty()) return unlink(*jobs_.front());
            if (shut_down_) return nullptr;
            posted_.wait_until(lock, later(monotonic_clock::now(), recheck_interval));
        }
    }

    /// Has those who wait look whether they were dismissed.
    void look_again() noexcept {
        lock_guard const lock(mutex_);
        posted_.notify_all();
    }

    void shut_down() noexcept {
        lock_guard const lock(mutex_);
        shut_down_ = true;
        posted_.notify_all();
    }

private:
    std::list<task*>::iterator find(void const* owner) noexcept {
        return std::find_if(jobs_.begin(), jobs_.end(), [=](task const* job) { return job->owner_ == owner; });
    }

    std::shared_ptr<task> unlink(task& job) noexcept {
        job.unqueued_.splice(job.unqueued_.end(), jobs_, job.place_);
        return std::move(job.kept_while_queued_);
    }

    mutex mutex_;
    condition_variable posted_;
    // Guarded by mutex_.
    std::list<task*> jobs_;
    bool shut_down_ = false;
};

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
    [[nodiscard]] time_point next_alarm() noexcept { return std::min(ticks.next(), timeouts.next()); }

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
        auto const target = nanoseconds(to.time_since_epoch()).count();
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
