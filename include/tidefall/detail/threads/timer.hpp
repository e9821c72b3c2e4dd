// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/threads/task.hpp>

#include <algorithm>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

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
        if (its.unset_.empty()) its.unset_ = schedule_.extract(its.set_);
        its.unset_.key() = at;
        its.set_ = schedule_.insert(std::move(its.unset_));
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

    /// The loop of the timer's thread, until `shut_down`: calls `sound(task, now)`, without a lock, when one is due,
    /// and `wakes()` each time it looks.
    template <typename Sound, typename Wakes>
    void serve(Sound sound, Wakes wakes) noexcept {
        for (;;) {
            wakes();
            auto now = monotonic_clock::now();
            while (auto due = take_due(now)) {
                sound(std::move(due), now);
                now = monotonic_clock::now();
            }
            unique_lock lock(mutex_);
            if (shut_down_) return;
            asleep_until_ = (std::min)(earliest(), later(now, recheck_interval));
            if (asleep_until_ > now) changed_.wait_until(lock, asleep_until_);
        }
    }

    void shut_down() noexcept {
        lock_guard const lock(mutex_);
        shut_down_ = true;
        changed_.notify_all();
    }

private:
    [[nodiscard]] time_point earliest() const noexcept { return schedule_.empty() ? never : schedule_.begin()->first; }

    member const which_;

    mutex mutex_;
    condition_variable changed_;

    // Invariant: all below is guarded by mutex_. While the thread sleeps it is until asleep_until_.
    alarm::schedule schedule_;
    time_point asleep_until_ = (time_point::min)();
    bool shut_down_ = false;
};

}  // namespace tidefall::inline v0::detail
