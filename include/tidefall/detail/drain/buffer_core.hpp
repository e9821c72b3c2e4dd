// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/detail/tables/spare_memory.hpp>
#include <tidefall/detail/threads/scheduler.hpp>
#include <tidefall/detail/write/stripes.hpp>
#include <tidefall/detail/write/total_limit.hpp>
#include <tidefall/detail/write/writer_places.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0::detail {

template <typename Table>
class partition_set;

/// What the partitions of one buffer share. Everything that runs for the buffer, on whatever thread, keeps it alive,
/// so it outlives the buffer where a call does.
template <typename Table>
class buffer_core final : public waiting_place {
public:
    using value_type = typename Table::value_type;

    /// `stripe_bits` is the logarithm of the number of stripes in a partition.
    buffer_core(options const& how, unsigned stripe_bits, std::shared_ptr<scheduler> serving,
                std::unique_ptr<processor<Table>> process, std::unique_ptr<undelivered_handler<value_type>> rest)
        : name(how.name),
          schedule(std::move(serving)),
          places(how.partitions, stripe_bits),
          total(how.partitions),
          stripes(std::make_unique<stripe<Table>[]>(how.partitions << stripe_bits)),
          processor_(std::move(process)),
          undelivered_(std::move(rest)),
          hook_(how.telemetry),
          says_unheard_(!undelivered_ && !hook_ && how.unheard == unheard_action::say_once) {
        total.change(how.total_capacity);
        schedule->jobs.serve_one_more();
    }
    buffer_core(buffer_core const&) = delete;
    buffer_core& operator=(buffer_core const&) = delete;
    ~buffer_core() {
        if (!home.left()) schedule->jobs.serve_one_less();
    }

    std::string const name;
    home_process const home;
    /// What the module that made the buffer knows of the calling thread.
    thread_lookup const this_thread = &state_of_this_thread;
    std::shared_ptr<scheduler> const schedule;
    writer_places places;
    total_limit total;
    shared_memory<Table> memory;
    std::weak_ptr<partition_set<Table> const> partitions;  ///< all of them; set before the first one starts
    std::unique_ptr<stripe<Table>[]> const stripes;        ///< of all partitions, side by side

    /// The buffer's destructor has begun. Whoever looks is on the thread of that, so that relaxed is enough.
    atomic<bool> is_destroyed{false};

    [[nodiscard]] processor<Table>& process() const noexcept { return *processor_; }

    /// True if somebody listens: nothing is measured otherwise.
    [[nodiscard]] bool observed() const noexcept { return hook_ != nullptr; }

    template <typename Event>
    void tell(void (telemetry_hook::*on)(Event const&), Event const& event) noexcept {
        if (!hook_) return;
        inside_callback const inside(this_thread, this);
        if (thrown_by([&] { ((*hook_).*on)(event); })) count_hook_failure();
    }

    /// Emits processing_exception with the message of what was thrown.
    void tell_exception(processing_exception event) noexcept {
        with_message_of(event.error, [&](std::string_view message) {
            event.message = message;
            tell(&telemetry_hook::on_processing_exception, event);
        });
    }

    /// Hands values to `undelivered`.
    void return_undelivered(std::span<value_type> values, failure const& why) noexcept {
        if (values.empty()) return;
        say_unheard(values.size(), why.reason, why.error);
        if (!undelivered_) return;
        inside_callback const inside(this_thread, this);
        if (thrown_by([&] { undelivered_->receive(values, why); })) count_hook_failure();
    }

    /// Says once on standard error that values were lost which nobody will hear of.
    void say_unheard(std::size_t size, failure_reason reason, std::exception_ptr const& error) noexcept {
        // Relaxed: one of those who come is the first.
        if (!says_unheard_ || has_said_.exchange(true, std::memory_order_relaxed)) return;
        with_message_of(error, [&](std::string_view message) {
            constexpr char const* reasons[] = {"failed: ", "failed: the call took longer than processing_timeout",
                                               "dropped to make room for newer ones", "dropped at the deadline of stop",
                                               "rejected by the processor"};
            std::fprintf(stderr,
                         "tidefall: buffer \"%s\": %zu value%s %s%.*s. There is neither undelivered nor telemetry to "
                         "tell, so this line stands for all that follow (options::unheard).\n",
                         name.c_str(), size, size == 1 ? "" : "s", reasons[static_cast<std::size_t>(reason)],
                         reason == failure_reason::exception ? static_cast<int>(message.size()) : 0, message.data());
        });
    }

    [[nodiscard]] std::uint64_t hook_failures() const noexcept {
        return hook_failures_.load(std::memory_order_relaxed);
    }

    /// Destroy the callables: the buffer stopped and nothing will call them.
    void release_processor() noexcept { processor_.reset(); }
    void release_undelivered() noexcept { undelivered_.reset(); }

    /// Tells whoever waits in `wait_until` to look again. No lock of a partition is held.
    void changed() noexcept override {
        {
            lock_guard const lock(mutex_);
            changed_.notify_all();
        }
        schedule->tell_if_earlier();
    }

    /// Waits until `done()`, at most until the deadline that `deadline()` names each time anew; returns `done()`.
    /// Where this thread must not wait for workers it does the buffer's queued work itself, and looks at the
    /// deadline between jobs; a forced unwind that leaves a job passes.
    template <typename Done, typename Deadline>
    bool wait_until(Done done, Deadline deadline) {
        bool const works = schedule->works_on_this_thread();
        for (;;) {
            if (done()) return true;
            if (has_passed(deadline(), schedule->now())) return false;
            schedule->sound_ticks();
            if (works && schedule->run_one_of(this, deadline())) {
                changed();  // it may have queued a job that another helper waits for
                continue;
            }
            if (schedule->manual()) return done();
            unique_lock lock(mutex_);
            if (done()) return true;
            if (works && schedule->jobs.has_of(this)) continue;
            changed_.wait_until(
                lock, (std::min)({deadline(), schedule->next_tick(), later(schedule->now(), recheck_interval)}));
        }
    }

    /// The same by the clock, on a manual runtime too, for what other threads are about to end: nothing is queued.
    template <typename Done>
    bool wait_for(Done done, nanoseconds at_most) {
        auto const until = later(monotonic_clock::now(), at_most);
        unique_lock lock(mutex_);
        for (;;) {
            if (done()) return true;
            auto const now = monotonic_clock::now();
            if (has_passed(until, now)) return false;
            changed_.wait_until(lock, (std::min)(until, later(now, recheck_interval)));
        }
    }

    /// The report of the stop: what the first to ask makes, and the same ever after.
    template <typename Make>
    drain_report settle_report(Make make) noexcept {
        lock_guard const lock(mutex_);
        if (!report_) report_ = make();
        return *report_;
    }

    /// What the first stop that is given a note says.
    void note_stop(std::string note) noexcept {
        lock_guard const lock(mutex_);
        if (stop_note_.empty()) stop_note_ = std::move(note);
    }
    [[nodiscard]] std::string_view stop_note() const noexcept {
        lock_guard const lock(mutex_);
        return stop_note_;  // it does not change any more, unless it is empty
    }

private:
    /// Calls `f` with the text of what was thrown; of a forced unwind if `error` is null.
    template <typename F>
    static void with_message_of(std::exception_ptr const& error, F f) noexcept {
        if (!error) return f("the call was left by a forced unwind, such as pthread_exit");
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& thrown) {
            f(thrown.what());
        } catch (...) {
            f("not a std::exception");
        }
    }

    void count_hook_failure() noexcept { hook_failures_.fetch_add(1, std::memory_order_relaxed); }

    std::unique_ptr<processor<Table>> processor_;
    std::unique_ptr<undelivered_handler<value_type>> undelivered_;
    std::shared_ptr<telemetry_hook> const hook_;
    bool const says_unheard_;
    atomic<bool> has_said_{false};
    atomic<std::uint64_t> hook_failures_{0};  // relaxed: a count

    // Taken before the mutex of a partition, never after.
    mutable mutex mutex_;
    condition_variable changed_;
    std::optional<drain_report> report_;  ///< guarded by mutex_
    std::string stop_note_;               ///< guarded by mutex_
};

}  // namespace tidefall::inline v0::detail
