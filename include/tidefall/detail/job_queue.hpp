// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/task.hpp>
#include <tidefall/detail/time.hpp>

#include <algorithm>
#include <list>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

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

}  // namespace tidefall::inline v0::detail
