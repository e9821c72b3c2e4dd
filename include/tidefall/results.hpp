// SPDX-License-Identifier: MIT
//
// What a buffer answers: the status of a write, the outcome of a flush or a stop, the counters. And what it and its
// processor tell each other of a batch.
#pragma once

#include <tidefall/version.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {
namespace detail {
class call_services;
class outcome_news;
class stop_signal;
struct result_access;
}  // namespace detail

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
    rejected,   ///< the processor said so, in a `batch_result`
};

/// What made a partition swap its table.
enum class drain_trigger : std::uint8_t { interval, threshold, capacity, flush, stop };

/// What a batch is about. A processor of a form that takes it gets it by const reference, valid during the call.
///
/// The partition, the drain and the index name a batch, over all its attempts: an idempotent sink may use them, beside
/// something that names the run of the program. What `with_spill` offers of its file has no such name: its drain is 0.
struct batch_info {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::uint64_t drain = 0;    ///< of the partition, from 1
    std::size_t index = 0;      ///< of the batch in its drain, from 0; of a whole table 0
    std::size_t attempt = 1;    ///< from 1
    std::size_t remaining = 0;  ///< values of the drain after this batch
    drain_trigger trigger = drain_trigger::interval;
    std::chrono::steady_clock::time_point swapped_at = {};  ///< by the runtime's clock
    bool stopping = false;                                  ///< the buffer is closed: there will be no further attempt

    /// For the decorators: what they ask of the engine during a call. Null outside of one.
    detail::call_services* services = nullptr;
};

/// What a processor in batches may return: which values of its batch it did not take. Everything was taken, unless
/// something is said. What was rejected counts as `failed`, goes to `undelivered` in order and emits one
/// `processing_failed` with reason `rejected`; with `retry_after` it is offered again instead, in its order, as the
/// next batch of the partition.
///
/// Not thread-safe. An index beyond the batch fails the whole batch, with a `std::out_of_range`.
class batch_result {
public:
    /// That value was not taken. Twice counts once. May throw for memory.
    void reject(std::size_t index) { rejected_.push_back(index); }

    /// That value was not taken, nor any after it. At the end of the batch or beyond it says nothing.
    void reject_from(std::size_t index) noexcept { rejected_from_ = (std::min)(rejected_from_, index); }

    /// That value was not taken and is never offered again, whatever `retry_after` says: a fault of the data. May throw
    /// for memory.
    void refuse(std::size_t index) { refused_.push_back(index); }

    /// Why: it goes to `failure::error`. Of several the last counts.
    batch_result& because(std::exception_ptr error) noexcept {
        error_ = std::move(error);
        return *this;
    }

    /// Has the rejected values offered again, not before so long from the end of the call. 0 or less: behind the work
    /// that is queued already. The largest: once the buffer closes. The partition is busy until then, and no worker is.
    ///
    /// A buffer that closes meanwhile offers them at once, and for the last time: in a call with
    /// `batch_info::stopping` this is ignored.
    batch_result& retry_after(std::chrono::nanoseconds delay) noexcept {
        retries_ = true;
        delay_ = delay;
        return *this;
    }

private:
    friend struct detail::result_access;

    std::vector<std::size_t> rejected_;
    std::vector<std::size_t> refused_;
    std::size_t rejected_from_ = (std::numeric_limits<std::size_t>::max)();
    std::exception_ptr error_;
    bool retries_ = false;  // two fields: g++ 12 warns of an optional that is empty
    std::chrono::nanoseconds delay_{};
    // What the engine calls after the batch has its outcome, as a call of its own.
    void (*follow_up_)(void* of, std::size_t size, batch_info const& info, detail::stop_signal const& signal) = nullptr;
    void* follow_up_of_ = nullptr;
    std::size_t follow_up_size_ = 0;
};

/// What `undelivered` is told beside the values. Valid during that call.
struct failure {
    failure_reason reason = failure_reason::exception;
    std::exception_ptr error = {};  ///< what was thrown, or given to `batch_result::because`; may be null
    std::string_view buffer = {};
    std::size_t partition = 0;

    /// For the decorators: whom they tell what became of the values. May be null.
    detail::outcome_news* news = nullptr;
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
    std::uint64_t abandoned = 0;       ///< the part of `failed` whose calls have not returned
    std::uint64_t pending = 0;         ///< waiting in the write tables
    std::uint64_t pending_weight = 0;  ///< what these weigh, where values have a weight; of no law
    std::uint64_t in_flight = 0;       ///< swapped out, no outcome yet
    std::uint64_t ticks = 0;           ///< swaps, none of them empty
    std::uint64_t hook_failures = 0;   ///< exceptions swallowed from hooks and `undelivered`

    friend bool operator==(buffer_stats const&, buffer_stats const&) = default;
};

}  // namespace tidefall::inline v0
