// SPDX-License-Identifier: MIT
//
// The engine: a partition double-buffers a table. Writers insert into one set of stripes; a tick exchanges their
// tables for empty ones, and the drained ones are handed, batch by batch, to the processor.
//
// You meet it through `buffer<Table>`. Read on if you want a table of your own on it, or to know how it works.
#pragma once

#include <tidefall/buffer_options.hpp>
#include <tidefall/detail/buffer_core.hpp>
#include <tidefall/detail/call_in_progress.hpp>
#include <tidefall/detail/drain_counters.hpp>
#include <tidefall/detail/drained_tables.hpp>
#include <tidefall/detail/reporter.hpp>
#include <tidefall/detail/stripes.hpp>
#include <tidefall/detail/table.hpp>
#include <tidefall/detail/time.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {

template <typename Table>
class buffer;

/// One partition of a buffer: its write table, its tick, its drain. Made by the buffer, got by `buffer::partition`.
///
/// Life of a drain, all transitions under one mutex:
///
///     idle --tick, threshold, flush, stop: tables exchanged--> queued --worker--> preparing <--> calling
///       ^                                                                             |
///       +------------ no batch is left; what was requested meanwhile follows ---------+
///
/// A call that is given up goes from `calling` back to `queued`, for another worker, while it runs on beside the drain.
///
/// In `preparing` the worker owns the drained tables (it sorts and gathers without a lock); in `queued` and `calling`
/// whoever holds the mutex may take the rest of them, which is how a stop gives up beside a call that hangs.
/// `closed` and `given_up` are set once and stay: a closed partition that goes idle has stopped.
template <typename Table>
class partition final : public detail::task {
    static_assert(table<Table>, "the storage does not meet the concept tidefall::table");

public:
    using value_type = typename Table::value_type;

    /// No alarm outlives it.
    ~partition() override {
        schedule().ticks.unset(*this);
        schedule().timeouts.unset(*this);
    }

    /// Values that wait in the write table. Takes each stripe's lock for a moment.
    std::size_t size() const noexcept { return core_->home.left() ? 0 : stripes_.size(); }

    /// Updates this partition alone, as `buffer::update_options` does all. Throws `invalid_options`, also for
    /// `shutdown_timeout`, which belongs to the buffer as a whole.
    void update_options(options_update const& update) {
        detail::validate(update);
        if (update.shutdown_timeout) {
            throw invalid_options("shutdown_timeout", detail::to_text(*update.shutdown_timeout),
                                  "updated for the whole buffer");
        }
        apply(update);
    }

private:
    friend class buffer<Table>;
    using core = detail::buffer_core<Table>;
    using time_point = detail::time_point;
    using nanoseconds = std::chrono::nanoseconds;

    enum class phase : std::uint8_t { idle, queued, preparing, calling };

    /// How far a run got: to the end of the drain, to its deadline, until a stop took the rest over, or until another
    /// worker went on.
    enum class progress : std::uint8_t { ended, paused, taken_over, left_behind };

    struct room {
        nanoseconds duration;
        std::uint64_t refused;
    };

    using drained_tables = detail::drained_tables<Table>;
    using call_in_progress = detail::call_in_progress;

    partition(std::shared_ptr<core> of, std::size_t index, std::span<detail::stripe<Table>> stripes, options const& how)
        : task(of.get()),
          core_(std::move(of)),
          report_(*core_, index),
          stripes_(stripes),
          drained_(std::make_shared<drained_tables>(stripes.size())),
          action_(how.timeout_action) {
        if constexpr (!requires(Table & a, Table & b) { a.absorb(std::move(b)); }) {
            if (stripes.size() > 1 && core_->process().takes_table()) {
                throw std::invalid_argument("tidefall: table mode over several stripes needs Table::absorb");
            }
        }
        apply({.processing_interval = how.processing_interval,
               .processing_batch_size = how.processing_batch_size,
               .processing_timeout = how.processing_timeout,
               .drain_threshold = how.drain_threshold,
               .capacity = how.capacity,
               .overflow_timeout = how.overflow_timeout});
    }

    // ---- asked by the buffer

    /// A write found its stripe empty: the next tick is one interval from now, or earlier.
    void set_tick() noexcept {
        auto const now = this->now();
        detail::lock_guard const lock(mutex_);
        if (closed_) return;
        auto const at = detail::later(now, interval_);
        if (at >= tick_at_) return;
        tick_at_ = at;
        set_alarm();
    }

    /// A limit was reached. Starts a drain at once, or as soon as the one in progress ends; without threads, at the
    /// next chance.
    void start_drain(drain_trigger trigger) noexcept {
        {
            detail::lock_guard const lock(mutex_);
            if (closed_) return;
            if (phase_ != phase::idle) {
                request(trigger);
            } else if (schedule().manual()) {
                request(trigger);
                tick_at_ = now();
                set_alarm();
            } else {
                begin(trigger);
            }
        }
        core_->changed();
    }

    void start() noexcept { report_.partition_started(); }

    void apply(options_update const& update) noexcept {
        if (core_->home.left()) return;
        std::optional<drain_trigger> reached;
        {
            detail::lock_guard const lock(mutex_);
            if (update.processing_batch_size) batch_size_ = *update.processing_batch_size;
            if (update.processing_timeout) change_timeout(*update.processing_timeout);
            if (update.processing_interval) change_interval(*update.processing_interval);
            if (update.overflow_timeout) overflow_timeout_ = *update.overflow_timeout;
            if (update.drain_threshold) threshold_ = *update.drain_threshold;
            if (update.capacity) capacity_ = *update.capacity;
            if (update.drain_threshold || update.capacity) {
                auto const waiting = stripes_.set_limits(threshold_, capacity_);
                if (capacity_ && waiting >= *capacity_) {
                    reached = drain_trigger::capacity;
                } else if (threshold_ && waiting >= *threshold_) {
                    reached = drain_trigger::threshold;
                }
            }
        }
        if (reached) start_drain(*reached);
        core_->changed();  // a writer that waits looks at its bound and its room again
    }

    /// Blocks until there may be room, or the partition closed, at most until the overflow timeout after `since`;
    /// false if that passed. Where nobody else would drain, this thread does.
    bool wait_for_room(time_point since) {
        auto const bound = [&] {
            detail::lock_guard const lock(mutex_);
            return detail::later(since, overflow_timeout_);
        };
        if (schedule().manual()) {
            auto const target = begin_if_idle(drain_trigger::capacity);
            while (!settled(target) && schedule().run_one_of(core_.get(), bound())) {
            }
        }
        return core_->wait_until([&] { return is_closed() || stripes_.has_room(); }, bound);
    }

    /// A write found no room; the first since the last swap.
    void tell_full() noexcept { report_.full(stripes_.size()); }

    /// A value that made room for a newer one.
    void hand_back_dropped(value_type& oldest) noexcept {
        report_.hand_back(std::span(std::addressof(oldest), 1), failure_reason::overflow, nullptr);
    }

    /// Starts a drain of all that was written before. Returns what `settled` is to be asked for.
    std::uint64_t flush() noexcept {
        std::uint64_t target = 0;
        {
            detail::lock_guard const lock(mutex_);
            if (phase_ == phase::idle) {
                if (!closed_) begin(drain_trigger::flush);
                target = begun_;
            } else {
                bool const another = closed_ || stripes_.size() > 0;
                if (another && !closed_) request(drain_trigger::flush);
                target = begun_ + (another ? 1 : 0);
            }
        }
        core_->changed();
        return target;
    }

    /// True once all that `flush` was to see has an outcome, or the partition stopped.
    bool settled(std::uint64_t target) const noexcept {
        detail::lock_guard const lock(mutex_);
        return (ended_ >= target || stop_announced_) && !dropping_;
    }

    /// Of a partition that settled: true if everything has an outcome, and nothing hangs in a call.
    bool complete(std::uint64_t target) const noexcept {
        detail::lock_guard const lock(mutex_);
        return ended_ >= target || counts_.in_flight() == 0;
    }

    /// Accepts no write from now on and starts the last drain, to be done by `stop_at`. May be called again, to
    /// bring that forward.
    void close(time_point stop_at) noexcept {
        {
            detail::lock_guard const lock(mutex_);
            stop_at_ = (std::min)(stop_at_, stop_at);
            if (!closed_) {
                closed_ = true;
                at_close_ = counts_;
                tick_at_ = trim_at_ = detail::never;
                schedule().ticks.unset(*this);
                if (phase_ == phase::idle) {
                    begin(drain_trigger::stop);
                } else {
                    stripes_.close();
                }
            }
            if (phase_ == phase::calling) watch();
        }
        if (claim_stop()) announce_stop();
        core_->changed();
    }

    /// Of a partition that was stopped: true while code of the user may be running for it all the same, a call of the
    /// processor that hangs, or what is handed back. Once false it stays so.
    bool in_use() const noexcept {
        detail::lock_guard const lock(mutex_);
        return is_in_use();
    }

    /// Of a partition that stopped and is not in use: gives back its tables and their memory.
    void retire() noexcept {
        stripes_.shrink_to_fit();
        std::shared_ptr<drained_tables> unused;  // destroyed after the lock: what it keeps may be of the user's types
        detail::lock_guard const lock(mutex_);
        unused.swap(drained_);
    }

    /// True once nothing more will happen: all has an outcome, or was given up and handed back.
    bool stopped() const noexcept {
        detail::lock_guard const lock(mutex_);
        return stop_announced_ && !dropping_;
    }

    bool given_up() const noexcept {
        detail::lock_guard const lock(mutex_);
        return given_up_;
    }

    time_point stop_at() const noexcept {
        detail::lock_guard const lock(mutex_);
        return stop_at_;
    }

    /// The deadline passed: drops all that waits. A call that is running keeps its values. What is being prepared is
    /// counted here and handed back by its worker, which also announces the stop.
    void give_up() noexcept {
        bool rest_is_ours = false;
        bool was_paused = false;
        bool announces = false;
        std::size_t lost = 0;
        {
            detail::lock_guard const lock(mutex_);
            if (given_up_ || idle_and_closed()) return;
            dropping_ = true;
            lost = lose_waiting() + lose_rest();
            if (phase_ == phase::queued) {
                was_paused = resumed_;
                schedule().jobs.remove(*this);
                phase_ = phase::idle;
                ++ended_;
            }
            if (phase_ != phase::preparing) {
                // A table that is in a call whole has no rest.
                rest_is_ours = remaining_ > 0;
                announces = stop_announcing_ = true;
            }
        }
        drop(lost, rest_is_ours, {});
        if (was_paused) report_.processing_stopped(swapped_);
        if (announces) announce_stop();
        {
            detail::lock_guard const lock(mutex_);
            dropping_ = false;
        }
        core_->changed();
    }

    /// Past the deadline of a stop: has the token of a call stopped that is running all the same. Threads have a
    /// watchdog for that.
    void stop_running_call() noexcept {
        if (!schedule().manual()) return;
        close(now());
        on_overdue(now());
    }

    void count_in(buffer_stats& stats) const noexcept {
        detail::lock_guard const lock(mutex_);
        buffer_stats here;
        stripes_.count_in(here);
        add(here, stats);
    }

    /// The same in a forked child, which has no other thread and must not lock.
    void count_alone_in(buffer_stats& stats) const noexcept {
        buffer_stats here;
        stripes_.count_alone_in(here);
        add(here, stats);
    }

    /// Adds what the stripes counted, and what the partition did.
    void add(buffer_stats here, buffer_stats& stats) const noexcept {
        if (given_up_) here.pending = 0;  // what is left there is counted as dropped
        counts_.add_to(stats, here);
    }

    /// Values whose calls were given up, in all.
    std::uint64_t abandoned() const noexcept {
        detail::lock_guard const lock(mutex_);
        return counts_.given_up;
    }

    /// Adds the change since `close`.
    void count_in(drain_report& report) const noexcept {
        detail::lock_guard const lock(mutex_);
        counts_.add_to(report, at_close_);
        report.complete = report.complete && !lost_by_deadline_ && counts_.in_flight() == 0;
    }

    // ---- called by the scheduler

    /// Nobody is told: who waits for room, or for an end, waits for a drain that a write or a flush asked for.
    void on_tick(time_point now) noexcept override {
        detail::lock_guard const lock(mutex_);
        if (closed_) return;
        if (detail::has_passed(tick_at_, now)) {
            tick_at_ = detail::never;
            if (phase_ == phase::idle) {
                begin(requested_.value_or(drain_trigger::interval));
            } else {
                request(drain_trigger::interval);
            }
        }
        if (detail::has_passed(trim_at_, now)) trim();
        set_alarm();
    }

    /// A call may have taken too long, or the stop deadline passed beside it.
    void on_overdue(time_point now) noexcept override {
        bool timed_out = false;
        bool stop = false;
        std::size_t size = 0;
        call_in_progress::identity call;
        detail::stop_signal signal;
        {
            detail::lock_guard const lock(mutex_);
            unwatch();
            if (phase_ != phase::calling) return;
            timed_out = call_.time_out(now);
            stop = call_.signal_is_unspent() && (timed_out || past_stop(now));
            if (stop) signal = call_.spend_signal();
            size = call_.size();
            call = call_.who();
            watch();
        }
        if (timed_out && action_ == timeout_action::abandon) abandon(call);
        if (timed_out) report_.failed(failure_reason::timeout, size);
        if (stop) {
            detail::inside_callback const inside(core_->this_thread, core_.get());
            signal.stop();
        }
    }

    /// Processes the drained table. Between calls it looks at `until`: from then on the rest waits for another run.
    bool run(time_point until) override {
        detail::inside_callback const inside(core_->this_thread, core_.get());
        bool resumed = false;
        {
            detail::lock_guard const lock(mutex_);
            if (phase_ != phase::queued) return false;  // taken back
            phase_ = phase::preparing;
            resumed = std::exchange(resumed_, true);
        }
        if (!resumed && !start_processing()) return false;
        auto const result = core_->process().takes_table() ? process_table() : process_batches(until);
        if (result == progress::left_behind) return false;
        if (result == progress::paused) {
            detail::lock_guard const lock(mutex_);
            if (!given_up_) {
                phase_ = phase::queued;
                unwatch();
                return true;
            }
        }
        if (result == progress::paused) drop_rest({});
        if (result != progress::taken_over) clear_drained();
        report_.processing_stopped(swapped_);
        end();
        return false;
    }

    time_point patience() noexcept override {
        detail::lock_guard const lock(mutex_);
        if (!closed_ || !is_in_use()) return detail::never;  // it returns by itself
        if (given_up_ && phase_ == phase::calling) return (time_point::min)();
        return detail::later(stop_at_, detail::grace);  // for hooks and `undelivered`
    }

    /// Returns what `settled` is to be asked for.
    std::uint64_t begin_if_idle(drain_trigger trigger) noexcept {
        detail::lock_guard const lock(mutex_);
        if (phase_ == phase::idle && !closed_) begin(trigger);
        return begun_;
    }

    bool is_closed() const noexcept {
        detail::lock_guard const lock(mutex_);
        return closed_;
    }

    // ---- with the mutex held

    /// Exchanges the tables and queues the drain; if nothing was written, the drain ends here.
    void begin(drain_trigger trigger) noexcept {
        ++begun_;
        requested_.reset();
        tick_at_ = detail::never;
        std::optional<detail::fullness> ended;
        remaining_ = swapped_ = stripes_.swap_tables(drained_->tables(), closed_, ended);
        note_room(ended);
        if (remaining_ == 0) {
            ++ended_;
        } else {
            counts_.taken += remaining_;
            ++counts_.swaps;
            trigger_ = trigger;
            phase_ = phase::queued;
            resumed_ = false;
            prepared_ = false;
            if (!closed_) set_trim();
            schedule().jobs.post(*this);
        }
        if (!closed_) set_alarm();
    }

    /// Has a drain follow the one in progress. Remembered once.
    void request(drain_trigger trigger) noexcept {
        if (!requested_) requested_ = trigger;
    }

    void set_alarm() noexcept {
        auto const at = (std::min)(tick_at_, trim_at_);
        if (at == detail::never) {
            schedule().ticks.unset(*this);
        } else {
            schedule().ticks.set(*this, at);
        }
    }

    void change_interval(nanoseconds interval) noexcept {
        interval_ = interval;
        if (closed_) return;
        // A tick that is set may be set to never.
        if (stripes_.size() > 0) tick_at_ = (std::min)(tick_at_, detail::later(now(), interval));
        if (counts_.swaps > 0) {
            trim_at_ = (std::min)(trim_at_, detail::later(now(), detail::times(interval, intervals_until_trim)));
        }
        set_alarm();
    }

    void change_timeout(nanoseconds timeout) noexcept {
        call_.set_timeout(timeout);
        if (phase_ == phase::calling) watch();
    }

    /// Gives back what an idle partition keeps, ten intervals after its last swap. A busy one is looked at as long
    /// after the end of its drain.
    void trim() noexcept {
        trim_at_ = detail::never;
        if (phase_ != phase::idle) return;
        stripes_.shrink_to_fit();
        drained_->shrink_to_fit();
    }

    void set_trim() noexcept { trim_at_ = detail::later(now(), detail::times(interval_, intervals_until_trim)); }

    /// Has the watchdog look when the call is too late, by its own time or by that of the stop.
    void watch() noexcept {
        auto at = call_.times_out_at();
        if (closed_ && call_.signal_is_unspent()) at = (std::min)(at, stop_at_);
        // An alarm that is set already and sounds too early costs less than moving it with every call.
        if (at >= watched_until_) return;
        watched_until_ = at;
        schedule().timeouts.set(*this, at);
    }

    /// Whatever was set is not any more: the timer alone knows, since it may have sounded an alarm already that is
    /// heard later.
    void unwatch() noexcept {
        watched_until_ = detail::never;
        schedule().timeouts.unset(*this);
    }

    /// Has another worker go on with the drain.
    void hand_over() noexcept {
        phase_ = phase::queued;
        unwatch();
        schedule().jobs.post(*this);
    }

    void note_room(std::optional<detail::fullness> const& ended) noexcept {
        if (ended) rooms_[rooms_[0] ? 1 : 0] = {now() - ended->since, ended->refused};
    }

    bool past_stop(time_point now) const noexcept { return closed_ && detail::has_passed(stop_at_, now); }
    bool idle_and_closed() const noexcept { return closed_ && phase_ == phase::idle; }
    bool is_in_use() const noexcept {
        return !stop_announced_ || dropping_ || phase_ != phase::idle || counts_.late > 0;
    }

    /// Counts what waits in the write table as dropped, from here on; `drop` hands it back.
    std::size_t lose_waiting() noexcept {
        given_up_ = true;
        note_room(stripes_.end_fullness());
        auto const waiting = stripes_.size();
        counts_.taken += waiting;
        return lose(waiting);
    }

    /// The same for what the drained tables still hold, once. remaining_ is left to who runs the drain.
    std::size_t lose_rest() noexcept { return std::exchange(rest_lost_, true) ? 0 : lose(remaining_); }

    std::size_t lose(std::size_t size) noexcept {
        counts_.dropped += size;
        lost_by_deadline_ = lost_by_deadline_ || size > 0;
        return size;
    }

    // ---- without the mutex

    time_point now() const noexcept { return schedule().now(); }
    detail::scheduler& schedule() const noexcept { return *core_->schedule; }

    /// False if the stop deadline passed before: then the drain is over.
    bool start_processing() noexcept {
        auto trigger = drain_trigger::interval;
        bool late = false;
        std::size_t lost = 0;
        {
            detail::lock_guard const lock(mutex_);
            trigger = trigger_;
            late = given_up_ || past_stop(now());
            if (late) lost = (given_up_ ? 0 : lose_waiting()) + lose_rest();
        }
        if (late) {
            drop(lost, true, {});
            clear_drained();
            end();
            return false;
        }
        report_limits();
        report_.processing_started(swapped_, trigger);
        return true;
    }

    /// Hands batch after batch to the processor.
    progress process_batches(time_point until) {
        // A call that is given up keeps the memory that its batch lies in.
        auto const tables = drained_;
        auto error = prepare();
        while (!error && remaining_ > 0) {
            if (until != detail::never && detail::has_passed(until, now())) return progress::paused;
            std::span<value_type> batch;
            error = make_batch(batch);
            if (error) break;
            auto const signal = call_.signal();
            auto const call = begin_call(batch.size(), batch);
            if (call.number == 0) {
                drop_rest(batch);
                return progress::ended;
            }
            unwinding_call guard{*this, call};
            auto const thrown = detail::thrown_by([&] { core_->process().process(batch, signal); });
            guard.has_returned = true;
            if (auto const after = end_call(call, thrown != nullptr, thrown)) return *after;
        }
        if (error) fail_rest(error);
        return progress::ended;
    }

    /// Hands the whole table to the processor, which owns it from then on, whatever comes of the call.
    progress process_table() {
        if (remaining_ == 0) return progress::ended;  // another worker has handed it over
        auto const tables = drained_;
        if (auto const error = merge()) {
            fail_rest(error);
            return progress::ended;
        }
        auto const signal = call_.signal();
        auto call = begin_call(remaining_, {});
        if (call.number == 0) {
            drop_rest({});
            return progress::ended;
        }
        unwinding_call guard{*this, call};
        auto const thrown = detail::thrown_by([&] {
            call.table = tables.get();
            auto whole = tables->deliver();
            call.table = nullptr;
            core_->process().process(std::move(whole), signal);
        });
        guard.has_returned = true;
        bool const late = end_call(call, thrown != nullptr, thrown) == progress::left_behind;
        return late ? progress::left_behind : progress::ended;
    }

    // What the three throw leaves all values to `give_back_rest`. They run code of the user's that no forced unwind may
    // leave.
    std::exception_ptr prepare() noexcept {
        if (std::exchange(prepared_, true)) return nullptr;
        return detail::thrown_by([&] { drained_->prepare(); });
    }
    std::exception_ptr make_batch(std::span<value_type>& batch) noexcept {
        return detail::thrown_by([&] {
            renew_signal();
            batch = drained_->next_batch((std::min)(batch_size(), remaining_));
        });
    }
    std::exception_ptr merge() noexcept {
        return detail::thrown_by([&] {
            renew_signal();
            drained_->merge();
        });
    }

    /// One call of the processor.
    struct processor_call {
        std::uint64_t number = 0;
        std::size_t size = 0;
        std::span<value_type> batch = {};  ///< empty in table mode
        drained_tables* table = nullptr;   ///< in table mode, while it is still ours
    };

    /// Ends a call that a forced unwind leaves, and has another worker go on.
    struct unwinding_call {
        partition& of;
        processor_call const& call;
        bool has_returned = false;

        ~unwinding_call() {
            if (!has_returned) of.leave(call);
        }
    };
    void leave(processor_call const& call) noexcept {
        auto const after = end_call(call, true, nullptr);
        if (after == progress::left_behind) return;
        if (after == progress::taken_over) {
            report_.processing_stopped(swapped_);
            end();
            return;
        }
        {
            detail::lock_guard const lock(mutex_);
            hand_over();
        }
        core_->changed();
    }

    /// Gives a call up: its values have failed, and another worker goes on with the rest. Where that cannot be, the
    /// call is waited for.
    void abandon(call_in_progress::identity call) noexcept {
        if (call.worker == nullptr) return;
        std::shared_ptr<drained_tables> fresh;
        if (detail::thrown_by([&] { fresh = std::make_shared<drained_tables>(stripes_.count()); })) return;
        if (!schedule().start_replacement()) return;
        {
            detail::lock_guard const lock(mutex_);
            // It may have returned meanwhile. One worker more is there, who may have left again.
            if (phase_ == phase::calling && call_.is(call.number) && !given_up_ &&
                !detail::thrown_by([&] { drained_->keep_batch(); }) && schedule().jobs.give_up(*call.worker, *this)) {
                counts_.give_up(call_.give_up());
                fresh_ = std::move(fresh);
                phase_ = phase::queued;
                unwatch();
            }
        }
        schedule().end_replacement();
        core_->changed();
    }

    std::size_t batch_size() const noexcept {
        detail::lock_guard const lock(mutex_);
        return batch_size_;
    }

    /// A token that was stopped serves no other call.
    void renew_signal() {
        if (!core_->process().takes_token()) return;
        detail::stop_signal fresh;
        {
            detail::lock_guard const lock(mutex_);
            if (!call_.needs_signal()) return;
        }
        fresh.renew();
        detail::lock_guard const lock(mutex_);
        call_.exchange_signal(fresh);
    }

    /// A call without a number is not to be made: the stop deadline passed meanwhile.
    processor_call begin_call(std::size_t size, std::span<value_type> batch) noexcept {
        detail::lock_guard const lock(mutex_);
        auto const since = now();
        if (given_up_ || past_stop(since)) return {};
        phase_ = phase::calling;
        remaining_ -= size;
        auto const number = call_.begin(size, since, schedule().worker_here());
        watch();
        return {number, size, batch};
    }

    /// Settles the values of a call. Nothing if the rest of the drain is still this run's.
    std::optional<progress> end_call(processor_call const& call, bool threw, std::exception_ptr const& error) noexcept {
        auto const done = now();
        call_in_progress::result result;
        bool rest_is_ours = false;
        bool late = false;
        {
            detail::lock_guard const lock(mutex_);
            late = !call_.is(call.number);
            if (!late) {
                rest_is_ours = !given_up_;
                phase_ = phase::preparing;
                result = call_.end(done);
                (result.timed_out || threw ? counts_.failed : counts_.processed) += call.size;
            }
        }
        if (late) {
            end_late(call);
            return progress::left_behind;
        }
        if (result.unnoticed) report_.failed(failure_reason::timeout, call.size);
        if (result.timed_out) {
            give_back(call, failure_reason::timeout, nullptr);
        } else if (threw) {
            report_.threw(error, call.size, result.duration);
            give_back(call, failure_reason::exception, error);
        } else {
            std::destroy(call.batch.begin(), call.batch.end());
        }
        if (!rest_is_ours) return progress::taken_over;
        return std::nullopt;
    }

    /// A call that was given up has come to its end: what it did counts no more.
    void end_late(processor_call const& call) noexcept {
        give_back(call, failure_reason::timeout, nullptr);
        if (auto* const here = schedule().worker_here()) schedule().jobs.late_call_returned(*here);
        {
            detail::lock_guard const lock(mutex_);
            counts_.late -= call.size;
        }
        core_->changed();
    }

    /// Gives back what a call did not take.
    void give_back(processor_call const& call, failure_reason reason, std::exception_ptr const& error) noexcept {
        report_.give_back(call.batch, reason, error);
        if (call.table != nullptr) give_back_rest(*call.table, reason, error);
    }

    /// Gives back all that the drained tables still hold.
    void give_back_rest(failure_reason reason, std::exception_ptr const& error) noexcept {
        give_back_rest(*drained_, reason, error);
    }
    void give_back_rest(drained_tables& of, failure_reason reason, std::exception_ptr const& error) noexcept {
        for (auto run = of.take_rest(); !run.empty(); run = of.take_rest()) report_.give_back(run, reason, error);
    }

    /// Readies the drained tables for the next swap. Those that a call which was given up may look at are left to it.
    void clear_drained() noexcept {
        std::shared_ptr<drained_tables> fresh;
        {
            detail::lock_guard const lock(mutex_);
            fresh.swap(fresh_);
        }
        if (fresh) {
            drained_ = std::move(fresh);
        } else {
            drained_->clear();
        }
    }

    /// Sorting or gathering threw: the table is lost, each value counted once.
    void fail_rest(std::exception_ptr const& error) noexcept {
        std::size_t size = 0;
        {
            detail::lock_guard const lock(mutex_);
            if (!rest_lost_) size = remaining_;
            counts_.failed += size;
            remaining_ = 0;
        }
        if (size == 0) {  // a stop has dropped them before
            give_back_rest(failure_reason::stopped, nullptr);
            return;
        }
        report_.threw(error, size, nanoseconds::zero());
        give_back_rest(failure_reason::exception, error);
    }

    /// Between calls the worker finds that the stop deadline has passed: drops the batch that it has made and the
    /// rest.
    void drop_rest(std::span<value_type> batch) noexcept {
        std::size_t lost = 0;
        {
            detail::lock_guard const lock(mutex_);
            lost = (given_up_ ? 0 : lose_waiting()) + lose_rest();
        }
        drop(lost, true, batch);
    }

    /// Gives back what was counted as lost: a batch that will not be called, the rest of the drained tables if it is
    /// ours, and what waits in the write table.
    void drop(std::size_t lost, bool rest_is_ours, std::span<value_type> batch) noexcept {
        report_limits();
        report_.dropped(failure_reason::stopped, lost);
        report_.give_back(batch, failure_reason::stopped, nullptr);
        if (rest_is_ours) give_back_rest(failure_reason::stopped, nullptr);
        for (auto run = stripes_.take_closed(); !run.empty(); run = stripes_.take_closed()) {
            report_.give_back(run, failure_reason::stopped, nullptr);
        }
    }

    /// Tells how many values made room for newer ones since the last time, and of a fullness that the swap ended.
    void report_limits() noexcept {
        if (!core_->observed()) return;
        std::size_t dropped = 0;
        std::array<std::optional<room>, 2> ended;
        {
            detail::lock_guard const lock(mutex_);
            auto const total = stripes_.dropped();
            dropped = static_cast<std::size_t>(total - std::exchange(overflow_reported_, total));
            ended.swap(rooms_);
        }
        for (auto const& one : ended) {
            if (one) report_.has_room(one->duration, one->refused);
        }
        report_.dropped(failure_reason::overflow, dropped);
    }

    /// The drain is over; what was requested meanwhile follows at once.
    void end() noexcept {
        {
            detail::lock_guard const lock(mutex_);
            ++ended_;
            phase_ = phase::idle;
            unwatch();
            if (!closed_ && trim_at_ == detail::never) {
                set_trim();
                set_alarm();
            }
            if (!given_up_ && (requested_ || closed_)) begin(closed_ ? drain_trigger::stop : *requested_);
        }
        if (claim_stop()) announce_stop();
        core_->changed();
    }

    /// True once, for who is to announce that the partition has come to its end.
    bool claim_stop() noexcept {
        detail::lock_guard const lock(mutex_);
        return idle_and_closed() && !std::exchange(stop_announcing_, true);
    }

    /// The last code of the user that runs for the partition, but for a call that hangs.
    void announce_stop() noexcept {
        report_limits();
        report_.partition_stopped(given_up() ? stop_reason::deadline : stop_reason::stopped);
        detail::lock_guard const lock(mutex_);
        stop_announced_ = true;
    }

    static constexpr int intervals_until_trim = 10;

    std::shared_ptr<core> const core_;
    detail::reporter<Table> report_;
    detail::stripe_set<Table> stripes_;  ///< guarded by their own locks, taken after mutex_

    // Invariant: owned by whoever runs the drain; see the life of a drain above.
    std::shared_ptr<drained_tables> drained_;
    bool prepared_ = false;

    timeout_action const action_;

    mutable detail::mutex mutex_;
    // Invariant: all below is guarded by mutex_, which is held neither while code of the user runs nor while one waits.
    // Order of locks: buffer_core, this one, then stripes, timers or jobs. remaining_ and swapped_ are written by who
    // runs the drain alone, which may therefore read them without.
    phase phase_ = phase::idle;
    bool closed_ = false;
    bool given_up_ = false;
    bool dropping_ = false;  ///< who gave up hands back what it dropped, perhaps beside the worker
    bool stop_announcing_ = false;
    bool stop_announced_ = false;
    bool lost_by_deadline_ = false;
    bool rest_lost_ = false;  ///< what the drained tables still hold is counted as dropped
    bool resumed_ = false;    ///< the drain was begun by an earlier run

    nanoseconds interval_{};
    nanoseconds overflow_timeout_{};
    std::size_t batch_size_ = 1;
    std::optional<std::size_t> threshold_;
    std::optional<std::size_t> capacity_;
    /// Fullnesses that ended and were not told of: by the last swap, and by a stop that drops what waits.
    std::array<std::optional<room>, 2> rooms_;
    std::uint64_t overflow_reported_ = 0;  ///< values dropped to make room that hooks were told of

    time_point tick_at_ = detail::never;
    time_point trim_at_ = detail::never;
    time_point stop_at_ = detail::never;
    time_point watched_until_ = detail::never;  ///< when the watchdog looks

    std::optional<drain_trigger> requested_;  ///< the drain that follows the one in progress
    drain_trigger trigger_ = drain_trigger::interval;
    std::uint64_t begun_ = 0;  ///< drains, empty ones included: what `flush` counts by
    std::uint64_t ended_ = 0;
    std::size_t swapped_ = 0;                ///< values in the drained tables when they were swapped out
    std::size_t remaining_ = 0;              ///< of these, not handed to a call yet
    std::shared_ptr<drained_tables> fresh_;  ///< in place of tables that a call which was given up looks at

    call_in_progress call_;
    detail::drain_counters counts_;
    detail::drain_counters at_close_;
};

}  // namespace tidefall::inline v0
