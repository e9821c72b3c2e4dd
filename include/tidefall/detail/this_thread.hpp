// SPDX-License-Identifier: MIT
//
// What the library knows of the calling thread: the number that routes its writes, and the callbacks it is inside of.
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstdint>

namespace tidefall::inline v0::detail {

/// One user callback (processor, hook, undelivered) that runs on this thread, and the one around it.
struct callback_frame {
    void const* buffer;
    callback_frame const* outer;
};

struct thread_state {
    std::uint32_t number = 0;  ///< 0: none yet
    callback_frame const* innermost = nullptr;
    void const* works_for = nullptr;  ///< the scheduler whose worker this thread is
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

/// Marks the calling thread as inside a callback of `buffer` for as long as it lives.
class inside_callback {
public:
    explicit inside_callback(void const* buffer) noexcept : frame_{buffer, this_thread.innermost} {
        this_thread.innermost = &frame_;
    }
    ~inside_callback() { this_thread.innermost = frame_.outer; }
    inside_callback(inside_callback const&) = delete;
    inside_callback& operator=(inside_callback const&) = delete;

    /// True if any callback of `buffer` is on this thread's stack, however deep.
    [[nodiscard]] static bool of(void const* buffer) noexcept {
        for (auto const* frame = this_thread.innermost; frame != nullptr; frame = frame->outer) {
            if (frame->buffer == buffer) return true;
        }
        return false;
    }

private:
    callback_frame frame_;
};

}  // namespace tidefall::inline v0::detail
