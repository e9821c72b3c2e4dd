// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tidefall::inline v0::detail {

/// True where this code may lean a lock to one writer (`biased_lock`): on 64-bit Linux, unless the program is built
/// with TIDEFALL_NO_OWNER_BIAS, or with ThreadSanitizer, which knows of no barrier that another thread issues.
#if defined(TIDEFALL_NO_OWNER_BIAS) || !defined(__linux__) || !defined(SYS_membarrier) || !defined(__LP64__)
inline constexpr bool has_owner_bias = false;
#elif defined(__SANITIZE_THREAD__)
inline constexpr bool has_owner_bias = false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool has_owner_bias = false;
#else
inline constexpr bool has_owner_bias = true;
#endif
#else
inline constexpr bool has_owner_bias = true;
#endif

/// A writer's errno is as it was, whatever the system answers within.
class errno_kept {
public:
    errno_kept() noexcept = default;
    ~errno_kept() { errno = value_; }
    errno_kept(errno_kept const&) = delete;
    errno_kept& operator=(errno_kept const&) = delete;

private:
    int value_ = errno;
};

/// So many writes save about as much, where the lock leans to their thread, as one barrier costs.
inline constexpr std::size_t writes_worth_a_barrier = 4'096;

/// A full memory barrier in each thread of the process that runs, issued by one of them. What a thread did before that
/// barrier is seen by the issuer after it; what it does after that barrier sees what the issuer did before. So one side
/// of an order pays for both, and the other side costs nothing.
///
/// It is Linux's membarrier: 0.1 microseconds where the process has no other thread that runs, 15 to 50 where it has.
///
/// Thread safety: everything may be called by several threads at once.
class process_barrier {
public:
    /// Asks the system for it, the first time. Where the process has several threads this may block for some 10
    /// milliseconds, so who drains calls it.
    static void prepare() noexcept {
        // Relaxed, here and below: the system keeps what it was asked for, and two who ask are answered the same.
        if (!has_owner_bias || state.load(std::memory_order_relaxed) != unknown) return;
        state.store(call(register_private_expedited) ? ready : refused, std::memory_order_relaxed);
    }

    /// True if it may be issued.
    [[nodiscard]] static bool is_ready() noexcept {
        return has_owner_bias && state.load(std::memory_order_relaxed) == ready;
    }

    /// Blocks for as long as it takes. A system that refuses it now, although it granted it before (a filter of system
    /// calls that came later), is never asked again; then this thread sleeps for a time in which every store has been
    /// seen: a processor keeps one back for as long as it takes to get hold of a cache line, and a thread that loses
    /// its processor has passed a barrier.
    static void issue() noexcept {
        if (state.load(std::memory_order_relaxed) != refused) {
            if (call(private_expedited)) return;
            state.store(refused, std::memory_order_relaxed);
        }
        sleep_for(std::chrono::milliseconds(10));
    }

private:
    enum state_of_system : std::uint8_t { unknown, ready, refused };

    // The kernel's numbers: <linux/membarrier.h> is not on every system that has the call.
    static constexpr int private_expedited = 1 << 3;
    static constexpr int register_private_expedited = 1 << 4;

    static bool call([[maybe_unused]] int command) noexcept {
#if defined(__linux__) && defined(SYS_membarrier)
        errno_kept const around;
        return ::syscall(SYS_membarrier, command, 0, 0) == 0;
#else
        return false;
#endif
    }

    static inline constinit atomic<std::uint8_t> state{unknown};
};

/// A thread as the system numbers it.
class system_thread {
public:
    using id = std::int32_t;
    static constexpr id none = 0;

    /// `none` where the system does not say.
    [[nodiscard]] static id current() noexcept {
#if defined(__linux__)
        errno_kept const around;
        auto const number = static_cast<id>(::syscall(SYS_gettid));
        return number > 0 ? number : none;  // a filter of system calls may refuse even that
#else
        return none;
#endif
    }

    /// False where it may be there yet, or another one has its number.
    [[nodiscard]] static bool has_ended([[maybe_unused]] id which) noexcept {
#if defined(__linux__)
        errno_kept const around;
        return ::syscall(SYS_tgkill, ::getpid(), which, 0) != 0 && errno == ESRCH;
#else
        return false;
#endif
    }
};

}  // namespace tidefall::inline v0::detail
