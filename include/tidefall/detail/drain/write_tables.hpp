// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <optional>

namespace tidefall::inline v0::detail {

/// The write tables of a partition, as its control sees them. The control calls these with its mutex held; they take
/// the locks of the stripes for a moment.
class write_tables {
public:
    /// Exchanges the tables for the empty ones of the last drain. Returns how many values they held; if none, nothing
    /// is exchanged. With `close`, no write is accepted from this instant on. Otherwise, where values were taken, the
    /// first write to come notes its time for `first_write`, and need not plan a tick.
    virtual std::size_t swap(bool close, time_point now) noexcept = 0;
    /// When the first value since that swap was written. If none was, the next that finds the tables empty plans the
    /// tick itself.
    virtual std::optional<time_point> first_write() noexcept = 0;
    virtual void close() noexcept = 0;
    /// What waits is lost. Returns how many values that is.
    virtual std::size_t expire(time_point now) noexcept = 0;
    [[nodiscard]] virtual std::size_t waiting() const noexcept = 0;
    /// Returns the limit that what waits has reached, if it has.
    virtual std::optional<drain_trigger> change_limits(options_update const& update, bool leases_anew) noexcept = 0;
    /// Frees the memory of what is empty. No drain is in progress.
    virtual void free_memory() noexcept = 0;
    virtual void count_waiting(buffer_stats& stats) const noexcept = 0;

protected:
    ~write_tables() = default;
};

}  // namespace tidefall::inline v0::detail
