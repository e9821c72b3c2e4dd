// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/fork.hpp>
#include <tidefall/detail/scheduler.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// The threads of a runtime: a timer, a watchdog, workers. All are started at once; if one cannot be, those that
/// were are joined and the constructor throws.
///
/// The destructor joins every thread but those with a job that outstayed its deadline, and, where it runs on one of
/// the threads itself, joins none. What it leaves behind keeps all it needs alive and ends with its job.
class crew {
public:
    crew(std::shared_ptr<scheduler> serves, std::size_t workers, std::string const& name)
        : shared_(std::make_shared<shared>(std::move(serves), workers)) {
        threads_.reserve(workers + 2);
        try {
            start(name + "/timer", [](shared& all) { all.keep_time(); });
            start(name + "/watch", [](shared& all) { all.watch(); });
            for (std::size_t index = 0; index < workers; ++index) {
                start(name + '/' + std::to_string(index), [index](shared& all) { all.work(first_worker + index); });
            }
        } catch (...) {
            shut_down();
            shared_->schedule->timeouts.shut_down();
            for (auto& started : threads_) started.join();
            throw;
        }
    }

    crew(crew const&) = delete;
    crew& operator=(crew const&) = delete;

    ~crew() {
        if (home_.left()) {  // the threads are the parent's
            leave_forever(shared_);
            leave_forever(std::move(threads_));
            return;
        }
        shut_down();
        auto const here = this_thread_id();
        bool const from_inside =
            std::any_of(threads_.begin(), threads_.end(), [&](thread const& t) { return t.get_id() == here; });
        bool workers_left = !from_inside;
        for (std::size_t index = first_worker; index < threads_.size(); ++index) {
            bool const left = !from_inside && shared_->wait_for(index);
            end(threads_[index], left);
            workers_left = workers_left && left;
        }
        // The watchdog stays for as long as there is a worker.
        end(threads_[watchdog], workers_left && shared_->wait_for(watchdog));
        end(threads_[timekeeper], !from_inside);
    }

private:
    // The order of the threads.
    static constexpr std::size_t timekeeper = 0;
    static constexpr std::size_t watchdog = 1;
    static constexpr std::size_t first_worker = 2;

    /// What a thread does: the task that it has in hand, whose user's code may hang.
    struct duty {
        std::shared_ptr<task> in_hand = {};
        bool left = false;
    };

    struct shared {
        shared(std::shared_ptr<scheduler> serves, std::size_t workers)
            : schedule(std::move(serves)), duties(workers + first_worker), workers_there(workers) {}

        void keep_time() noexcept {
            schedule->ticks.serve([](std::shared_ptr<task> due, time_point now) { due->on_tick(now); });
        }

        void watch() noexcept {
            schedule->timeouts.serve([this](std::shared_ptr<task> due, time_point now) {
                set(watchdog, due);
                due->on_overdue(now);
                due.reset();
                set(watchdog, nullptr);
            });
            leave(watchdog);
        }

        void work(std::size_t index) noexcept {
            this_thread.works_for = schedule.get();
            while (auto job = schedule->jobs.wait()) {
                set(index, job);
                if (job->run(never)) schedule->jobs.post(*job);
                job.reset();
                set(index, nullptr);
            }
            leave(index);
            bool last = false;
            {
                lock_guard const lock(mutex_);
                last = --workers_there == 0;
            }
            if (last) schedule->timeouts.shut_down();
        }

        /// True once the thread has left; false if what it has in hand has outstayed its deadline.
        bool wait_for(std::size_t index) noexcept {
            for (;;) {
                std::shared_ptr<task> in_hand;
                {
                    lock_guard const lock(mutex_);
                    if (duties[index].left) return true;
                    in_hand = duties[index].in_hand;
                }
                auto const patience = in_hand ? in_hand->patience() : never;
                auto const now = monotonic_clock::now();
                if (has_passed(patience, now)) return false;
                auto const* const seen = in_hand.get();
                in_hand.reset();  // without the lock: it may be the last owner
                unique_lock lock(mutex_);
                if (duties[index].left || duties[index].in_hand.get() != seen) continue;
                changed.wait_until(lock, std::min(patience, later(now, recheck_interval)));
            }
        }

        void set(std::size_t index, std::shared_ptr<task> job) noexcept {
            lock_guard const lock(mutex_);
            duties[index].in_hand.swap(job);
            changed.notify_all();
        }  // what was in hand is released here, after the lock

        void leave(std::size_t index) noexcept {
            lock_guard const lock(mutex_);
            duties[index].left = true;
            changed.notify_all();
        }

        std::shared_ptr<scheduler> const schedule;
        mutex mutex_;
        condition_variable changed;
        // Guarded by mutex_.
        std::vector<duty> duties;
        std::size_t workers_there;
    };

    template <typename F>
    void start(std::string const& name, F serve) {
        threads_.emplace_back([name, serve, keep = shared_] {
            name_this_thread(name);
            serve(*keep);
        });
    }

    void shut_down() noexcept {
        shared_->schedule->ticks.shut_down();
        shared_->schedule->jobs.shut_down();
    }

    static void end(thread& one, bool join) {
        if (join) {
            one.join();
        } else {
            one.detach();
        }
    }

    std::shared_ptr<shared> const shared_;
    home_process const home_;
    std::vector<thread> threads_;  ///< timer, watchdog, workers
};

}  // namespace tidefall::inline v0::detail
