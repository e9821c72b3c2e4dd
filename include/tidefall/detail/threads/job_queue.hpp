// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/threads/task.hpp>

#include <algorithm>
#include <cstddef>
#include <list>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// A worker, as the queue sees it. Guarded by the queue's mutex.
struct worker {
    std::size_t late_calls = 0;  ///< calls on its stack that were abandoned
};

/// Tasks that wait for a worker, first come first served, and the count of the workers that take them. Workers are
/// alike: whoever finds more of them than are wanted leaves.
///
/// A worker in a call that was abandoned is late: it does not count as one until that call returns. Whether a call can
/// be abandoned, whether a worker leaves, and whether one that was late stays, is decided here, under one mutex, so
/// that a job is never left to nobody.
class job_queue {
public:
    /// Queues the task and keeps it alive until it was taken. Does not allocate. A task is queued once at a time.
    void post(task& job) noexcept {
        lock_guard const lock(mutex_);
        append(job);
    }

    /// The same in two steps, for who holds a lock that others wait for: waking a thread takes its time. `wake_one`
    /// follows without that lock.
    void queue_up(task& job) noexcept {
        lock_guard const lock(mutex_);
        link(job);
    }
    void wake_one() noexcept { posted_.notify_one(); }

    /// A job will be posted by `post_expected`: until then, or `expect_no_more`, workers stay. For each call of this
    /// one there is one of those.
    void expect() noexcept {
        lock_guard const lock(mutex_);
        ++expected_;
    }
    void post_expected(task& job) noexcept {
        lock_guard const lock(mutex_);
        --expected_;
        append(job);
    }
    void expect_no_more() noexcept {
        lock_guard const lock(mutex_);
        if (--expected_ == 0 && shut_down_) posted_.notify_all();
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

    [[nodiscard]] std::size_t size() noexcept {
        lock_guard const lock(mutex_);
        return jobs_.size();
    }

    /// Takes a job back; false if it is not queued any more.
    bool remove(task& job) noexcept {
        std::shared_ptr<task> kept;  // released after the lock
        lock_guard const lock(mutex_);
        if (!job.kept_while_queued_) return false;
        kept = unlink(job);
        return true;
    }

    /// So many workers are wanted from now on.
    void want_workers(std::size_t count) noexcept {
        lock_guard const lock(mutex_);
        wanted_ = count;
    }

    /// A worker is about to start, or could not be started after all.
    void worker_starts() noexcept {
        lock_guard const lock(mutex_);
        ++alive_;
    }
    void worker_did_not_start() noexcept {
        lock_guard const lock(mutex_);
        --alive_;
    }

    /// For a worker: waits for a job. Null if it is to leave, and is counted no more: there are more workers than are
    /// wanted, or, after `shut_down`, no job is left or expected.
    [[nodiscard]] std::shared_ptr<task> wait() noexcept {
        unique_lock lock(mutex_);
        for (;;) {
            if (has_surplus()) {
                --alive_;  // whoever was asleep when there was one too many was woken, and takes what is queued
                return nullptr;
            }
            if (!jobs_.empty()) return unlink(*jobs_.front());
            if (has_ended()) {
                --alive_;
                return nullptr;
            }
            posted_.wait_until(lock, later(monotonic_clock::now(), recheck_interval));
        }
    }

    /// Abandons a call of this worker: queues `rest`, and counts the worker as late. False, and nothing is done, unless
    /// another worker is there to take it, and fewer calls than there should be workers have been abandoned.
    [[nodiscard]] bool abandon_call(worker& in, task& rest) noexcept {
        lock_guard const lock(mutex_);
        bool const counts = in.late_calls == 0;
        if (late_calls_ >= wanted_ || alive_ < (counts ? 2U : 1U)) return false;
        if (counts) {
            --alive_;
            ++late_workers_;
        }
        ++in.late_calls;
        ++late_calls_;
        append(rest);
        return true;
    }

    /// A call of this worker that was abandoned has returned.
    void late_call_returned(worker& in) noexcept {
        lock_guard const lock(mutex_);
        --late_calls_;
        if (--in.late_calls > 0) return;
        --late_workers_;
        ++alive_;
        look_again();
    }

    /// The thread of a worker ends that was not told to leave.
    void worker_ends(worker& its) noexcept {
        lock_guard const lock(mutex_);
        if (its.late_calls == 0) {
            --alive_;
        } else {
            --late_workers_;
            late_calls_ -= std::exchange(its.late_calls, 0);
        }
    }

    [[nodiscard]] bool is_late(worker const& one) noexcept {
        lock_guard const lock(mutex_);
        return one.late_calls > 0;
    }

    /// The buffers whose tasks are queued here.
    void serve_one_more() noexcept {
        lock_guard const lock(mutex_);
        ++buffers_;
    }
    void serve_one_less() noexcept {
        lock_guard const lock(mutex_);
        --buffers_;
    }

    /// A worker may wait in a call for what other buffers do, until `end_wait`: where this queue has the tasks of no
    /// other buffer, or another worker is left that does not wait.
    [[nodiscard]] bool begin_wait() noexcept {
        lock_guard const lock(mutex_);
        if (buffers_ > 1 && alive_ < waiting_ + 2) return false;
        ++waiting_;
        return true;
    }
    void end_wait() noexcept {
        lock_guard const lock(mutex_);
        --waiting_;
    }

    /// A call may be abandoned: until `want_no_spare` one worker more is wanted, so that it is there for the rest.
    /// False, and nothing is done, if as many calls as there should be workers have been.
    [[nodiscard]] bool want_spare() noexcept {
        lock_guard const lock(mutex_);
        if (late_calls_ >= wanted_) return false;
        ++spares_;
        return true;
    }
    void want_no_spare() noexcept {
        lock_guard const lock(mutex_);
        --spares_;
        look_again();
    }

    /// True if a worker should be started.
    [[nodiscard]] bool lacks_workers() noexcept {
        lock_guard const lock(mutex_);
        return alive_ < wanted_ && !has_ended();
    }

    /// True if there is no worker, and none will come.
    [[nodiscard]] bool is_deserted() noexcept {
        lock_guard const lock(mutex_);
        return has_ended() && alive_ + late_workers_ == 0;
    }

    /// From now on workers leave once no job is left, and none is expected.
    void shut_down() noexcept {
        lock_guard const lock(mutex_);
        shut_down_ = true;
        posted_.notify_all();
    }

private:
    std::list<task*>::iterator find(void const* owner) noexcept {
        return std::find_if(jobs_.begin(), jobs_.end(), [=](task const* job) { return job->owner_ == owner; });
    }

    // The mutex is held.

    void append(task& job) noexcept {
        link(job);
        posted_.notify_one();
    }

    void link(task& job) noexcept {
        job.kept_while_queued_ = job.shared_from_this();
        jobs_.splice(jobs_.end(), job.unqueued_);
    }

    std::shared_ptr<task> unlink(task& job) noexcept {
        job.unqueued_.splice(job.unqueued_.end(), jobs_, job.place_);
        return std::move(job.kept_while_queued_);
    }

    /// No job is left, and none will come.
    [[nodiscard]] bool has_ended() const noexcept { return shut_down_ && jobs_.empty() && expected_ == 0; }

    [[nodiscard]] bool has_surplus() const noexcept { return alive_ > wanted_ + spares_; }

    void look_again() noexcept {
        if (has_surplus()) posted_.notify_all();
    }

    mutex mutex_;
    condition_variable posted_;
    // Guarded by mutex_.
    std::list<task*> jobs_;
    std::size_t expected_ = 0;      ///< jobs that will be posted
    std::size_t wanted_ = 0;        ///< workers
    std::size_t spares_ = 0;        ///< workers beside them, while calls are being abandoned
    std::size_t alive_ = 0;         ///< workers that take jobs, those that are about to start included
    std::size_t late_workers_ = 0;  ///< workers in a call that was abandoned
    std::size_t waiting_ = 0;       ///< workers in a call that waits for another buffer
    std::size_t buffers_ = 0;       ///< that are served
    std::size_t late_calls_ = 0;    ///< the calls; one worker may be in several
    bool shut_down_ = false;
};

}  // namespace tidefall::inline v0::detail
