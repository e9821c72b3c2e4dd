// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/threads/scheduler.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0::detail {

/// What the threads of a runtime are called, and what each calls with its name when it begins and when it ends.
struct crew_names {
    std::string name;
    std::function<void(std::string_view)> on_start = {};
    std::function<void(std::string_view)> on_stop = {};
};

/// The threads of a runtime: a timer, a watchdog, workers. All are started at once; if one cannot be, those that
/// were are joined and the constructor throws. Later one more is started in the place of a worker whose call is given
/// up, or whose thread ends in one; where that cannot be, the watchdog tries again each time it looks.
///
/// The destructor joins every thread but those with a job that outstayed its deadline or that was abandoned, and, where
/// it runs on one of the threads itself, joins none. What it leaves behind keeps all it needs alive, goes on until no
/// job is left, and ends.
class crew {
public:
    crew(std::shared_ptr<scheduler> serves, std::size_t workers, crew_names called)
        : shared_(std::make_shared<shared>(std::move(serves), std::move(called))) {
        auto& schedule = *shared_->schedule;
        schedule.jobs.want_workers(workers);
        schedule.set_workers(shared_.get());
        try {
            shared_->start(role::timer);
            for (std::size_t i = 0; i < workers; ++i) shared_->start(role::worker);
            shared_->start(role::watchdog);  // the last, since it starts the workers that are lacking
        } catch (...) {
            shut_down();
            for (role const does : {role::timer, role::worker, role::watchdog}) {
                while (auto* const one = shared_->next(does)) shared_->end(*one, true);
            }
            throw;
        }
    }

    crew(crew const&) = delete;
    crew& operator=(crew const&) = delete;

    ~crew() {
        if (home_.left()) return;  // the threads are the parent's, and keep what they share
        shared_->keep_members();
        shut_down();
        bool const from_inside = shared_->schedule->serves_this_thread();
        bool workers_left = !from_inside;
        while (auto* const worker = shared_->next(role::worker)) {
            bool const left = !from_inside && shared_->wait_for(*worker);
            shared_->end(*worker, left);
            workers_left = workers_left && left;
        }
        // The watchdog stays for as long as there is a worker.
        if (auto* const watchdog = shared_->next(role::watchdog)) {
            shared_->end(*watchdog, workers_left && shared_->wait_for(*watchdog));
        }
        if (auto* const timer = shared_->next(role::timer)) shared_->end(*timer, !from_inside);
        shared_->disown();
    }

private:
    enum class role : std::uint8_t { timer, watchdog, worker };

    /// One thread, and the task that it has in hand, whose user's code may hang.
    struct member {
        explicit member(role what) noexcept : does(what) {}
        role const does;
        std::size_t number = 0;  ///< of a worker, for its name
        thread handle{};
        worker counted{};
        // Guarded by the mutex below.
        std::shared_ptr<task> in_hand{};
        bool left = false;
        bool let_go = false;  ///< joined, or not waited for; of the thread that decides that alone
    };

    /// Kept alive by each of the threads.
    struct shared final : worker_source, std::enable_shared_from_this<shared> {
        shared(std::shared_ptr<scheduler> serves, crew_names of) : schedule(std::move(serves)), called(std::move(of)) {}

        /// Starts a thread. Throws what its start throws.
        void start(role does) {
            std::list<member> one;
            std::list<member> ended;  // joined without the lock
            one.emplace_back(does);
            unique_lock lock(mutex_);
            collect(ended);
            auto& its = one.front();
            if (does == role::worker) {
                its.number = free_number();
                schedule->jobs.worker_starts();
            }
            try {
                signals_blocked const blocked;
                // One closure for all threads: std::thread is instantiated once, where the header is included.
                its.handle = thread([keep = shared_from_this(), &its] { keep->serve(its); });
            } catch (...) {
                if (does == role::worker) schedule->jobs.worker_did_not_start();
                throw;
            }
            if (disowned_) its.handle.detach();
            members_.splice(members_.end(), one);
            lock.unlock();
            for (auto& gone : ended) {
                if (gone.handle.joinable()) gone.handle.join();
            }
        }

        bool start_worker() noexcept override {
            return !thrown_by([&] { start(role::worker); });
        }

        /// Starts the workers that are lacking, as far as they can be.
        void complete() noexcept {
            while (schedule->jobs.lacks_workers() && start_worker()) {
            }
        }

        void serve(member& mine) {
            end_of_service const at_the_end{*this, mine};
            auto& here = schedule->this_thread();
            here.serves = schedule.get();
            if (mine.does == role::timer) {
                named const here_called(called, "/timer");
                schedule->ticks.serve([](std::shared_ptr<task> due, time_point now) { due->on_tick(now); }, [] {});
            } else if (mine.does == role::watchdog) {
                named const here_called(called, "/watch");
                schedule->timeouts.serve(
                    [&](std::shared_ptr<task> due, time_point now) {
                        set(mine, due);
                        due->on_overdue(now);
                        set(mine, nullptr);
                    },
                    [&] { complete(); });
            } else {
                here.worker = &mine.counted;
                here.jobs = &schedule->jobs;
                work(mine);
            }
        }

        void work(member& mine) {
            end_of_work at_the_end{*this, mine};
            named const here_called(called, "/work/" + std::to_string(mine.number));
            while (auto job = schedule->jobs.wait()) {
                set(mine, job);
                if (job->run(never)) schedule->jobs.post(*job);
                set(mine, nullptr);
            }
            at_the_end.was_told = true;
        }

        /// The name of the calling thread, for as long as it lives, which the user's functions are told of.
        class named {
        public:
            named(crew_names const& called, std::string const& suffix) : called_(called), name_(called.name + suffix) {
                name_this_thread(called.name, suffix);
                if (called_.on_start) thrown_by([&] { called_.on_start(name_); });
            }
            ~named() {
                if (called_.on_stop) thrown_by([&] { called_.on_stop(name_); });
            }
            named(named const&) = delete;
            named& operator=(named const&) = delete;

        private:
            crew_names const& called_;
            std::string const name_;
        };

        /// The end of a worker's thread, by a forced unwind too: then another one takes its place.
        struct end_of_work {
            shared& all;
            member& mine;
            bool was_told = false;

            ~end_of_work() {
                if (!was_told) {
                    all.set(mine, nullptr);
                    all.schedule->jobs.worker_ends(mine.counted);
                    all.complete();
                }
                if (all.schedule->jobs.is_deserted()) all.schedule->timeouts.shut_down();
            }
        };

        /// The last that a thread does here. From then on `mine` may be gone.
        struct end_of_service {
            shared& all;
            member& mine;

            ~end_of_service() {
                all.schedule->this_thread().serves = nullptr;
                lock_guard const lock(all.mutex_);
                mine.left = true;
                all.changed_.notify_all();
            }
        };

        void set(member& one, std::shared_ptr<task> job) noexcept {
            lock_guard const lock(mutex_);
            one.in_hand.swap(job);
            changed_.notify_all();
        }  // what was in hand is released here, after the lock

        /// A thread that does this and was not let go of, null if there is none. It stays until `end`, which its caller
        /// alone calls.
        member* next(role does) noexcept {
            lock_guard const lock(mutex_);
            auto const at = std::find_if(members_.begin(), members_.end(),
                                         [=](member const& one) { return one.does == does && !one.let_go; });
            return at == members_.end() ? nullptr : &*at;
        }

        /// True once the thread has left; false if what it has in hand was abandoned, or has outstayed its deadline.
        bool wait_for(member& one) noexcept {
            for (;;) {
                std::shared_ptr<task> in_hand;  // released without the lock
                {
                    lock_guard const lock(mutex_);
                    if (one.left) return true;
                    in_hand = one.in_hand;
                }
                if (schedule->jobs.is_late(one.counted)) return false;
                auto const until = in_hand ? in_hand->may_run_until() : never;
                auto const now = monotonic_clock::now();
                if (has_passed(until, now)) return false;
                unique_lock lock(mutex_);
                if (one.left || one.in_hand != in_hand) continue;
                changed_.wait_until(lock, (std::min)(until, later(now, recheck_interval)));
            }
        }

        /// Joins the thread, or leaves it to `disown`.
        void end(member& one, bool join) {
            if (join) one.handle.join();
            one.let_go = true;
        }

        /// From now on none that has left is collected.
        void keep_members() noexcept {
            lock_guard const lock(mutex_);
            ending_ = true;
        }

        /// Nobody joins from now on.
        void disown() noexcept {
            lock_guard const lock(mutex_);
            disowned_ = true;
            for (auto& one : members_) {
                if (one.handle.joinable()) one.handle.detach();
            }
        }

        // ---- the mutex is held

        /// Moves those that have left to `ended`.
        void collect(std::list<member>& ended) noexcept {
            if (ending_) return;
            for (auto at = members_.begin(); at != members_.end();) {
                auto const next = std::next(at);
                if (at->left && at->does == role::worker) ended.splice(ended.end(), members_, at);
                at = next;
            }
        }

        /// The lowest that no worker has.
        [[nodiscard]] std::size_t free_number() const noexcept {
            auto const is_taken = [&](std::size_t number) {
                return std::any_of(members_.begin(), members_.end(), [=](member const& one) {
                    return one.does == role::worker && !one.left && one.number == number;
                });
            };
            std::size_t number = 0;
            while (is_taken(number)) ++number;
            return number;
        }

        std::shared_ptr<scheduler> const schedule;
        crew_names const called;
        mutex mutex_;
        condition_variable changed_;
        // Guarded by mutex_. A member stays where it is for as long as its thread runs.
        std::list<member> members_;
        bool ending_ = false;    ///< the crew is being destroyed
        bool disowned_ = false;  ///< it is gone, and so is everybody who would join
    };

    void shut_down() noexcept {
        shared_->schedule->ticks.shut_down();
        shared_->schedule->jobs.shut_down();
        if (shared_->schedule->jobs.is_deserted()) shared_->schedule->timeouts.shut_down();
    }

    std::shared_ptr<shared> const shared_;
    home_process const home_;
};

}  // namespace tidefall::inline v0::detail
