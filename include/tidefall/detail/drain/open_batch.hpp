// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/async_batch.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/drain/batch_control.hpp>
#include <tidefall/detail/drain/batch_parts.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/detail/drain/reporter.hpp>
#include <tidefall/detail/tables/destroy_to_reuse.hpp>
#include <tidefall/detail/tables/scratch.hpp>
#include <tidefall/results.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

/// A batch from when it is cut until it has its outcome, and the call that it is handed to: its values, what is said of
/// them, and how they end. It keeps the tables that they lie in, so that a call which is abandoned has them for as long
/// as it runs. An object serves one batch after another; the partition owns it.
///
/// Most processors end a batch by returning: `settle`. With `async_batch` it may end at any time, on any thread.
template <typename Table>
class open_batch final : public call_in_progress,
                         public batch_that_is_out<typename Table::value_type>,
                         private call_services {
public:
    using value_type = typename Table::value_type;

    open_batch(buffer_core<Table>& core, batch_control& control, reporter<Table>& report)
        : core_(core), control_(control), report_(report) {}

    // ---- before the call: the worker's

    /// Values that lie side by side in `tables`, or in `room()`.
    void fill(std::span<value_type> values, std::shared_ptr<drained_tables<Table>> const& tables) noexcept {
        values_ = values;
        attempts_ = 0;
        if (tables_ != tables) tables_ = tables;
    }
    /// Where values are gathered that no table has side by side.
    [[nodiscard]] scratch<value_type>& room() noexcept { return gathered_; }
    [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }

    /// It serves no batch: forgets the tables of the last one.
    void forget_tables() noexcept { tables_.reset(); }

    /// Takes the values out, for the caller to return.
    [[nodiscard]] std::span<value_type> take() noexcept { return std::exchange(values_, {}); }

    /// The call is about to be made. Of `about` what belongs to the batch is set here.
    void begin_call(call_ticket const& ticket, batch_info const& about) noexcept {
        ticket_ = ticket;
        info_ = about;
        info_.index = index();
        info_.attempt = ++attempts_;
        info_.remaining = ticket.remaining;
        info_.stopping = ticket.is_last;
        info_.services = this;
    }
    [[nodiscard]] call_context context() noexcept { return {info_, signal(), result_}; }
    [[nodiscard]] batch_result& result() noexcept { return result_; }

    [[nodiscard]] call_services& services() noexcept { return *this; }

    /// Of a call with a whole table, until the processor owns it.
    void set_table_is_ours(bool is) noexcept { table_is_ours_ = is; }

    // ---- the call returned, and so the batch has its outcome

    /// What became of a batch.
    struct settlement {
        call_end::owner rest = call_end::owner::mine;
        bool offers_again = false;  ///< a part of it waits
        bool is_gone = false;       ///< the object is the control's: it serves another batch, or is late
    };

    /// `error` is null for a forced unwind.
    settlement settle(bool threw, std::exception_ptr const& error) noexcept {
        auto const end =
            sort_out(threw, error, [&](call_outcome const& came) { return control_.leave_call(*this, ticket_, came); });
        if (end.rest == call_end::owner::late) {
            tables_.reset();
            control_.late_call_returned(*this);
            core_.changed();
            return {.rest = end.rest, .is_gone = true};
        }
        if (!end.offers_again) return {.rest = end.rest};
        return {.rest = end.rest, .offers_again = put_off(), .is_gone = true};
    }

    // ---- the batch is somebody's, who ends it

    /// From now on the partition is kept. The worker is about to hand it over.
    void hand_over(std::shared_ptr<void> partition) noexcept { keep_ = std::move(partition); }

    void complete(batch_result&& result) noexcept override {
        result_ = std::move(result);
        conclude(false, nullptr);
    }
    void fail(std::exception_ptr error) noexcept override { conclude(true, error ? error : broken()); }
    void give_up() noexcept override {
        if (core_.home.left() || control_.give_up(*this)) conclude(true, broken());
    }

    [[nodiscard]] std::span<value_type> batch() const noexcept override { return values_; }
    [[nodiscard]] batch_info const& about() const noexcept override { return info_; }
    [[nodiscard]] stop_signal const& stops() const noexcept override { return signal(); }

    [[nodiscard]] static std::exception_ptr broken() noexcept { return std::make_exception_ptr(broken_batch()); }

private:
    /// Ends the batch, and the drain where nobody else would.
    void conclude(bool threw, std::exception_ptr const& error) noexcept {
        auto const keep = std::move(keep_);
        if (core_.home.left()) {  // what there is is the parent's, and may be locked for ever
            leave_forever(keep);
            return;
        }
        auto const end =
            sort_out(threw, error, [&](call_outcome const& came) { return control_.complete(*this, ticket_, came); });
        if (end.rest == call_end::owner::late) {
            tables_.reset();
            control_.late_batch_completed(*this);
        } else {
            put_off();
        }
        core_.changed();
    }

    void finish() noexcept {
        auto const drained = control_.swapped();
        if (!control_.finish(*this)) return;
        report_.processing_stopped(drained);
        static_cast<void>(control_.end_drain());  // a stop expired, and whoever did that announced the end
    }

    /// What is to be offered again, if anything, lies ready: it waits for its time. False if it was dropped instead.
    bool put_off() noexcept {
        if (!values_.empty()) {
            if (control_.offer_again(*this)) return true;
            report_.return_undelivered(take(), failure_reason::stopped);
        }
        finish();
        return false;
    }

    /// Has every value go where it goes. `leave(outcome)` tells the control, which says how the call ended. What is to
    /// be offered again is left in `values_`.
    template <typename Leave>
    call_end sort_out(bool threw, std::exception_ptr const& error, Leave leave) noexcept {
        call_end end;
        if (!threw && !result_access::takes_all(result_, values_.size())) [[unlikely]] {
            auto const fault = thrown_by([&] {
                batch_verdict verdict(result_, values_.size());
                end = sort_out(false, nullptr, leave, &verdict);
            });
            if (fault) end = sort_out(true, fault, leave, nullptr);
        } else {
            end = sort_out(threw, error, leave, nullptr);
        }
        return end;
    }

    template <typename Leave>
    call_end sort_out(bool threw, std::exception_ptr const& error, Leave& leave, batch_verdict* verdict) noexcept {
        call_outcome came{.threw = threw};
        if (verdict != nullptr) {
            if (!result_access::retries(result_)) verdict->refuse_rejected();
            came.rejected = verdict->count(batch_verdict::of_value::rejected);
            came.refused = verdict->count(batch_verdict::of_value::refused);
            came.delay = result_access::delay(result_);
        }
        call_end const end = leave(came);
        if (end.rest == call_end::owner::late) {
            return_values(failure_reason::timeout, nullptr);
        } else if (end.timed_out) {
            if (end.unnoticed) report_.failed(failure_reason::timeout, ticket_.size);
            return_values(failure_reason::timeout, nullptr);
        } else if (threw) {
            report_.threw(error, ticket_.size, end.duration);
            return_values(failure_reason::exception, error);
        } else if (verdict == nullptr) {
            destroy_to_reuse(take());
            return end;  // what it says beside that is for `follow_up`
        } else {
            part(*verdict, came, end.offers_again);
        }
        result_ = {};
        return end;
    }

    /// Parts a batch that was taken in part.
    void part(batch_verdict& verdict, call_outcome const& came, bool offers_again) noexcept {
        using of_value = batch_verdict::of_value;
        auto const& error = result_access::error(result_);
        if (!offers_again) verdict.refuse_rejected();
        batch_parts<value_type> parts(take(), verdict);
        parts.destroy(of_value::taken);
        report_.rejected(error, came.refused + (offers_again ? 0 : came.rejected));
        auto const give_back = [&](std::span<value_type> run) {
            report_.return_undelivered(run, failure_reason::rejected, error);
        };
        if (!offers_again) {
            std::span<value_type> all;
            if (thrown_by_move([&] { all = parts.gather(of_value::refused); })) {
                parts.each_stranded(of_value::refused, give_back);
            } else {
                give_back(all);
            }
            return;
        }
        parts.each_run(of_value::refused, give_back);
        if (auto const fault = thrown_by_move([&] { values_ = parts.gather(of_value::rejected); })) {
            auto const failed = control_.fail_again(came.rejected);
            report_.threw(fault, failed, nanoseconds::zero());
            parts.each_stranded(of_value::rejected, [&](std::span<value_type> run) {
                if (failed > 0) {
                    report_.return_undelivered(run, failure_reason::exception, fault);
                } else {  // a stop has dropped them before
                    report_.return_undelivered(run, failure_reason::stopped);
                }
            });
            return;
        }
        report_.retried(error, came.rejected, attempts_, came.delay);
    }

    /// The moves of values are code of the user's that no forced unwind may leave.
    template <typename F>
    static std::exception_ptr thrown_by_move(F f) noexcept {
        return thrown_by(f);
    }

    /// Returns what a call did not take.
    void return_values(failure_reason reason, std::exception_ptr const& error) noexcept {
        report_.return_undelivered(take(), reason, error);
        if (std::exchange(table_is_ours_, false)) report_.return_all_of(*tables_, reason, error);
    }

    // ---- asked during a call, by a decorator

    bool settle() noexcept override { return control_.settle_call(*this); }
    bool is_abandoned() const noexcept override { return control_.is_abandoned(*this); }
    outcome_news& news() noexcept override { return report_; }
    bool is_stopped() const noexcept override { return control_.is_token_stopped(*this); }
    void wait_at(std::shared_ptr<waiting_place> place) noexcept override { control_.wait_at(*this, std::move(place)); }

    buffer_core<Table>& core_;
    batch_control& control_;
    reporter<Table>& report_;
    std::shared_ptr<void> keep_;  ///< the partition, while the batch is somebody's
    std::shared_ptr<drained_tables<Table>> tables_;
    scratch<value_type> gathered_;
    std::span<value_type> values_;
    std::size_t attempts_ = 0;
    call_ticket ticket_;
    batch_info info_;
    batch_result result_;  ///< says nothing between calls
    bool table_is_ours_ = false;
};

}  // namespace tidefall::inline v0::detail
