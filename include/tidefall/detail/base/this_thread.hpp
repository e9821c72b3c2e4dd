// SPDX-License-Identifier: MIT
//
// What the library knows of the calling thread: the places of its writes, the callbacks it is inside of, and whom it
// works for.
//
// A program and its plugins have one such state for each thread and module, wherever they do not share their symbols.
// What is true of a thread for a buffer or a runtime is therefore kept by the module that made the buffer or runtime,
// and reached through it: `thread_lookup`.
#pragma once

#include <tidefall/detail/base/to_size.hpp>
#include <tidefall/detail/sync.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// Code of the user that runs on this thread for a buffer, and that around it.
struct user_frame {
    void const* buffer;
    user_frame const* outer;
};

/// The stripes that one thread writes to, a buffer each. Nothing is ever taken out, so the first 16 places never change
/// but for their lean; beyond them there is one, which the next buffer takes.
class thread_places {
public:
    struct alignas(32) place {
        std::uint64_t buffer = 0;  ///< its key; 0: none
        void* owned = nullptr;     ///< the stripe, where its lock leans to this thread, for all that it knows
        std::uint32_t lean = 0;    ///< which thread it is in that lock (`biased_lock`)
        std::uint32_t stripe = 0;  ///< its index
    };

    /// Where the place in that buffer is, for nearly every buffer. One look tells.
    [[nodiscard]] place& first_look(std::uint64_t buffer) noexcept { return places_[at(buffer)]; }

    [[nodiscard]] place* find(std::uint64_t buffer) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            auto& one = places_[(at(buffer) + i) % count];
            if (one.buffer == buffer) return &one;
            if (one.buffer == 0) return nullptr;
        }
        return latest_.buffer == buffer ? &latest_ : nullptr;
    }

    [[nodiscard]] bool is_full() const noexcept { return taken_ == count; }

    /// For a buffer that `find` does not know. Where there is no room it is kept until the next one comes.
    place& note(std::uint64_t buffer, std::uint32_t stripe) noexcept {
        auto* to = &latest_;
        if (!is_full()) {
            ++taken_;
            for (std::size_t i = 0; (to = &places_[(at(buffer) + i) % count])->buffer != 0; ++i) {
            }
        }
        *to = {.buffer = buffer, .stripe = stripe};
        return *to;
    }

    static constexpr std::size_t count = 16;  ///< the buffers in which a thread has a place of its own

    /// The bits of a key that say where its place is, so that finding it is one addition.
    static constexpr unsigned key_shift = 5;

private:
    static_assert(sizeof(place) == std::size_t{1} << key_shift);

    [[nodiscard]] static std::size_t at(std::uint64_t buffer) noexcept {
        return to_size((buffer >> key_shift) % count);
    }

    std::array<place, count> places_{};
    place latest_{};
    std::size_t taken_ = 0;
};

struct worker;
class call_services;
class job_queue;

struct thread_state {
    thread_places places{};
    user_frame const* callback = nullptr;  ///< the innermost processor, hook or undelivered
    user_frame const* dropping = nullptr;  ///< the innermost `undelivered` that a write called to make room
    user_frame const* locked = nullptr;    ///< the innermost code under a stripe's lock; in debug builds only
    void const* serves = nullptr;          ///< the scheduler of whose runtime this thread is one
    detail::worker* worker = nullptr;      ///< which of its workers; null: none
    job_queue* jobs = nullptr;             ///< a worker's: what it takes its jobs from
    call_services* call = nullptr;         ///< of the processor, the innermost; null: none
    std::uint32_t number = 0;              ///< in the process; 0: none yet
};

inline constinit atomic<std::uint32_t> threads_numbered{0};

/// The state of the calling thread that the module has which the function is of.
using thread_lookup = thread_state& (*)() noexcept;
[[nodiscard]] inline thread_state& state_of_this_thread() noexcept {
    return of_this_thread<thread_state>();
}

/// Marks the calling thread as inside code of the user for as long as it lives.
template <user_frame const* thread_state::*Innermost>
class inside {
public:
    inside(thread_lookup here, void const* buffer) noexcept : state_(here()), frame_{buffer, state_.*Innermost} {
        state_.*Innermost = &frame_;
    }
    ~inside() { state_.*Innermost = frame_.outer; }
    inside(inside const&) = delete;
    inside& operator=(inside const&) = delete;

    /// True if any such code of `buffer` is on this thread's stack, however deep.
    [[nodiscard]] static bool of(thread_lookup here, void const* buffer) noexcept {
        for (auto const* frame = here().*Innermost; frame != nullptr; frame = frame->outer) {
            if (frame->buffer == buffer) return true;
        }
        return false;
    }

    /// True if any such code is on this thread's stack, of whatever buffer.
    [[nodiscard]] static bool any(thread_lookup here) noexcept { return here().*Innermost != nullptr; }

private:
    thread_state& state_;
    user_frame frame_;
};

using inside_callback = inside<&thread_state::callback>;
using inside_drop = inside<&thread_state::dropping>;
using inside_lock = inside<&thread_state::locked>;

}  // namespace tidefall::inline v0::detail
