// SPDX-License-Identifier: MIT
//
// What a partition's control needs around it, where a test drives it by hand.
#pragma once

#include <tidefall/detail/drain/drain_control.hpp>

#include <cstddef>
#include <optional>
#include <utility>

namespace tests {

using tidefall::detail::time_point;

/// A task that has nothing to do.
struct idle_task final : tidefall::detail::task {
    idle_task() : task(nullptr) {}
    void on_tick(time_point) noexcept override {}
    void on_overdue(time_point) noexcept override {}
    bool run(time_point) override { return false; }
    time_point may_run_until() noexcept override { return tidefall::detail::never; }
};

struct some_call final : tidefall::detail::call_in_progress {};

/// Write tables in which so many values wait.
struct counted_tables final : tidefall::detail::write_tables {
    std::size_t count = 0;

    std::size_t swap(bool, time_point) noexcept override { return std::exchange(count, 0); }
    std::optional<time_point> first_write() noexcept override { return std::nullopt; }
    void close() noexcept override {}
    std::size_t expire(time_point) noexcept override { return std::exchange(count, 0); }
    [[nodiscard]] std::size_t waiting() const noexcept override { return count; }
    std::optional<tidefall::drain_trigger> change_limits(tidefall::options_update const&, bool) noexcept override {
        return std::nullopt;
    }
    void free_memory() noexcept override {}
    void count_waiting(tidefall::buffer_stats& stats) const noexcept override { stats.pending += count; }
};

}  // namespace tests
