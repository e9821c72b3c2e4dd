// SPDX-License-Identifier: MIT
//
// Arithmetic on points in time that saturates: a duration of nanoseconds::max() means never, and no sum overflows.
#pragma once

#include <tidefall/detail/sync.hpp>

namespace tidefall::inline v0::detail {

using std::chrono::nanoseconds;
using time_point = monotonic_clock::time_point;

inline constexpr time_point never = (time_point::max)();

/// How much longer than its deadline a stop waits for code of the user beside the calls.
inline constexpr nanoseconds grace = std::chrono::seconds(1);

[[nodiscard]] constexpr time_point later(time_point from, nanoseconds by) noexcept {
    if (by <= nanoseconds::zero()) return from;
    if (by == (nanoseconds::max)() || from > never - by) return never;
    return from + by;
}

[[nodiscard]] constexpr bool has_passed(time_point deadline, time_point now) noexcept {
    return deadline != never && deadline <= now;
}

[[nodiscard]] constexpr nanoseconds times(nanoseconds duration, int factor) noexcept {
    return duration > (nanoseconds::max)() / factor ? (nanoseconds::max)() : duration * factor;
}

}  // namespace tidefall::inline v0::detail
