// SPDX-License-Identifier: MIT
//
// The one place that names a mutex, a condition variable, an atomic, a thread and its own storage, a stop token, a
// clock, a signal or a sleep. It is always included as <tidefall/detail/sync.hpp>, so that a test build can put an
// instrumented one before it on the include path and steer the real code from one synchronising operation to the next.
#pragma once

#include <tidefall/version.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <version>
#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <time.h>
#else
#include <condition_variable>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace tidefall::inline v0::detail {

template <typename T>
using atomic = std::atomic<T>;
using mutex = std::mutex;
using lock_guard = std::lock_guard<mutex>;
using unique_lock = std::unique_lock<mutex>;
using thread = std::thread;

#if defined(__cpp_lib_jthread)
using std::stop_callback;
using std::stop_source;
using std::stop_token;
#endif

using monotonic_clock = std::chrono::steady_clock;
using wall_clock = std::chrono::system_clock;

/// The longest that any wait of the library lasts before it looks again, so that a wake-up that the system
/// loses costs a delay and not a hang.
inline constexpr std::chrono::nanoseconds recheck_interval = std::chrono::seconds(1);

#if defined(__unix__) || defined(__APPLE__)

/// Waits on the steady clock with any C library. std::condition_variable does so only where there is a
/// pthread_cond_clockwait; elsewhere it waits on the system's clock, and a clock that is set back makes the wait
/// longer.
class condition_variable {
public:
    condition_variable() {
        pthread_condattr_t how;
        require_done(pthread_condattr_init(&how));
#if !defined(__APPLE__)
        pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
#endif
        auto const error = pthread_cond_init(&condition_, &how);
        pthread_condattr_destroy(&how);
        require_done(error);
    }
    ~condition_variable() {
        pthread_cond_destroy(&condition_);
    }
    condition_variable(condition_variable const&) = delete;
    condition_variable& operator=(condition_variable const&) = delete;

    void notify_one() noexcept {
        pthread_cond_signal(&condition_);
    }
    void notify_all() noexcept {
        pthread_cond_broadcast(&condition_);
    }

    /// Returns at a notification, at that time, or for no reason.
    void wait_until(unique_lock& lock, monotonic_clock::time_point at) noexcept {
#if defined(__APPLE__)
        auto const until = to_timespec(at - monotonic_clock::now());
        pthread_cond_timedwait_relative_np(&condition_, lock.mutex()->native_handle(), &until);
#else
        auto const until = to_timespec(at.time_since_epoch());
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 30)
        // The same, said twice: whoever stands before the other call may take its time for one of the system's clock.
        pthread_cond_clockwait(&condition_, lock.mutex()->native_handle(), CLOCK_MONOTONIC, &until);
#else
        pthread_cond_timedwait(&condition_, lock.mutex()->native_handle(), &until);
#endif
#endif
    }

private:
    static timespec to_timespec(std::chrono::nanoseconds time) noexcept {
        // The fields' own types, which have 32 bits in places.
        using seconds = std::chrono::duration<decltype(timespec::tv_sec)>;
        using nanoseconds = std::chrono::duration<decltype(timespec::tv_nsec), std::nano>;
        auto const positive = time.count() > 0 ? time : std::chrono::nanoseconds::zero();
        auto const whole = std::chrono::duration_cast<seconds>(positive);
        timespec result{};
        result.tv_sec = whole.count();
        result.tv_nsec = std::chrono::duration_cast<nanoseconds>(positive - whole).count();
        return result;
    }

    static void require_done(int error) {
        if (error != 0) throw std::system_error(error, std::generic_category(), "tidefall: no condition variable");
    }

    pthread_cond_t condition_;
};

/// While it lives, this thread blocks all signals but those of its own faults, of abort and of profilers. A thread that
/// is started meanwhile inherits that: signals are for the program's own threads.
class signals_blocked {
public:
    signals_blocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        for (int const own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF}) sigdelset(&all, own);
        pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~signals_blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    signals_blocked(signals_blocked const&) = delete;
    signals_blocked& operator=(signals_blocked const&) = delete;

private:
    sigset_t before_;
};

#else

using condition_variable = std::condition_variable;

/// There are no signals to block.
struct signals_blocked {
    ~signals_blocked() {}  // an object of this type is used
};

#endif

template <typename T>
inline constinit thread_local T own_value{};

/// The object of that type that the calling thread has to itself, in this module.
template <typename T>
[[nodiscard]] T& of_this_thread() noexcept {
    return own_value<T>;
}

[[nodiscard]] inline thread::id this_thread_id() noexcept {
    return std::this_thread::get_id();
}

inline void sleep_for(std::chrono::microseconds spell) {
    std::this_thread::sleep_for(spell);
}

/// Tells the processor that this thread spins. By compilers' own words: <immintrin.h> is longer than all the rest.
inline void spin_hint() noexcept {
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
    _mm_pause();
#elif defined(_MSC_VER)
    __yield();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// `name` and `suffix` in as many bytes: where they are longer, the name loses its end.
[[nodiscard]] inline std::string shortened(std::string const& name, std::string const& suffix, std::size_t most) {
    auto kept = suffix.size() < most ? most - suffix.size() : 0;
    if (kept >= name.size()) return name + suffix;
    // No character of UTF-8 is cut in two.
    while (kept > 0 && (static_cast<unsigned char>(name[kept]) & 0xC0U) == 0x80U) --kept;
    return name.substr(0, kept) + suffix;
}

/// Names the calling thread where the system can. Linux takes 15 bytes.
inline void name_this_thread([[maybe_unused]] std::string const& name, [[maybe_unused]] std::string const& suffix) {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), shortened(name, suffix, 15).c_str());
#elif defined(__APPLE__)
    pthread_setname_np(shortened(name, suffix, 63).c_str());
#endif
}

}  // namespace tidefall::inline v0::detail
