// SPDX-License-Identifier: MIT
//
// What the calls of a buffer answer: the status of a write, the outcome of a flush or a stop, the counters.
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

namespace tidefall::inline v0 {

/// What became of one write. On anything but `accepted` an rvalue argument of the value's own type is untouched.
enum class write_status : std::uint8_t {
    accepted,  ///< the buffer owns the value and will account for it
    stale,     ///< a newer version of the key is held already
    full,      ///< the partition has reached its capacity
    stopped,   ///< the buffer was stopped before
};

/// Why values did not reach the processor, or were lost by it.
enum class failure_reason : std::uint8_t {
    exception,  ///< the processor, or the sorting or gathering before it, threw
    timeout,    ///< the call took longer than `processing_timeout`
    overflow,   ///< dropped to make room
    stopped,    ///< still waiting when the deadline of `stop` passed
};

/// What `undelivered` is told beside the values. Valid during that call.
struct failure {
    failure_reason reason = failure_reason::exception;
    std::exception_ptr error = {};  ///< what was thrown, with reason `exception`; may be null
    std::string_view buffer = {};
    std::size_t partition = 0;
};

/// The outcome of `flush` (the change of the buffer's counters over the call) or of `stop` (from closing to the
/// end). All numbers count values.
struct drain_report {
    std::uint64_t processed = 0;
    std::uint64_t failed = 0;
    std::uint64_t dropped = 0;
    std::uint64_t abandoned = 0;  ///< abandoned meanwhile; also in `failed`
    /// By the deadline everything had an outcome, whatever it was; for `stop`: nothing was dropped for the deadline
    /// and nothing is still in a call.
    bool complete = true;

    friend bool operator==(drain_report const&, drain_report const&) = default;
};

/// The counters of a buffer since it was constructed. When no call on the buffer is running and no call of the
/// processor is returning, exactly
///
///     accepted == processed + failed + dropped + coalesced + erased + pending + in_flight
struct buffer_stats {
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;    ///< answered `stale`, `full` or `stopped`; never in `accepted`
    std::uint64_t coalesced = 0;  ///< accepted writes that changed a value already held
    std::uint64_t erased = 0;     ///< values that were removed before a swap took them
    std::uint64_t processed = 0;
    std::uint64_t failed = 0;
    std::uint64_t dropped = 0;
    std::uint64_t abandoned = 0;      ///< the part of `failed` whose calls have not returned
    std::uint64_t pending = 0;        ///< waiting in the write tables
    std::uint64_t in_flight = 0;      ///< swapped out, no outcome yet
    std::uint64_t ticks = 0;          ///< swaps, none of them empty
    std::uint64_t hook_failures = 0;  ///< exceptions swallowed from hooks and `undelivered`

    friend bool operator==(buffer_stats const&, buffer_stats const&) = default;
};

}  // namespace tidefall::inline v0
