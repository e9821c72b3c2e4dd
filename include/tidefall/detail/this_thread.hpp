// SPDX-License-Identifier: MIT
//
// What the library knows of the calling thread: the number that routes its writes, and the callbacks it is inside of.
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstdint>

namespace tidefall::inline v0::detail {

/// Code of the user that runs on this thread for a buffer, and that around it.
struct user_frame {
    void const* buffer;
    user_frame const* outer;
};

struct thread_state {
    std::uint32_t number = 0;              ///< 0: none yet
    user_frame const* callback = nullptr;  ///< the innermost processor, hook or undelivered
    user_frame const* dropping = nullptr;  ///< the innermost `undelivered` that a write called to make room
    user_frame const* locked = nullptr;    ///< the innermost code under a stripe's lock; in debug builds only
    void const* works_for = nullptr;       ///< the scheduler whose worker this thread is
    std::uint64_t worker = 0;              ///< which of its workers; 0: none
};

inline constinit thread_local thread_state this_thread{};
inline constinit atomic<std::uint32_t> threads_numbered{0};

/// Numbers repeat after this many threads; only the evenness of the spread depends on them.
inline constexpr std::uint32_t thread_numbers = 1U << 24;

/// The place of the calling thread in the order in which threads first wrote; below `thread_numbers`.
[[nodiscard]] inline std::uint32_t thread_number() noexcept {
    if (this_thread.number == 0) [[unlikely]] {
        // Relaxed: a number is all that is wanted of it.
        this_thread.number = threads_numbered.fetch_add(1, std::memory_order_relaxed) % thread_numbers + 1;
    }
    return this_thread.number - 1;
}

/// Marks the calling thread as inside code of the user for as long as it lives.
template <user_frame const* thread_state::*Innermost>
class inside {
public:
    explicit inside(void const* buffer) noexcept : frame_{buffer, this_thread.*Innermost} {
        this_thread.*Innermost = &frame_;
    }
    ~inside() { this_thread.*Innermost = frame_.outer; }
    inside(inside const&) = delete;
    inside& operator=(inside const&) = delete;

    /// True if any such code of `buffer` is on this thread's stack, however deep.
    [[nodiscard]] static bool of(void const* buffer) noexcept {
        for (auto const* frame = this_thread.*Innermost; frame != nullptr; frame = frame->outer) {
            if (frame->buffer == buffer) return true;
        }
        return false;
    }

    /// True if any such code is on this thread's stack, of whatever buffer.
    [[nodiscard]] static bool any() noexcept { return this_thread.*Innermost != nullptr; }

private:
    user_frame frame_;
};

using inside_callback = inside<&thread_state::callback>;
using inside_drop = inside<&thread_state::dropping>;
using inside_lock = inside<&thread_state::locked>;

}  // namespace tidefall::inline v0::detail
