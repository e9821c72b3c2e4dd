// SPDX-License-Identifier: MIT
//
// What the control of a partition decides, for its caller to do without the mutex.
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/call_in_progress.hpp>
#include <tidefall/telemetry.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

namespace tidefall::inline v0::detail {

/// What a worker finds that takes up a drain.
struct run_start {
    enum class order : std::uint8_t {
        nothing,  ///< the drain was taken back
        run,
        drop,  ///< the deadline of the stop has passed
    };
    order what = order::nothing;
    bool is_first = false;  ///< nobody has prepared the tables yet
    drain_trigger trigger = drain_trigger::interval;
    std::size_t swapped = 0;
    std::uint64_t drain = 0;  ///< its number, from 1
    time_point swapped_at{};
    std::size_t lost = 0;  ///< values that were dropped
};

/// What a worker that runs a drain does next.
struct next_step {
    enum class order : std::uint8_t {
        cut,      ///< a batch, of `size` values, fewer where these weigh more than `weight`
        offer,    ///< the batch of `call` again
        wait,     ///< until a batch that is out has its outcome, or one that is offered again its time
        pause,    ///< its time is over
        end,      ///< nothing is left
        expired,  ///< a stop's deadline passed: all that no call has is dropped, and the worker's to return
    };
    order what = order::end;
    std::size_t size = 0;
    static constexpr std::size_t any_weight = (std::numeric_limits<std::size_t>::max)();
    std::size_t weight = any_weight;
    call_in_progress* call = nullptr;  ///< of `offer`
    std::size_t lost = 0;              ///< of `expired`: values that were not dropped before
};

/// A call of the processor that has begun.
struct call_ticket {
    std::size_t size = 0;
    std::size_t remaining = 0;  ///< values that no call has
    bool is_last = false;       ///< the partition is closed: nothing is offered again after it
};

/// What came of a call, if it did not take too long.
struct call_outcome {
    bool threw = false;
    std::size_t rejected = 0;  ///< values that are to be offered again, where that may be
    std::size_t refused = 0;   ///< values that have failed
    nanoseconds delay{};       ///< until they are
};

/// A call that may be made, or none, where the deadline of the stop has passed; then so many values were dropped.
struct call_entry {
    std::optional<call_ticket> ticket;
    std::size_t lost = 0;
};

/// How a call ended.
struct call_end {
    enum class owner : std::uint8_t {
        mine,        ///< the rest of the drain is the caller's
        taken_over,  ///< a stop expired, which dropped the rest
        late,        ///< the call was abandoned: all that is left to do for it is `late_call_returned`
    };
    owner rest = owner::mine;
    bool timed_out = false;
    bool unnoticed = false;     ///< nobody has said so yet
    bool offers_again = false;  ///< what was rejected; otherwise it has failed
    nanoseconds duration{};
};

/// How a call ended whose batch may be completed later.
struct call_return {
    bool late = false;          ///< it was abandoned: another worker went on
    bool taken_over = false;    ///< a stop expired, which dropped the rest
    bool is_given_up = false;   ///< its batch was given up meanwhile, and has no outcome yet
    bool is_free = false;       ///< the batch has its outcome, and the call serves another one
    bool offers_again = false;  ///< a part of it waits to be offered again
    bool is_dropped = false;    ///< that part was dropped instead, and is the caller's to return
};

/// What is left of a drain once no call is to be made any more.
struct drain_rest {
    bool is_over = false;    ///< otherwise batches are out, and who completes the last one goes on
    bool announces = false;  ///< the end of the partition is to be announced all the same
};

/// What is to be done about a call that may have taken too long, or beside which a stop expired.
struct overdue_call {
    bool timed_out = false;    ///< it has taken too long, which nobody has said yet
    bool stops_token = false;  ///< the token of `signal` is to be stopped
    call_in_progress::identity call{};
    std::size_t size = 0;
    stop_signal signal{};
    std::shared_ptr<waiting_place> wakes{};  ///< where the call waits, to be told once the token is stopped
};

/// What is to be done where the deadline of a stop has passed.
struct expiry {
    bool happened = false;      ///< it was not done before
    std::size_t lost = 0;       ///< values that were dropped
    bool rest_is_ours = false;  ///< the drained tables hold some of them, and no worker will return these
    bool ended_drain = false;   ///< a drain has ended that had begun
    bool announces = false;     ///< the end is to be announced, once all was returned
    std::size_t swapped = 0;
};

}  // namespace tidefall::inline v0::detail
