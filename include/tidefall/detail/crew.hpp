// SPDX-License-Identifier: MIT
#pragma once

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
            start(name + "/timer", [](shared& all) { all.schedule->ticks.serve(false); });
            start(name + "/watch", [](shared& all) { all.schedule->timeouts.serve(true); });
            for (std::size_t index = 0; index < workers; ++index) {
                start(name + '/' + std::to_string(index), [index](shared& all) { all.work(index); });
            }
        } catch (...) {
            shut_down();
            for (auto& started : threads_) started.join();
            throw;
        }
    }

    crew(crew const&) = delete;
    crew& operator=(crew const&) = delete;

    ~crew() {
        shut_down();
        auto const here = this_thread_id();
        bool const from_inside =
            std::any_of(threads_.begin(), threads_.end(), [&](thread const& t) { return t.get_id() == here; });
        bool all_left = !from_inside;
        for (std::size_t index = 0; index < shared_->workers.size(); ++index) {
            bool const left = !from_inside && shared_->wait_for(index);
            end(threads_[index + first_worker], left);
            all_left = all_left && left;
        }
        // The watchdog stays for as long as a call is watched.
        end(threads_[watchdog_thread], all_left);
        end(threads_[timer_thread], !from_inside);
    }

private:
    static constexpr std::size_t timer_thread = 0;
    static constexpr std::size_t watchdog_thread = 1;
    static constexpr std::size_t first_worker = 2;

    struct worker {
        std::shared_ptr<task> job = {};  ///< in hand
        bool left = false;
    };

    struct shared {
        shared(std::shared_ptr<scheduler> serves, std::size_t count) : schedule(std::move(serves)), workers(count) {}

        void work(std::size_t index) noexcept {
            this_thread.works_for = schedule.get();
            while (auto job = schedule->jobs.wait()) {
                set(index, job);
                job->run(never);
                set(index, nullptr);
            }
            lock_guard const lock(mutex_);
            workers[index].left = true;
            changed.notify_all();
        }

        /// True once the worker has left; false if the job that it has in hand has outstayed its deadline.
        bool wait_for(std::size_t index) noexcept {
            unique_lock lock(mutex_);
            while (!workers[index].left) {
                auto const job = workers[index].job;
                lock.unlock();
                auto const patience = job ? job->patience() : never;
                auto const now = monotonic_clock::now();
                if (patience <= now) return false;
                lock.lock();
                if (workers[index].left || workers[index].job != job) continue;
                changed.wait_until(lock, std::min(patience, later(now, recheck_interval)));
            }
            return true;
        }

        void set(std::size_t index, std::shared_ptr<task> job) noexcept {
            lock_guard const lock(mutex_);
            workers[index].job.swap(job);
            changed.notify_all();
        }  // what was in hand is released here, after the lock

        std::shared_ptr<scheduler> const schedule;
        mutex mutex_;
        condition_variable changed;
        std::vector<worker> workers;  ///< guarded by mutex_
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
        shared_->schedule->timeouts.shut_down();
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
    std::vector<thread> threads_;  ///< timer, watchdog, workers
};

}  // namespace tidefall::inline v0::detail
