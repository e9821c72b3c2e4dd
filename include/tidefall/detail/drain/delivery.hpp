// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/async_batch.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/detail/drain/open_batch.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/detail/drain/reporter.hpp>
#include <tidefall/detail/drain/run_control.hpp>
#include <tidefall/detail/tables/destroy_to_reuse.hpp>
#include <tidefall/results.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// The batches of one partition that there are, whatever they do. Its worker's alone.
template <typename Table>
using all_batches = std::vector<std::unique_ptr<open_batch<Table>>>;

/// A worker's way through one drain, an object on its stack: it cuts batches and makes the calls.
template <typename Table>
class delivery final {
public:
    using value_type = typename Table::value_type;

    /// How far it came.
    enum class outcome : std::uint8_t {
        ended,       ///< nothing is left
        paused,      ///< its time is over, and the rest is still the caller's
        waits,       ///< there is nothing to do before something else happens; the rest is still the caller's
        expired,     ///< a stop's deadline passed: `lost` values are, which `return_rest` and the caller return
        taken_over,  ///< so it did, beside a call: others return the rest
        abandoned,   ///< the last call was, and has returned: another worker went on
    };

    /// `all` are the batches that there are, one more where it takes one. `spare` is one of them that serves no batch,
    /// null if there is none: it is lent. `its` is the partition.
    delivery(task& its, buffer_core<Table>& core, run_control& control, reporter<Table>& report,
             std::shared_ptr<drained_tables<Table>> tables, all_batches<Table>& all, open_batch<Table>*& spare)
        : task_(its),
          core_(core),
          control_(control),
          report_(report),
          tables_(std::move(tables)),
          batches_(all),
          here_(core.this_thread()),
          lender_(spare),
          batch_(std::exchange(spare, nullptr)) {}
    delivery(delivery const&) = delete;
    delivery& operator=(delivery const&) = delete;

    ~delivery() {
        if (batch_ == nullptr) return;
        if (has_lost_drain_) {
            control_.put_aside(*batch_);
        } else {
            lender_ = batch_;
        }
    }

    /// Between calls it looks at `until`: from then on it pauses. A forced unwind that leaves a call passes; the call
    /// has failed then, and another worker goes on, unless the rest was taken over.
    outcome run(run_start const& start, time_point until) {
        using order = next_step::order;
        info_ = {.buffer = core_.name,
                 .partition = report_.partition(),
                 .drain = start.drain,
                 .trigger = start.trigger,
                 .swapped_at = start.swapped_at};
        bool const whole = core_.process().takes_table();
        if (start.is_first && !whole) {
            if (auto const error = thrown_by_tables([&] { tables_->prepare(); })) fail_fresh(error);
        }
        for (;;) {
            auto const next = control_.next(until, whole);
            switch (next.what) {
                case order::end: return outcome::ended;
                case order::wait: return outcome::waits;
                case order::pause: return outcome::paused;
                case order::expired: return expired(next.lost);
                case order::cut: break;
                case order::offer: take_again(*next.call); break;
            }
            bool const is_cut = next.what == order::cut;
            // One that is offered again is ready, and so is its token: of those that were stopped none is.
            if (auto const error = is_cut ? thrown_by_tables([&] { make_batch(next, whole); }) : nullptr) {
                fail_fresh(error);
                continue;
            }
            if (auto const done = deliver(whole ? next.size : batch_->size(), is_cut, whole)) return *done;
        }
    }

    /// Of one that expired: how many values were dropped by it.
    [[nodiscard]] std::size_t lost() const noexcept { return lost_; }

    /// Of one that a forced unwind has left: true if the drain is the caller's to end.
    [[nodiscard]] bool is_taken_over() const noexcept { return is_taken_over_; }

    /// Returns what this worker has.
    void return_rest(failure_reason reason, std::exception_ptr const& error = nullptr) noexcept {
        if (batch_ != nullptr) {
            report_.return_undelivered(batch_->take(), reason, error);
            report_.return_undelivered(batch_->room().release(), reason, error);
        }
        report_.return_undelivered(std::exchange(loose_, {}), reason, error);
    }

private:
    static constexpr std::size_t no_room = (std::numeric_limits<std::size_t>::max)();
    using settlement = typename open_batch<Table>::settlement;

    /// The tables run code of the user's that no forced unwind may leave. What it throws leaves all values where
    /// `return_rest` finds them.
    template <typename F>
    static std::exception_ptr thrown_by_tables(F f) noexcept {
        return thrown_by(f);
    }

    /// The batch that is offered again takes the place of the one at hand.
    void take_again(call_in_progress& call) noexcept {
        if (batch_ != nullptr) control_.put_aside(*batch_);
        batch_ = &static_cast<open_batch<Table>&>(call);
    }

    /// Has a batch ready: the next values, in place where a table has them side by side, gathered otherwise.
    void make_batch(next_step const& next, bool whole) {
        if (batch_ == nullptr) get_batch();
        renew_signal();
        if (whole) {
            batch_->fill({}, tables_);
            tables_->merge();
            return;
        }
        if constexpr (weighed<Table>) {
            if (next.weight != next_step::any_weight) return cut_by_weight(next.size, next.weight);
        }
        cut(next.size);
    }

    /// So many values.
    void cut(std::size_t size) {
        auto const run = tables_->take(size);
        if (run.size() == size) {
            batch_->fill(run, tables_);
            return;
        }
        loose_ = run;  // taken, whatever throws
        batch_->room().reserve(size);
        gather(run);
        for (auto count = run.size(); count < size;) {
            auto const more = tables_->take(size - count);
            count += more.size();
            gather(more);
        }
        batch_->fill(batch_->room().release(), tables_);
    }

    /// So many values at most, and no more than weigh so much, but one at least.
    void cut_by_weight(std::size_t size, std::size_t limit) requires(weighed<Table>) {
        std::size_t weight = 0;
        for (std::size_t count = 0;;) {
            auto const ahead = tables_->look_ahead();
            auto const fitting = fit(ahead.first((std::min)(ahead.size(), size - count)), limit, weight, count == 0);
            bool const is_full = fitting < ahead.size() || count + fitting == size;
            if (count == 0 && is_full) {
                batch_->fill(tables_->take(fitting), tables_);
                return;
            }
            if (count == 0) batch_->room().reserve(size);
            gather(tables_->take(fitting));
            count += fitting;
            if (is_full) break;
        }
        batch_->fill(batch_->room().release(), tables_);
    }

    /// How many of the values fit beside what weighs `weight`, to which theirs is added.
    static std::size_t fit(std::span<value_type const> values, std::size_t limit, std::size_t& weight, bool is_first) {
        std::size_t count = 0;
        for (; count < values.size(); ++count) {
            auto const more = Table::weight_of(values[count]);
            bool const fits = weight <= limit && more <= limit - weight;
            if (!fits && !(is_first && count == 0)) break;
            weight = fits ? weight + more : no_room;
        }
        return count;
    }

    /// Moves values out of a table to where the batch is gathered. Those of which a move throws stay in `loose_`.
    void gather(std::span<value_type> run) {
        for (loose_ = run; !loose_.empty(); loose_ = loose_.subspan(1)) {
            batch_->room().push_back(std::move(loose_.front()));
            std::destroy_at(loose_.data());
        }
        leave_written(run);
    }

    void get_batch() {
        if (auto* const idle = control_.take_idle()) {
            batch_ = static_cast<open_batch<Table>*>(idle);
        } else {
            batches_.push_back(std::make_unique<open_batch<Table>>(core_, control_, report_));
            batch_ = batches_.back().get();
        }
    }

    /// Makes the call for the batch at hand. Nothing if the rest of the drain is still the delivery's.
    std::optional<outcome> deliver(std::size_t size, bool is_cut, bool whole) {
        auto const entry = control_.enter_call(*batch_, size, is_cut);
        if (!entry.ticket) return expired(entry.lost);
        batch_->begin_call(*entry.ticket, info_);
        if (core_.process().takes_async()) return deliver_later();
        auto const done = make_call([&](call_context const& call) {
            if (whole) {
                hand_over_table(call);
            } else {
                core_.process().process(batch_->batch(), call);
            }
        });
        if (done || batch_ == nullptr || !result_access::is_followed(batch_->result())) return done;
        return follow_up();
    }

    /// The processor owns the table from then on, whatever comes of the call.
    void hand_over_table(call_context const& call) {
        batch_->set_table_is_ours(true);
        auto table = tables_->deliver();
        batch_->set_table_is_ours(false);
        core_.process().process(std::move(table), call);
    }

    /// What follows a batch that has its outcome: a call without values of its own, with a name of no batch.
    std::optional<outcome> follow_up() {
        // Its token was not stopped, but by a stop whose deadline has passed: then there is no call.
        auto const said = std::exchange(batch_->result(), {});
        batch_->fill({}, tables_);
        auto const entry = control_.enter_call(*batch_, 0, true);
        if (!entry.ticket) return expired(entry.lost);
        batch_->begin_call(*entry.ticket, info_);
        return make_call([&](call_context const& call) {
            batch_info info = call.info;
            info.drain = info.index = 0;
            result_access::call_follow_up(said, info, call.signal);
        });
    }

    outcome expired(std::size_t lost) noexcept {
        lost_ = lost;
        return outcome::expired;
    }

    /// Marks the thread as inside a call.
    class inside_call {
    public:
        inside_call(thread_state& here, call_services& call) noexcept
            : here_(here), outer_(std::exchange(here.call, &call)) {}
        ~inside_call() { here_.call = outer_; }
        inside_call(inside_call const&) = delete;
        inside_call& operator=(inside_call const&) = delete;

    private:
        thread_state& here_;
        call_services* const outer_;
    };

    /// Makes a call and settles it.
    template <typename F>
    std::optional<outcome> make_call(F f) {
        std::exception_ptr error;
        try {
            error = thrown_by([&] {
                inside_call const here(here_, batch_->services());
                f(batch_->context());
            });
        } catch (...) {  // a forced unwind, which alone passes
            leave_drain(after(batch_->settle(true, nullptr)));
            throw;
        }
        return after(batch_->settle(error != nullptr, error));
    }

    std::optional<outcome> after(settlement const& settled) noexcept {
        if (settled.is_gone) batch_ = nullptr;
        switch (settled.rest) {
            case call_end::owner::late: return outcome::abandoned;
            case call_end::owner::taken_over: return outcome::taken_over;
            case call_end::owner::mine: break;
        }
        if (settled.offers_again) return outcome::waits;  // behind what other partitions have to do
        return std::nullopt;
    }

    /// Hands the batch to a processor that ends it when it likes.
    std::optional<outcome> deliver_later() {
        auto& batch = *std::exchange(batch_, nullptr);
        batch.hand_over(task_.shared_from_this());
        std::exception_ptr error;
        try {
            error = thrown_by([&] {
                inside_call const here(here_, batch.services());
                core_.process().process(async_batch<value_type>(batch));
            });
        } catch (...) {  // a forced unwind, which alone passes
            leave_drain(after_later_call(batch, nullptr));
            throw;
        }
        return after_later_call(batch, error);
    }

    std::optional<outcome> after_later_call(open_batch<Table>& batch, std::exception_ptr const& error) noexcept {
        auto const returned = control_.leave_later_call(batch);
        if (returned.is_given_up) {
            batch.fail(error);
        } else if (error) {
            report_.threw_without_batch(error);
        }
        if (returned.late) {
            core_.changed();
            return outcome::abandoned;
        }
        if (returned.is_dropped) report_.return_undelivered(batch.take(), failure_reason::stopped);
        if (returned.is_free || returned.is_dropped) batch_ = &batch;
        if (returned.taken_over) return outcome::taken_over;
        if (returned.offers_again) return outcome::waits;
        return std::nullopt;
    }

    /// A forced unwind leaves the call, and another worker goes on, unless others have.
    void leave_drain(std::optional<outcome> done) noexcept {
        if (done == outcome::abandoned) return;
        is_taken_over_ = done == outcome::taken_over;
        if (is_taken_over_) return;
        has_lost_drain_ = true;
        control_.hand_over();
        core_.changed();
    }

    /// Sorting or gathering threw: what no call has had fails, each value counted once.
    void fail_fresh(std::exception_ptr const& error) noexcept {
        auto const size = control_.fail_fresh();
        if (size == 0) return;  // a stop has dropped them before
        report_.threw(error, size, nanoseconds::zero());
        return_rest(failure_reason::exception, error);
        report_.return_all_of(*tables_, failure_reason::exception, error);
    }

    void renew_signal() {
        if (core_.process().takes_token()) batch_->renew_signal();
    }

    task& task_;
    buffer_core<Table>& core_;
    run_control& control_;
    reporter<Table>& report_;
    std::shared_ptr<drained_tables<Table>> const tables_;
    all_batches<Table>& batches_;
    thread_state& here_;
    open_batch<Table>*& lender_;
    open_batch<Table>* batch_;     ///< the one at hand, which no call has; null: there is none
    std::span<value_type> loose_;  ///< taken to be gathered; empty but after a throw
    batch_info info_;              ///< of the drain
    std::size_t lost_ = 0;
    bool has_lost_drain_ = false;  ///< another worker goes on, and this one has a batch at hand
    bool is_taken_over_ = false;
};

}  // namespace tidefall::inline v0::detail
