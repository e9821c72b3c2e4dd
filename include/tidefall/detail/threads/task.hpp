// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>

#include <list>
#include <map>
#include <memory>

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

    /// Until when a runtime that is being destroyed waits for a call of `run`, or of one of the two above.
    [[nodiscard]] virtual time_point may_run_until() noexcept = 0;

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

}  // namespace tidefall::inline v0::detail
