// SPDX-License-Identifier: MIT
#pragma once

#include "metric_line.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace statsd {

/// Where measurements wait for the end of their window: in tidefall's maps (tidefall_tables.hpp) or, to compare with,
/// in the standard library's (mutex_tables.hpp).
class tables {
public:
    tables() = default;
    tables(tables const&) = delete;
    tables& operator=(tables const&) = delete;
    virtual ~tables() = default;

    virtual void add(std::string_view key, measurement const& one) = 0;

    /// Ends the window: what was added before goes to the store, on another thread.
    virtual void end_window() = 0;

    /// The same for the last time, and waits. Returns how many series were not stored.
    virtual std::uint64_t stop() = 0;

    /// Why the last window that could not be stored was not, or nothing.
    [[nodiscard]] virtual std::string last_error() const { return {}; }
};

}  // namespace statsd
