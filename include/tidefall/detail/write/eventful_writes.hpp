// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/write/stripe.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace tidefall::inline v0::detail {

/// What a write does next that found its stripe closed, or its partition full.
enum class overflow_step : std::uint8_t { look_again, refuse_full, refuse_stopped, make_room_after };

/// Of a write that waits for room.
struct blocked_write {
    thread_lookup writer;  ///< what the module of the code that writes knows of the thread
    std::optional<time_point> since = {};
    bool in_time = true;
    bool has_asked = false;  ///< for a drain
};

/// What a write does where inserting is not all of it (`write_limits`). It is seldom, and far longer than the rest:
/// behind virtual functions it is instantiated where a buffer is made, and not in every file that writes to one. So it
/// is code of the module that made the buffer, which may be another than the writer's.
template <typename Table>
class eventful_writes {
public:
    eventful_writes() = default;
    eventful_writes(eventful_writes const&) = delete;
    eventful_writes& operator=(eventful_writes const&) = delete;
    virtual ~eventful_writes() = default;

    /// What a write does that found its stripe closed, or its partition full. The stripe's lock is held, and still is
    /// where the write is to look again, or to make room after it; in between it may have been released, and waited
    /// for. Where the write is refused it is released.
    ///
    /// Code of the user's that runs here, a hook or, without threads, the processor, may destroy the buffer: then the
    /// write is refused, and nothing but what is kept here is looked at.
    virtual overflow_step at_limit(stripe<Table>& stripe, blocked_write& write, std::size_t weight) = 0;

    /// The end of a write that may have to plan a tick, start a drain, or make room for what it inserted: then the
    /// oldest value goes to `undelivered` on this thread, which may destroy the buffer. What moving that throws takes
    /// the insertion back. The stripe's lock is held; releases it.
    virtual void unlock_and_look(stripe<Table>& stripe, std::size_t before, std::size_t weight) = 0;
};

}  // namespace tidefall::inline v0::detail
