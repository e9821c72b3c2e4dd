// SPDX-License-Identifier: MIT
//
// The engine: a partition double-buffers a table. Writers insert into one set of stripes; a tick exchanges their
// tables for empty ones, and the drained ones are handed, batch by batch, to the processor.
//
// You meet it through `buffer<Table>`. Read on if you want to know how it works; `table.hpp` says what a table of your
// own has to offer.
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/delivery.hpp>
#include <tidefall/detail/drain/drain_control.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/detail/drain/open_batch.hpp>
#include <tidefall/detail/drain/reporter.hpp>
#include <tidefall/detail/drain/write_tables.hpp>
#include <tidefall/detail/write/stripes.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/table.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace tidefall::inline v0 {

namespace detail {
template <typename Table>
class partition_set;
template <typename Table>
class write_limits;
}  // namespace detail

/// One partition of a buffer. Made by the buffer, got by `buffer::partition`.
///
/// A drain, from a write to its end:
///
///   1. A write inserts into a stripe's table. The first one plans a tick, or notes its time for the timer's look, and
///      one that reaches a limit starts a drain (`drain_control::value_waits`, `limit_reached`).
///   2. A tick, a limit, a flush or a stop begins a drain: the stripes' tables are exchanged for empty ones, and the
///      partition, which is the task, is queued for a worker (`drain_control::tick`, `flush`, `close`).
///   3. A worker calls `run`, whose `delivery` cuts batches and calls the processor with each. An `open_batch` is one
///   on
///      its way, and a call of the control: it may end late, or find that a stop took the rest of the drain over.
///   4. A worker that has nothing to do, since a batch waits for its time or its outcome, leaves; another one follows.
///   5. The worker ends the drain; what was asked for meanwhile follows at once.
///
/// It joins the parts: the stripes that writers insert into, the tables that a swap took out of them, and the control
/// that decides under one mutex. It tells the user what happens, and returns what is undelivered, without that mutex.
template <typename Table>
class partition final : public detail::task, private detail::write_tables {
    static_assert(table<Table>, "the storage does not meet the concept tidefall::table");

public:
    using value_type = typename Table::value_type;

    /// Values that wait in the write table. Takes each stripe's lock for a moment.
    std::size_t size() const noexcept { return core_->home.left() ? 0 : stripes_.size(); }

    /// Updates this partition alone, as `buffer::update_options` does all. Throws `invalid_options`, also for
    /// `shutdown_timeout` and `total_capacity`, which belong to the buffer as a whole.
    void update_options(options_update const& update) {
        detail::validate(update);
        if constexpr (!detail::weighed<Table>) detail::require_no_weights(update);
        if (update.shutdown_timeout) {
            throw invalid_options("shutdown_timeout", detail::to_text(*update.shutdown_timeout),
                                  "updated for the whole buffer");
        }
        if (update.total_capacity) {
            auto const limit = *update.total_capacity;
            throw invalid_options("total_capacity", limit ? std::to_string(*limit) : "none",
                                  "updated for the whole buffer");
        }
        apply(update);
    }

private:
    friend class detail::partition_set<Table>;
    friend class detail::write_limits<Table>;
    using core = detail::buffer_core<Table>;
    using delivery = detail::delivery<Table>;
    using open_batch = detail::open_batch<Table>;
    using drained_tables = detail::drained_tables<Table>;
    using time_point = detail::time_point;

    partition(std::shared_ptr<core> shared, std::size_t index, std::span<detail::stripe<Table>> stripes,
              options const& how)
        : task(shared.get()),
          core_(std::move(shared)),
          report_(*core_, index),
          stripes_(stripes, core_->total),
          drained_(std::make_shared<drained_tables>(stripes.size())),
          action_(how.timeout_action),
          control_(*this, *core_->schedule, *this) {
        if constexpr (!requires(Table & a, Table & b) { a.absorb(std::move(b)); }) {
            if (stripes.size() > 1 && core_->process().takes_table()) {
                throw std::invalid_argument("tidefall: table mode over several stripes needs Table::absorb");
            }
        }
        // The first drain allocates none, as those after it.
        spare_ = batches_.emplace_back(std::make_unique<open_batch>(*core_, control_, report_)).get();
        bool const has_total = how.total_capacity.has_value();
        apply({.processing_interval = how.processing_interval,
               .processing_batch_size = how.processing_batch_size,
               .processing_batch_weight = how.processing_batch_weight,
               .max_in_flight = how.max_in_flight,
               .processing_timeout = how.processing_timeout,
               .drain_threshold = how.drain_threshold,
               .drain_threshold_weight = how.drain_threshold_weight,
               .capacity = how.capacity,
               .capacity_weight = how.capacity_weight,
               .overflow_timeout = how.overflow_timeout},
              has_total);
    }

    // ---- asked by the buffer

    void start() noexcept { report_.partition_started(); }

    /// `leases_anew`: the limit of all partitions together begins, or ends.
    void apply(options_update const& update, bool leases_anew = false) noexcept {
        if (core_->home.left()) return;
        if (auto const reached = control_.change_options(update, leases_anew)) control_.limit_reached(*reached);
        core_->changed();  // a writer that waits looks at its bound and its room again
    }

    /// A limit was reached.
    void start_drain(drain_trigger trigger) noexcept {
        control_.limit_reached(trigger);
        core_->changed();
    }

    /// Blocks until there may be room for a value of that weight, or the partition closed, at most until the overflow
    /// timeout after `since`; false if that passed, or the token of `call` was stopped, where the calling thread is in
    /// one.
    bool wait_for_room(time_point since, std::size_t weight, detail::call_services const* call) {
        auto const bound = [&] { return control_.room_deadline(since); };
        auto& schedule = *core_->schedule;
        if (schedule.manual()) {  // nobody else would drain
            auto const drain = begin_drain();
            while (!control_.is_settled(drain) && schedule.run_one_of(core_.get(), bound())) {
            }
        }
        bool is_stopped = false;
        auto const may_go_on = [&] {
            is_stopped = call != nullptr && call->is_stopped();
            if (is_stopped || control_.is_closed() || stripes_.has_room(weight)) return true;
            if constexpr (detail::weighed<Table>) {
                // Others may have taken the room, and have reached no limit by it.
                control_.limit_reached(drain_trigger::capacity);
                return stripes_.has_room(weight);
            }
            return false;
        };
        return core_->wait_until(may_go_on, bound) && !is_stopped;
    }

    /// Begins one where none is in progress. Returns what the control is to be asked for.
    std::uint64_t begin_drain() noexcept { return control_.begin_if_idle(drain_trigger::capacity); }

    /// Gives back what was leased of the buffer's whole capacity and is not used.
    void give_back_slack() noexcept { stripes_.give_back_slack(); }

    /// A value left the tables of another partition, for want of which a write found no room here.
    void tell_room_by_total() noexcept {
        stripes_.end_fullness_by_total(core_->schedule->now());
        tell_limits();
    }

    /// A write found no room; the first since the last swap.
    void tell_full() noexcept { report_.full(stripes_.size()); }

    /// Returns values that made room for a newer one.
    void return_oldest(std::span<value_type> oldest) noexcept {
        report_.show_undelivered(oldest, failure_reason::overflow);
    }

    /// Starts a drain of all that was written before. Returns what the control is to be asked for.
    std::uint64_t flush() noexcept {
        auto const drain = control_.flush();
        core_->changed();
        return drain;
    }

    /// Accepts no write from now on and starts the last drain, to be done by that time. May be called again, to bring
    /// that forward.
    void close(time_point deadline) noexcept {
        if (control_.close(deadline)) announce_end();
        core_->changed();
    }

    /// The deadline of the stop passed: what waits is dropped. A call that is running keeps its values, and what is
    /// being prepared is returned by its worker.
    void expire() noexcept {
        auto const found = control_.expire();
        if (!found.happened) return;
        tell_dropped(found.lost);
        if (found.rest_is_ours) return_drained();
        return_waiting();
        if (found.ended_drain) report_.processing_stopped(found.swapped);
        if (found.announces) announce_end();
        control_.returned();
        core_->changed();
    }

    /// Past the deadline of a stop: has the token of a call stopped that is running all the same. Threads have a
    /// watchdog for that.
    void stop_running_call() noexcept {
        auto const& schedule = *core_->schedule;
        if (!schedule.manual()) return;
        close(schedule.now());
        on_overdue(schedule.now());
    }

    /// Of a partition that stopped and is not in use: frees its tables, and all memory that it keeps.
    void retire() noexcept {
        stripes_.free_memory();
        drained_.reset();
        for (auto const& one : batches_) {
            one->forget_tables();
            one->room().shrink_to_fit();
        }
        give_up_memory();
    }

    void count_in(buffer_stats& stats) const noexcept { control_.count_in(stats); }

    /// The same in a forked child, which has no other thread and must not lock.
    void count_alone_in(buffer_stats& stats) const noexcept {
        buffer_stats waiting;
        stripes_.count_alone_in(waiting);
        control_.count_alone_in(stats, waiting);
    }

    // ---- called by the scheduler

    void on_tick(time_point now) noexcept override {
        if (control_.tick(now)) core_->changed();
    }

    /// Calls may have taken too long, or a stop expired beside them.
    void on_overdue(time_point now) noexcept override {
        for (;;) {
            auto found = control_.look_at_calls(now);
            if (found.timed_out && action_ == timeout_action::abandon) abandon(found.call);
            if (found.timed_out) report_.failed(failure_reason::timeout, found.size);
            if (found.stops_token) {
                detail::inside_callback const inside(core_->this_thread, core_.get());
                found.signal.stop();
            }
            if (found.wakes) found.wakes->changed();
            if (!found.timed_out && !found.stops_token) return;
        }
    }

    /// Processes the drained tables. Between calls it looks at `until`: from then on the rest waits for another run.
    bool run(time_point until) override {
        detail::inside_callback const inside(core_->this_thread, core_.get());
        auto const start = control_.start_run();
        if (start.what == detail::run_start::order::nothing) return false;
        if (start.what == detail::run_start::order::drop) {
            tell_dropped(start.lost);
            return_drained();
            return_waiting();
            end_drain();
            return false;
        }
        if (start.is_first) {
            if constexpr (detail::leans<Table>) {
                // So many come in one filling that a stripe may lean to their writer.
                if (start.swapped >= detail::lean_history::look_until) detail::process_barrier::prepare();
            }
            tell_limits();
            if (core_->total.take_full()) {
                if (auto const all = core_->partitions.lock()) all->tell_room_by_total();
            }
            report_.processing_started(start.swapped, start.trigger);
        }
        auto const how_far = deliver(start, until);
        if (how_far == delivery::outcome::abandoned) return false;
        if (how_far == delivery::outcome::paused && control_.pause()) return true;
        if (how_far == delivery::outcome::waits && control_.wait()) return false;
        if (how_far == delivery::outcome::paused || how_far == delivery::outcome::waits) return_drained();
        auto const rest = control_.reach_end();
        if (rest.announces) announce_end();
        if (rest.is_over) {
            if (how_far != delivery::outcome::taken_over) clear_drained();  // others return what the tables hold
            report_.processing_stopped(start.swapped);
            end_drain();
        }
        return false;
    }

    time_point may_run_until() noexcept override { return control_.may_run_until(); }

    // ---- asked by the control, under its mutex

    std::size_t swap(bool close, time_point now) noexcept override {
        return stripes_.swap_tables(drained_->tables(), close, now);
    }
    std::optional<time_point> first_write() noexcept override { return stripes_.first_write(); }
    void close() noexcept override { stripes_.close(); }
    std::size_t expire(time_point now) noexcept override { return stripes_.expire(now); }
    std::size_t waiting() const noexcept override { return stripes_.size(); }
    std::optional<drain_trigger> change_limits(options_update const& update, bool leases_anew) noexcept override {
        return stripes_.change_limits(update, leases_anew);
    }
    void free_memory() noexcept override {
        stripes_.free_memory();
        drained_->free_memory();
        if (spare_ != nullptr) spare_->room().shrink_to_fit();
        control_.each_idle(
            [](detail::call_in_progress& call) { static_cast<open_batch&>(call).room().shrink_to_fit(); });
        give_up_memory();
    }
    void count_waiting(buffer_stats& stats) const noexcept override { stripes_.count_in(stats); }

    // ---- without the mutex

    /// The delivery is gone when it returns, so that another may follow.
    typename delivery::outcome deliver(detail::run_start const& start, time_point until) {
        delivery one(*this, *core_, control_, report_, drained_, batches_, spare_);
        try {
            auto const result = one.run(start, until);
            if (result == delivery::outcome::expired) {
                tell_dropped(one.lost());
                one.return_rest(failure_reason::stopped);
                return_drained();
                return_waiting();
            }
            return result;
        } catch (...) {  // a forced unwind left a call
            if (one.is_taken_over() && control_.reach_end().is_over) {
                report_.processing_stopped(start.swapped);
                end_drain();
            }
            throw;
        }
    }

    /// Abandons a call: its values have failed, and another worker goes on with the rest. Where that cannot be, the
    /// call is waited for.
    void abandon(detail::call_in_progress::identity const& call) noexcept {
        std::shared_ptr<drained_tables> spare;
        if (detail::thrown_by([&] { spare = std::make_shared<drained_tables>(stripes_.stripes()); })) return;
        auto& schedule = *core_->schedule;
        if (call.is_inside && !schedule.start_replacement()) return;
        control_.abandon_call(call, std::move(spare));
        if (call.is_inside) schedule.end_replacement();
        core_->changed();
    }

    /// Readies the drained tables for the next swap. Those that a late call may look at are left to it.
    void clear_drained() noexcept {
        if (auto spare = control_.take_spare_tables()) {
            drained_ = std::static_pointer_cast<drained_tables>(std::move(spare));
            for (auto const& one : batches_) {
                if (!control_.is_abandoned(*one)) one->forget_tables();  // a late one needs them
            }
        } else {
            drained_->clear();
            core_->memory.gather(drained_->tables(), !std::exchange(has_shared_memory_, true));
        }
    }

    void give_up_memory() noexcept {
        if (std::exchange(has_shared_memory_, false)) core_->memory.leave();
    }

    void end_drain() noexcept {
        if (control_.end_drain()) announce_end();
        core_->changed();
    }

    /// The last code of the user that runs for the partition, but for a late call.
    void announce_end() noexcept {
        tell_limits();
        report_.partition_stopped(control_.is_expired() ? stop_reason::deadline : stop_reason::stopped);
        control_.announced();
    }

    /// Tells what came of the limits since the last time.
    void tell_limits() noexcept {
        if (!core_->observed()) return;
        auto const news = stripes_.take_news();
        for (auto const& one : news.ended) {
            if (one) report_.has_room(*one);
        }
        report_.dropped(failure_reason::overflow, static_cast<std::size_t>(news.dropped));
    }

    void tell_dropped(std::size_t size) noexcept {
        tell_limits();
        report_.dropped(failure_reason::stopped, size);
    }

    /// Returns what no call has: batches that were to be offered again, and what the drained tables hold.
    void return_drained() noexcept {
        while (auto* const call = control_.take_waiting()) {
            report_.return_undelivered(static_cast<open_batch*>(call)->take(), failure_reason::stopped);
        }
        report_.return_all_of(*drained_, failure_reason::stopped);
    }

    /// Returns what waited when the partition expired.
    void return_waiting() noexcept {
        for (auto run = stripes_.take_closed(); !run.empty(); run = stripes_.take_closed()) {
            report_.return_undelivered(run, failure_reason::stopped);
        }
    }

    std::shared_ptr<core> const core_;
    detail::reporter<Table> report_;
    detail::stripe_set<Table> stripes_;
    // Invariant: these four are the worker's that runs a drain, and the control's while none is in progress.
    std::shared_ptr<drained_tables> drained_;
    detail::all_batches<Table> batches_;
    open_batch* spare_ = nullptr;     ///< one of them that serves no batch
    bool has_shared_memory_ = false;  ///< since it last gave it up
    timeout_action const action_;
    detail::drain_control control_;
};

}  // namespace tidefall::inline v0
