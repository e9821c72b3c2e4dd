// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/decisions.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
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

/// A worker's way through one drain, an object on its stack: it cuts batches, makes the calls, and settles each. It
/// owns the batch, and keeps the tables that a batch may lie in, so that a call which is abandoned has both for as long
/// as it runs.
template <typename Table>
class delivery {
public:
    using value_type = typename Table::value_type;

    /// How far it came.
    enum class outcome : std::uint8_t {
        ended,       ///< nothing is left
        paused,      ///< its time is over, and the rest is still the caller's
        expired,     ///< a stop's deadline passed: `lost` values are, which `return_rest` and the caller return
        taken_over,  ///< so it did, beside a call: others return the rest
        abandoned,   ///< the last call was, and has returned: another worker went on
    };

    /// `gathered` is lent: room for batches that no table has side by side.
    delivery(buffer_core<Table>& core, run_control& control, reporter<Table>& report,
             std::shared_ptr<drained_tables<Table>> tables, scratch<value_type>& gathered)
        : core_(core),
          control_(control),
          report_(report),
          tables_(std::move(tables)),
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

    /// The next values: in place where a table has them side by side, gathered otherwise.
    void make_batch() {
        renew_signal();
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
        auto const entry = control_.enter_call(batch_.size());
        if (!entry.ticket) return expired(entry);
        rest_ -= batch_.size();
        return make_call(*entry.ticket, [&] { core_.process().process(batch_, signal); });
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
        auto const entry = control_.enter_call(rest_);
        if (!entry.ticket) return expired(entry);
        auto const done = make_call(*entry.ticket, [&] {
            table_is_ours_ = true;
            auto whole = tables_->deliver();
            table_is_ours_ = false;
            core_.process().process(std::move(whole), signal);
        });
        return done == outcome::abandoned ? outcome::abandoned : outcome::ended;
    }

    outcome expired(call_entry const& entry) noexcept {
        lost_ = entry.lost;
        return outcome::expired;
    }

    /// Makes a call and settles it. Nothing if the rest of the drain is still the delivery's.
    template <typename F>
    std::optional<outcome> make_call(call_ticket const& ticket, F f) {
        std::exception_ptr error;
        try {
            error = thrown_by(f);
        } catch (...) {  // a forced unwind, which alone passes
            unwind(ticket);
            throw;
        }
        return settle(ticket, error != nullptr, error);
    }

    std::optional<outcome> settle(call_ticket const& ticket, bool threw, std::exception_ptr const& error) noexcept {
        auto const end = control_.leave_call(ticket, threw);
        if (end.rest == call_end::owner::late) {
            has_lost_drain_ = true;
            return_call(failure_reason::timeout, nullptr);
            control_.late_call_returned(ticket);
            core_.changed();
            return outcome::abandoned;
        }
        if (end.unnoticed) report_.failed(failure_reason::timeout, ticket.size);
        if (end.timed_out) {
            return_call(failure_reason::timeout, nullptr);
        } else if (threw) {
            report_.threw(error, ticket.size, end.duration);
            return_call(failure_reason::exception, error);
        } else {
            auto const batch = std::exchange(batch_, {});
            std::destroy(batch.begin(), batch.end());
        }
        if (end.rest == call_end::owner::taken_over) return outcome::taken_over;
        return std::nullopt;
    }

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
    scratch<value_type>& lender_;
    scratch<value_type> gathered_;  ///< a batch that no table has side by side
    std::span<value_type> loose_;   ///< taken to be gathered; empty but after a throw
    std::span<value_type> batch_;   ///< of the call, until it is settled
    std::size_t rest_ = 0;          ///< values that no call has got
    std::size_t lost_ = 0;
    bool table_is_ours_ = false;   ///< in table mode, while a call has not got it
    bool has_lost_drain_ = false;  ///< another worker has gone on, and takes the room that it needs
    bool is_taken_over_ = false;
};

}  // namespace tidefall::inline v0::detail
