// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/drain/drained_tables.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <span>

namespace tidefall::inline v0::detail {

/// Tells the user what becomes of one partition: its events, and what it could not deliver. Code of the user runs in
/// every function; no lock is held.
template <typename Table>
class reporter final : public outcome_news {
public:
    using value_type = typename Table::value_type;

    reporter(buffer_core<Table>& core, std::size_t partition) noexcept : core_(core), partition_(partition) {}

    [[nodiscard]] std::size_t partition() const noexcept { return partition_; }

    void partition_started() noexcept {
        started_ = now();
        core_.tell(&telemetry_hook::on_partition_start,
                   {.buffer = core_.name, .partition = partition_, .system_time = wall_clock::now()});
    }

    void partition_stopped(stop_reason reason) noexcept {
        core_.tell(&telemetry_hook::on_partition_stop, {.buffer = core_.name,
                                                        .partition = partition_,
                                                        .duration = now() - started_,
                                                        .reason = reason,
                                                        .note = core_.stop_note()});
    }

    void processing_started(std::size_t size, drain_trigger trigger) noexcept {
        if (!core_.observed()) return;
        processing_since_ = now();
        core_.tell(&telemetry_hook::on_processing_start, {.buffer = core_.name,
                                                          .partition = partition_,
                                                          .system_time = wall_clock::now(),
                                                          .monotonic_time = processing_since_,
                                                          .size = size,
                                                          .trigger = trigger});
    }

    void processing_stopped(std::size_t size) noexcept {
        if (!core_.observed()) return;
        auto const done = now();
        core_.tell(&telemetry_hook::on_processing_stop, {.buffer = core_.name,
                                                         .partition = partition_,
                                                         .duration = done - processing_since_,
                                                         .monotonic_time = done,
                                                         .size = size});
    }

    void threw(std::exception_ptr const& error, std::size_t size, nanoseconds duration) noexcept {
        if (size == 0) return;
        core_.say_unheard(size, failure_reason::exception, error);
        core_.tell_exception({.buffer = core_.name,
                              .partition = partition_,
                              .duration = duration,
                              .monotonic_time = now(),
                              .error = error,
                              .size = size});
        failed(failure_reason::exception, size);
    }

    /// A call threw whose batch ends otherwise.
    void threw_without_batch(std::exception_ptr const& error) noexcept {
        core_.tell_exception(
            {.buffer = core_.name, .partition = partition_, .monotonic_time = now(), .error = error, .size = 0});
    }

    /// The processor took the rest of a batch.
    void rejected(std::exception_ptr const& error, std::size_t size) noexcept {
        failed(failure_reason::rejected, size, error);
    }

    void failed(failure_reason reason, std::size_t size, std::exception_ptr const& error = nullptr) noexcept {
        if (size == 0) return;
        core_.say_unheard(size, reason, error);
        core_.tell(&telemetry_hook::on_processing_failed, {.buffer = core_.name,
                                                           .partition = partition_,
                                                           .system_time = wall_clock::now(),
                                                           .reason = reason,
                                                           .size = size});
    }

    /// So many values are offered again.
    void retried(std::exception_ptr const& error, std::size_t size, std::size_t attempt, nanoseconds delay) noexcept {
        core_.tell(&telemetry_hook::on_batch_retried, {.buffer = core_.name,
                                                       .partition = partition_,
                                                       .system_time = wall_clock::now(),
                                                       .error = error,
                                                       .size = size,
                                                       .attempt = attempt,
                                                       .delay = delay});
    }

    void spilled(std::size_t values, std::exception_ptr const& error) noexcept override {
        core_.tell(&telemetry_hook::on_values_spilled,
                   {.buffer = core_.name, .partition = partition_, .error = error, .size = values});
    }

    void replayed(std::size_t values) noexcept override {
        core_.tell(&telemetry_hook::on_values_replayed,
                   {.buffer = core_.name, .partition = partition_, .size = values});
    }

    void dropped(failure_reason reason, std::size_t size) noexcept {
        if (size == 0) return;
        core_.tell(&telemetry_hook::on_items_dropped,
                   {.buffer = core_.name, .partition = partition_, .reason = reason, .size = size});
    }

    /// A write found the partition full.
    void full(std::size_t size) noexcept {
        core_.tell(&telemetry_hook::on_partition_full,
                   {.buffer = core_.name, .partition = partition_, .system_time = wall_clock::now(), .size = size});
    }

    /// A swap ended that.
    void has_room(fullness const& ended) noexcept {
        core_.tell(
            &telemetry_hook::on_partition_room,
            {.buffer = core_.name, .partition = partition_, .duration = ended.duration, .refused = ended.refused});
    }

    /// Returns values that are undelivered, and destroys them.
    void return_undelivered(std::span<value_type> values, failure_reason reason,
                            std::exception_ptr const& error = nullptr) noexcept {
        show_undelivered(values, reason, error);
        std::destroy(values.begin(), values.end());
    }

    /// The same with all that the tables hold.
    void return_all_of(drained_tables<Table>& tables, failure_reason reason,
                       std::exception_ptr const& error = nullptr) noexcept {
        for (auto run = tables.take(); !run.empty(); run = tables.take()) return_undelivered(run, reason, error);
    }

    /// Returns values that stay the caller's.
    void show_undelivered(std::span<value_type> values, failure_reason reason,
                          std::exception_ptr const& error = nullptr) noexcept {
        core_.return_undelivered(
            values, {.reason = reason, .error = error, .buffer = core_.name, .partition = partition_, .news = this});
    }

private:
    [[nodiscard]] time_point now() const noexcept { return core_.schedule->now(); }

    buffer_core<Table>& core_;
    std::size_t const partition_;
    time_point started_{};
    time_point processing_since_{};  ///< of the drain in progress; written by who runs it
};

}  // namespace tidefall::inline v0::detail
