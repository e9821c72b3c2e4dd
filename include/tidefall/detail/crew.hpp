// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/fork.hpp>
#include <tidefall/detail/scheduler.hpp>
#include <tidefall/detail/user_code.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// The threads of a runtime: a timer, a watchdog, workers. All are started at once; if one cannot be, those that
/// were are joined and the constructor throws.
///
/// A worker whose call is given up, or whose thread ends in one, is replaced by another thread of its name.
///
/// The destructor joins every thread but those with a job that outstayed its deadline, and, where it runs on one of
/// the threads itself, joins none. What it leaves behind keeps all it needs alive and ends with its job.
class crew final : worker_source {
public:
    crew(std::shared_ptr<scheduler> serves, std::size_t workers, std::string const& name)
        : name_(name), shared_(std::make_shared<shared>(std::move(serves), workers)) {
        threads_.reserve(workers + first_worker);
        try {
            threads_.push_back(start(name + "/timer", [](shared& all, auto const&) { all.keep_time(); }));
            threads_.push_back(start(name + "/watch", [](shared& all, auto const&) { all.watch(); }));
            while (threads_.size() < workers + first_worker) {
                threads_.push_back(start_worker(threads_.size(), shared_->duties[threads_.size()]));
            }
        } catch (...) {
            shut_down();
            shared_->schedule->timeouts.shut_down();
            for (auto& started : threads_) started.join();
            throw;
        }
        shared_->schedule->set_workers(this);
    }

    crew(crew const&) = delete;
    crew& operator=(crew const&) = delete;

    ~crew() {
        if (home_.left()) {  // the threads are the parent's
            leave_forever(shared_);
            leave_forever(std::move(threads_));
            return;
        }
        shared_->schedule->set_workers(nullptr);
        shut_down();
        auto const here = this_thread_id();
        bool from_inside = false;
        for (auto const& one : threads_) from_inside = from_inside || one.get_id() == here;
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
        explicit duty(std::uint64_t number) noexcept : worker(number) {}
        std::uint64_t const worker;  ///< of the workers, the number
        atomic<bool> dismissed{false};
        std::shared_ptr<task> in_hand = {};
        bool left = false;
    };

    struct shared {
        shared(std::shared_ptr<scheduler> serves, std::size_t workers)
            : schedule(std::move(serves)), workers_there(workers) {
            while (duties.size() < workers + first_worker) duties.push_back(std::make_shared<duty>(++numbered));
        }

        void keep_time() noexcept {
            schedule->ticks.serve([](std::shared_ptr<task> due, time_point now) { due->on_tick(now); });
        }

        void watch() noexcept {
            schedule->timeouts.serve([this](std::shared_ptr<task> due, time_point now) {
                set(*duties[watchdog], due);
                due->on_overdue(now);
                due.reset();
                set(*duties[watchdog], nullptr);
            });
            lock_guard const lock(mutex_);
            leave(*duties[watchdog]);
        }

        void work(std::shared_ptr<duty> const& mine) {
            this_thread.works_for = schedule.get();
            this_thread.worker = mine->worker;
            end_of_work at_the_end{*this, *mine};
            while (auto job = schedule->jobs.wait(mine->dismissed)) {
                set(*mine, job);
                if (job->run(never)) schedule->jobs.post(*job);
                job.reset();
                set(*mine, nullptr);
            }
            at_the_end.of_its_own = true;
        }

        /// The end of a worker's thread, by a forced unwind too: then another one takes its place.
        struct end_of_work {
            shared& all;
            duty& mine;
            bool of_its_own = false;

            ~end_of_work() {
                if (!of_its_own) {
                    all.set(mine, nullptr);
                    all.schedule->replace_worker(mine.worker);
                }
                all.end_work(mine);
            }
        };

        void end_work(duty& mine) noexcept {
            bool last = false;
            {
                lock_guard const lock(mutex_);
                leave(mine);
                // Relaxed: it is set under the same mutex.
                if (!mine.dismissed.load(std::memory_order_relaxed)) last = --workers_there == 0;
            }
            if (last) schedule->timeouts.shut_down();
        }

        /// True once the thread has left; false if what it has in hand has outstayed its deadline.
        bool wait_for(std::size_t index) noexcept {
            for (;;) {
                std::shared_ptr<task> in_hand;
                {
                    lock_guard const lock(mutex_);
                    if (duties[index]->left) return true;
                    in_hand = duties[index]->in_hand;
                }
                auto const patience = in_hand ? in_hand->patience() : never;
                auto const now = monotonic_clock::now();
                if (has_passed(patience, now)) return false;
                auto const* const seen = in_hand.get();
                in_hand.reset();  // without the lock: it may be the last owner
                unique_lock lock(mutex_);
                if (duties[index]->left || duties[index]->in_hand.get() != seen) continue;
                changed.wait_until(lock, (std::min)(patience, later(now, recheck_interval)));
            }
        }

        void set(duty& of, std::shared_ptr<task> job) noexcept {
            lock_guard const lock(mutex_);
            of.in_hand.swap(job);
            changed.notify_all();
        }  // what was in hand is released here, after the lock

        /// The mutex is held.
        void leave(duty& of) noexcept {
            of.left = true;
            changed.notify_all();
        }

        std::shared_ptr<scheduler> const schedule;
        mutex mutex_;
        condition_variable changed;
        // Guarded by mutex_. One a thread, in their order; the first two never change.
        std::vector<std::shared_ptr<duty>> duties;
        std::size_t workers_there;
        std::uint64_t numbered = 0;
    };

    using service = void (*)(shared&, std::shared_ptr<duty> const&);

    // One closure for all threads: std::thread is instantiated once, where the header is included.
    thread start(std::string const& name, service serve, std::shared_ptr<duty> does = nullptr) const {
        return thread([name, serve, does = std::move(does), keep = shared_] {
            name_this_thread(name);
            serve(*keep, does);
        });
    }

    thread start_worker(std::size_t index, std::shared_ptr<duty> does) const {
        return start(
            name_ + '/' + std::to_string(index - first_worker),
            [](shared& all, std::shared_ptr<duty> const& own) { all.work(own); }, std::move(does));
    }

    // Called under a mutex of the scheduler, never after set_workers(nullptr): threads_ is this call's.
    bool replace(std::uint64_t worker) noexcept override {
        std::shared_ptr<duty> old;
        std::size_t index = first_worker;
        for (; index < threads_.size(); ++index) {
            lock_guard const lock(shared_->mutex_);
            old = shared_->duties[index];
            if (old->worker == worker) break;
        }
        if (index == threads_.size()) return true;  // replaced before
        if (thrown_by([&] {
                auto fresh = std::make_shared<duty>(++shared_->numbered);
                auto another = start_worker(index, fresh);
                threads_[index].detach();
                threads_[index] = std::move(another);
                lock_guard const lock(shared_->mutex_);
                // Releases [dismissed].
                old->dismissed.store(true, std::memory_order_release);
                shared_->duties[index] = std::move(fresh);
            })) {
            return false;
        }
        shared_->schedule->jobs.look_again();
        return true;
    }

    std::size_t count() const noexcept override { return threads_.size() - first_worker; }

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

    std::string const name_;
    std::shared_ptr<shared> const shared_;
    home_process const home_;
    std::vector<thread> threads_;  ///< timer, watchdog, workers
};

}  // namespace tidefall::inline v0::detail
