// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/write/stripes.hpp>
#include <tidefall/options.hpp>
#include <tidefall/partition.hpp>
#include <tidefall/results.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// All partitions of one buffer, for what is asked of them together: flush, stop, counters. A processor that runs on
/// the calling thread may destroy the buffer meanwhile: who calls holds a share of this.
template <typename Table>
class partition_set {
public:
    /// `stripes` in each.
    partition_set(std::shared_ptr<buffer_core<Table>> core, options const& how, std::size_t stripes)
        : core_(std::move(core)) {
        all_.reserve(how.partitions);
        for (std::size_t index = 0; index < how.partitions; ++index) {
            auto const its = std::span(core_->stripes.get() + index * stripes, stripes);
            all_.emplace_back(new partition<Table>(core_, index, its, how));
        }
    }
    partition_set(partition_set const&) = delete;
    partition_set& operator=(partition_set const&) = delete;

    void start() const noexcept {
        for (auto const& one : all_) one->start();
    }

    [[nodiscard]] std::size_t count() const noexcept { return all_.size(); }
    [[nodiscard]] std::shared_ptr<partition<Table>> const& operator[](std::size_t index) const noexcept {
        return all_[index];
    }

    [[nodiscard]] std::size_t waiting() const noexcept {
        std::size_t total = 0;
        for (auto const& one : all_) total += one->size();
        return total;
    }

    [[nodiscard]] buffer_stats stats() const noexcept {
        buffer_stats result;
        bool const alone = core_->home.left();
        for (auto const& one : all_) alone ? one->count_alone_in(result) : one->count_in(result);
        result.hook_failures = core_->hook_failures();
        return result;
    }

    void apply(options_update const& update) const noexcept {
        if (!update.total_capacity) {
            for (auto const& one : all_) one->apply(update);
            return;
        }
        lock_guard const lock(total_changes_);
        bool const anew = core_->total.change(*update.total_capacity);
        for (auto const& one : all_) one->apply(update, anew);
        if (core_->total.take_slack()) give_back_slack();
        if (core_->total.is_reached()) start_drains();
    }

    // ---- where the limit of all partitions together is reached

    void give_back_slack() const noexcept {
        for (auto const& one : all_) one->give_back_slack();
    }
    /// Each that holds values drains.
    void start_drains() const noexcept {
        for (auto const& one : all_) one->start_drain(drain_trigger::capacity);
    }
    /// The same at once, without threads.
    void begin_drains() const noexcept {
        for (auto const& one : all_) one->begin_drain();
    }
    void tell_room_by_total() const noexcept {
        for (auto const& one : all_) one->tell_room_by_total();
    }

    /// Starts a drain of each, and waits for them until that time.
    [[nodiscard]] drain_report flush(time_point by) const {
        std::vector<std::uint64_t> drains(count());
        auto const before = stats();
        auto const abandoned_before = abandoned();
        for (std::size_t i = 0; i < drains.size(); ++i) drains[i] = all_[i]->flush();
        bool complete = true;
        for (std::size_t i = 0; i < drains.size(); ++i) {
            auto const& control = all_[i]->control_;
            bool const settled = core_->wait_until([&] { return control.is_settled(drains[i]); }, [&] { return by; });
            complete = complete && settled && control.is_complete(drains[i]);
        }
        auto const after = stats();
        return {.processed = after.processed - before.processed,
                .failed = after.failed - before.failed,
                .dropped = after.dropped - before.dropped,
                .abandoned = abandoned() - abandoned_before,
                .complete = complete};
    }

    /// Closes each, and does not wait.
    void close(time_point deadline) const noexcept {
        for (auto const& one : all_) one->close(deadline);
    }

    /// Closes each and waits for its end until that time; then what waits is dropped. Every call has the same report.
    drain_report stop(time_point by) const {
        close(by);
        for (auto const& one : all_) {
            auto const& control = one->control_;
            auto const ended = [&] { return control.has_ended(); };
            if (core_->wait_until(ended, [&] { return control.stop_deadline(); })) continue;
            one->expire();
        }
        // A worker that was sorting, or returning values, ends that; it should not take long.
        auto const bound = later(core_->schedule->now(), grace);
        for (auto const& one : all_) {
            core_->wait_until([&] { return one->control_.has_ended(); }, [&] { return bound; });
        }
        return core_->settle_report([&] {
            drain_report report;
            for (auto const& one : all_) one->control_.count_in(report);
            return report;
        });
    }

    /// Of those that were stopped: true while code of the user may be running for one all the same.
    [[nodiscard]] bool is_in_use() const noexcept {
        return std::any_of(all_.begin(), all_.end(), [](auto const& one) { return one->control_.is_in_use(); });
    }

    /// After a stop: waits for the calls that run all the same, and the batches that are out. After so long it says so.
    /// A manual runtime leaves such batches.
    void wait_for_calls(nanoseconds until_said) const noexcept {
        for (auto const& one : all_) one->stop_running_call();
        bool const leaves_batches = core_->schedule->manual();  // nobody else has the time in which they end
        auto const ended = [&] { return leaves_batches ? !is_running() : !is_in_use(); };
        if (core_->wait_for(ended, until_said)) return;
        std::fprintf(stderr,
                     "tidefall: buffer \"%s\" is being destroyed and waits for a call of its processor that does not "
                     "end, although its token was stopped (options::calls_at_destruction).\n",
                     core_->name.c_str());
        core_->wait_for(ended, (nanoseconds::max)());
    }

    /// Of those that stopped and are not in use: frees their tables.
    void retire() const noexcept {
        for (auto const& one : all_) one->retire();
    }

private:
    [[nodiscard]] bool is_running() const noexcept {
        return std::any_of(all_.begin(), all_.end(), [](auto const& one) { return one->control_.is_running(); });
    }

    [[nodiscard]] std::uint64_t abandoned() const noexcept {
        std::uint64_t total = 0;
        for (auto const& one : all_) total += one->control_.abandoned();
        return total;
    }

    std::shared_ptr<buffer_core<Table>> const core_;
    mutable mutex total_changes_;  ///< held while the limit of all changes; before the mutex of a partition
    std::vector<std::shared_ptr<partition<Table>>> all_;
};

}  // namespace tidefall::inline v0::detail
