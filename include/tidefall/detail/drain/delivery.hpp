// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/drain/batch_parts.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/detail/drain/reporter.hpp>
#include <tidefall/detail/drain/run_control.hpp>
#include <tidefall/detail/tables/scratch.hpp>
#include <tidefall/results.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

/// A batch of which a part was rejected, and is to be offered again. It lies where the batch lay.
template <typename V>
struct offered_again {
    std::span<V> values;
    std::size_t index = 0;     ///< of the batch in its drain
    std::size_t attempts = 0;  ///< that there were
    nanoseconds delay{};       ///< until the next one
};

/// A worker's way through one drain, an object on its stack: it cuts batches, makes the calls, and settles each. It
/// owns the batch, and keeps the tables that a batch may lie in, so that a call which is abandoned has both for as long
/// as it runs.
template <typename Table>
class delivery final : private call_services {
public:
    using value_type = typename Table::value_type;
    using offered = offered_again<value_type>;

    /// How far it came.
    enum class outcome : std::uint8_t {
        ended,       ///< nothing is left
        paused,      ///< its time is over, and the rest is still the caller's
        put_off,     ///< a batch is to wait for its time; the rest is still the caller's
        expired,     ///< a stop's deadline passed: `lost` values are, which `return_rest` and the caller return
        taken_over,  ///< so it did, beside a call: others return the rest
        abandoned,   ///< the last call was, and has returned: another worker went on
    };

    /// `again` is the batch that is offered again, if there is one. `gathered` is lent: room for batches that no table
    /// has side by side.
    delivery(buffer_core<Table>& core, run_control& control, reporter<Table>& report,
             std::shared_ptr<drained_tables<Table>> tables, offered& again, scratch<value_type>& gathered)
        : core_(core),
          control_(control),
          report_(report),
          tables_(std::move(tables)),
          again_(again),
          lender_(gathered),
          gathered_(std::move(gathered)) {}
    delivery(delivery const&) = delete;
    delivery& operator=(delivery const&) = delete;

    ~delivery() {
        if (!has_lost_drain_) lender_ = std::move(gathered_);
    }

    /// Between calls it looks at `until`: from then on it pauses. A forced unwind that leaves a call passes; the call
    /// has failed then, and another worker goes on, unless the rest was taken over.
    outcome run(run_start const& start, time_point until) {
        rest_ = start.rest;
        info_ = {.buffer = core_.name,
                 .partition = report_.partition(),
                 .drain = start.drain,
                 .trigger = start.trigger,
                 .swapped_at = start.swapped_at};
        if (core_.process().takes_table()) return rest_ > 0 ? deliver_table() : outcome::ended;
        auto error = start.is_first ? thrown_by_tables([&] { tables_->prepare(); }) : nullptr;
        while (!error && rest_ > 0) {
            if (until != never && has_passed(until, core_.schedule->now())) return outcome::paused;
            error = thrown_by_tables([&] { make_batch(); });
            if (error) break;
            if (auto const done = deliver_batch()) return *done;
        }
        if (error) fail_rest(error);
        return outcome::ended;
    }

    /// Of one that expired: how many values were dropped by it.
    [[nodiscard]] std::size_t lost() const noexcept { return lost_; }

    /// Of one that a forced unwind has left: true if the drain is the caller's to end.
    [[nodiscard]] bool is_taken_over() const noexcept { return is_taken_over_; }

    /// Returns what no call has got.
    void return_rest(failure_reason reason, std::exception_ptr const& error = nullptr) noexcept {
        report_.return_undelivered(std::exchange(batch_, {}), reason, error);
        report_.return_undelivered(std::exchange(again_.values, {}), reason, error);
        report_.return_undelivered(gathered_.release(), reason, error);
        report_.return_undelivered(std::exchange(loose_, {}), reason, error);
        return_all_of(*tables_, reason, error);
    }

private:
    /// The tables run code of the user's that no forced unwind may leave. What it throws leaves all values where
    /// `return_rest` finds them.
    template <typename F>
    static std::exception_ptr thrown_by_tables(F f) noexcept {
        return thrown_by(f);
    }

    /// The next values: those that are offered again; else in place where a table has them side by side, gathered
    /// otherwise.
    void make_batch() {
        renew_signal();
        attempt_ = 1;
        if (!again_.values.empty()) {
            batch_ = std::exchange(again_.values, {});
            attempt_ += again_.attempts;
            return;
        }
        auto const size = (std::min)(control_.batch_size(), rest_);
        auto const run = tables_->take(size);
        if (run.size() == size) {
            batch_ = run;
            return;
        }
        loose_ = run;
        gathered_.reserve(size);
        for (std::size_t count = 0; count < size; ++count) {
            if (loose_.empty()) loose_ = tables_->take(size - count);
            gathered_.push_back(std::move(loose_.front()));
            std::destroy_at(loose_.data());
            loose_ = loose_.subspan(1);
        }
        batch_ = gathered_.release();
    }

    std::optional<outcome> deliver_batch() {
        auto const signal = control_.signal();
        auto const entry = control_.enter_call(batch_.size(), attempt_ == 1);
        if (!entry.ticket) return expired(entry);
        index_ = attempt_ == 1 ? entry.ticket->index : again_.index;
        rest_ -= batch_.size();
        auto const done =
            make_call(*entry.ticket, signal, [&](call_context const& call) { core_.process().process(batch_, call); });
        if (done || !result_access::is_followed(result_)) return done;
        return follow_up();
    }

    /// What follows a batch that has its outcome: a call without values of its own, with a name of no batch.
    std::optional<outcome> follow_up() {
        auto const said = std::exchange(result_, {});
        if (thrown_by_tables([&] { renew_signal(); })) return std::nullopt;  // it comes with a later batch
        auto const signal = control_.signal();
        auto const entry = control_.enter_call(0, false);
        if (!entry.ticket) return expired(entry);
        return make_call(*entry.ticket, signal, [&](call_context const& call) {
            batch_info info = call.info;
            info.drain = info.index = 0;
            info.attempt = 1;
            result_access::call_follow_up(said, info, call.signal);
        });
    }

    /// Hands the whole table to the processor, which owns it from then on, whatever comes of the call.
    outcome deliver_table() {
        auto const error = thrown_by_tables([&] {
            renew_signal();
            tables_->merge();
        });
        if (error) {
            fail_rest(error);
            return outcome::ended;
        }
        auto const signal = control_.signal();
        auto const entry = control_.enter_call(rest_, true);
        if (!entry.ticket) return expired(entry);
        rest_ = 0;
        auto const done = make_call(*entry.ticket, signal, [&](call_context const& call) {
            table_is_ours_ = true;
            auto whole = tables_->deliver();
            table_is_ours_ = false;
            core_.process().process(std::move(whole), call);
        });
        return done == outcome::abandoned ? outcome::abandoned : outcome::ended;
    }

    outcome expired(call_entry const& entry) noexcept {
        lost_ = entry.lost;
        return outcome::expired;
    }

    /// Makes a call and settles it. Nothing if the rest of the drain is still the delivery's.
    template <typename F>
    std::optional<outcome> make_call(call_ticket const& ticket, stop_signal const& signal, F f) {
        ticket_ = ticket;
        info_.index = index_;
        info_.attempt = attempt_;
        info_.remaining = rest_;
        info_.stopping = ticket.is_last;
        info_.services = this;
        std::exception_ptr error;
        try {
            error = thrown_by([&] { f(call_context{info_, signal, result_}); });
        } catch (...) {  // a forced unwind, which alone passes
            unwind(ticket);
            throw;
        }
        if (!error && !result_access::takes_all(result_, batch_.size())) [[unlikely]] {
            std::optional<outcome> done;
            error = thrown_by_tables([&] {
                batch_verdict verdict(result_, batch_.size());
                if (!result_access::retries(result_)) verdict.refuse_rejected();
                done = settle(ticket, false, nullptr, &verdict);
            });
            if (!error) return done;
        }
        return settle(ticket, error != nullptr, error);
    }

    /// `error` is null for a forced unwind; `verdict` is of a batch that was taken in part.
    std::optional<outcome> settle(call_ticket const& ticket, bool threw, std::exception_ptr const& error,
                                  batch_verdict* verdict = nullptr) noexcept {
        call_outcome came{.threw = threw};
        if (verdict != nullptr) {
            came.rejected = verdict->count(batch_verdict::of_value::rejected);
            came.refused = verdict->count(batch_verdict::of_value::refused);
        }
        auto const end = control_.leave_call(ticket, came);
        if (end.rest == call_end::owner::late) {
            has_lost_drain_ = true;
            return_call(failure_reason::timeout, nullptr);
            control_.late_call_returned(ticket);
            core_.changed();
            return outcome::abandoned;
        }
        auto const taken_over = end.rest == call_end::owner::taken_over;
        auto const goes_on = taken_over ? std::optional(outcome::taken_over) : std::nullopt;
        if (end.unnoticed) report_.failed(failure_reason::timeout, ticket.size);
        if (end.timed_out) {
            return_call(failure_reason::timeout, nullptr);
        } else if (threw) {
            report_.threw(error, ticket.size, end.duration);
            return_call(failure_reason::exception, error);
        } else if (verdict == nullptr) {
            auto const batch = std::exchange(batch_, {});
            std::destroy(batch.begin(), batch.end());
            return goes_on;
        } else {
            auto const put_off = part(*verdict, came, end.offers_again);
            result_ = {};
            return put_off ? outcome::put_off : goes_on;
        }
        result_ = {};
        return goes_on;
    }

    /// Parts a batch that was taken in part. True if some of it is to be offered again.
    bool part(batch_verdict& verdict, call_outcome const& came, bool offers_again) noexcept {
        using of_value = batch_verdict::of_value;
        auto const& error = result_access::error(result_);
        if (!offers_again) verdict.refuse_rejected();
        batch_parts<value_type> parts(std::exchange(batch_, {}), verdict);
        parts.destroy(of_value::taken);
        report_.rejected(error, came.refused + (offers_again ? 0 : came.rejected));
        auto const give_back = [&](std::span<value_type> run) {
            report_.return_undelivered(run, failure_reason::rejected, error);
        };
        if (!offers_again) {
            std::span<value_type> all;
            if (thrown_by_tables([&] { all = parts.gather(of_value::refused); })) {
                parts.each_stranded(of_value::refused, give_back);
            } else {
                give_back(all);
            }
            return false;
        }
        parts.each_run(of_value::refused, give_back);
        if (auto const fault = thrown_by_tables([&] { again_.values = parts.gather(of_value::rejected); })) {
            auto const failed = control_.fail_of_rest(came.rejected);
            report_.threw(fault, failed, nanoseconds::zero());
            parts.each_stranded(of_value::rejected, [&](std::span<value_type> run) {
                if (failed > 0) {
                    report_.return_undelivered(run, failure_reason::exception, fault);
                } else {  // a stop has dropped them before
                    report_.return_undelivered(run, failure_reason::stopped);
                }
            });
            return false;
        }
        again_.index = index_;
        again_.attempts = attempt_;
        again_.delay = result_access::delay(result_);
        report_.retried(error, came.rejected, attempt_, again_.delay);
        return true;
    }

    // ---- asked during a call, by a decorator

    bool settle() noexcept override { return control_.settle_call(ticket_); }
    bool is_abandoned() const noexcept override { return control_.is_abandoned(ticket_); }
    outcome_news& news() noexcept override { return report_; }

    /// A forced unwind leaves the call: it has failed, and another worker goes on.
    void unwind(call_ticket const& ticket) noexcept {
        auto const done = settle(ticket, true, nullptr);
        if (done == outcome::abandoned) return;
        is_taken_over_ = done == outcome::taken_over;
        has_lost_drain_ = true;
        if (is_taken_over_) return;
        control_.hand_over();
        core_.changed();
    }

    /// Returns what a call did not take.
    void return_call(failure_reason reason, std::exception_ptr const& error) noexcept {
        report_.return_undelivered(std::exchange(batch_, {}), reason, error);
        if (std::exchange(table_is_ours_, false)) return_all_of(*tables_, reason, error);
    }

    void return_all_of(drained_tables<Table>& tables, failure_reason reason, std::exception_ptr const& error) noexcept {
        for (auto run = tables.take(); !run.empty(); run = tables.take()) {
            report_.return_undelivered(run, reason, error);
        }
    }

    /// Sorting or gathering threw: what is left fails, each value counted once.
    void fail_rest(std::exception_ptr const& error) noexcept {
        auto const size = control_.fail_rest();
        if (size == 0) {  // a stop has dropped them before
            return_rest(failure_reason::stopped);
            return;
        }
        report_.threw(error, size, nanoseconds::zero());
        return_rest(failure_reason::exception, error);
    }

    void renew_signal() {
        if (core_.process().takes_token()) control_.renew_signal();
    }

    buffer_core<Table>& core_;
    run_control& control_;
    reporter<Table>& report_;
    std::shared_ptr<drained_tables<Table>> const tables_;
    offered& again_;
    scratch<value_type>& lender_;
    scratch<value_type> gathered_;  ///< a batch that no table has side by side
    std::span<value_type> loose_;   ///< taken to be gathered; empty but after a throw
    std::span<value_type> batch_;   ///< of the call, until it is settled
    std::size_t index_ = 0;         ///< of the batch in its drain
    std::size_t attempt_ = 1;
    std::size_t rest_ = 0;  ///< values that no call has got
    call_ticket ticket_;    ///< of the call
    batch_info info_;
    batch_result result_;  ///< of the call; says nothing between calls
    std::size_t lost_ = 0;
    bool table_is_ours_ = false;   ///< in table mode, while a call has not got it
    bool has_lost_drain_ = false;  ///< another worker has gone on, and takes the room that it needs
    bool is_taken_over_ = false;
};

}  // namespace tidefall::inline v0::detail
