// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/fork.hpp>
#include <tidefall/detail/processor.hpp>
#include <tidefall/detail/scheduler.hpp>
#include <tidefall/detail/stripes.hpp>
#include <tidefall/detail/this_thread.hpp>
#include <tidefall/detail/time.hpp>
#include <tidefall/detail/user_code.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace tidefall::inline v0::detail {

/// What the partitions of one buffer share. Everything that runs for the buffer, on whatever thread, keeps it alive,
/// so it outlives the buffer where a call does.
template <typename Table>
class buffer_core {
public:
    using value_type = typename Table::value_type;

    buffer_core(std::string buffer_name, std::size_t stripe_count, std::shared_ptr<scheduler> serving,
                std::shared_ptr<telemetry_hook> hook, std::unique_ptr<processor<Table>> process,
                std::unique_ptr<undelivered_handler<value_type>> rest)
        : name(std::move(buffer_name)),
          schedule(std::move(serving)),
          stripes(std::make_unique<stripe<Table>[]>(stripe_count)),
          processor_(std::move(process)),
          undelivered_(std::move(rest)),
          hook_(std::move(hook)) {}

    std::string const name;
    home_process const home;
    std::shared_ptr<scheduler> const schedule;
    std::unique_ptr<stripe<Table>[]> const stripes;  ///< of all partitions, side by side

    [[nodiscard]] processor<Table>& process() const noexcept { return *processor_; }

    /// True if somebody listens: nothing is measured otherwise.
    [[nodiscard]] bool observed() const noexcept { return hook_ != nullptr; }

    template <typename Event>
    void tell(void (telemetry_hook::*on)(Event const&), Event const& event) noexcept {
        if (!hook_) return;
        inside_callback const inside(this);
        if (thrown_by([&] { ((*hook_).*on)(event); })) count_hook_failure();
    }

    /// Emits processing_exception with the message of what was thrown.
    void tell_exception(processing_exception event) noexcept {
        if (!hook_) return;
        auto const tell_with = [&](std::string_view message) {
            event.message = message;
            tell(&telemetry_hook::on_processing_exception, event);
        };
        if (!event.error) return tell_with("the call was left by a forced unwind, such as pthread_exit");
        try {
            std::rethrow_exception(event.error);
        } catch (std::exception const& error) {
            tell_with(error.what());
        } catch (...) {
            tell_with("not a std::exception");
        }
    }

    void hand_back(std::span<value_type> values, failure const& why) noexcept {
        if (!undelivered_ || values.empty()) return;
        inside_callback const inside(this);
        if (thrown_by([&] { undelivered_->receive(values, why); })) count_hook_failure();
    }

    [[nodiscard]] std::uint64_t hook_failures() const noexcept {
        return hook_failures_.load(std::memory_order_relaxed);
    }

    /// Destroy the callables: the buffer stopped and nothing will call them.
    void release_processor() noexcept { processor_.reset(); }
    void release_undelivered() noexcept { undelivered_.reset(); }

    /// Tells whoever waits in `wait_until` to look again. No lock of a partition is held.
    void changed() noexcept {
        lock_guard const lock(mutex_);
        changed_.notify_all();
    }

    /// Waits until `done()`, at most until the deadline that `deadline()` names each time anew; returns `done()`.
    /// Where this thread must not wait for workers it does the buffer's queued work itself, and looks at the
    /// deadline between jobs.
    template <typename Done, typename Deadline>
    bool wait_until(Done done, Deadline deadline) noexcept {
        bool const works = schedule->works_on_this_thread();
        for (;;) {
            if (done()) return true;
            if (has_passed(deadline(), schedule->now())) return false;
            if (works && schedule->run_one_of(this, deadline())) {
                changed();  // it may have queued a job that another helper waits for
                continue;
            }
            if (schedule->manual()) return done();
            unique_lock lock(mutex_);
            if (done()) return true;
            if (works && schedule->jobs.has_of(this)) continue;
            changed_.wait_until(lock, (std::min)(deadline(), later(schedule->now(), recheck_interval)));
        }
    }

    /// The report of the stop: what the first to ask makes, and the same ever after.
    template <typename Make>
    drain_report settle_report(Make make) noexcept {
        lock_guard const lock(mutex_);
        if (!report_) report_ = make();
        return *report_;
    }

private:
    void count_hook_failure() noexcept { hook_failures_.fetch_add(1, std::memory_order_relaxed); }

    std::unique_ptr<processor<Table>> processor_;
    std::unique_ptr<undelivered_handler<value_type>> undelivered_;
    std::shared_ptr<telemetry_hook> const hook_;
    atomic<std::uint64_t> hook_failures_{0};  // relaxed: a count

    // Taken before the mutex of a partition, never after.
    mutex mutex_;
    condition_variable changed_;
    std::optional<drain_report> report_;  ///< guarded by mutex_
};

}  // namespace tidefall::inline v0::detail
