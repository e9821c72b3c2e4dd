// SPDX-License-Identifier: MIT
//
// The one place that names a mutex, a condition variable, an atomic, a thread, a clock or a yield. It is always
// included as <tidefall/detail/sync.hpp>, so that a test build can put an instrumented one before it on the include
// path and steer the real code from one synchronising operation to the next.
#pragma once

#include <tidefall/version.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace tidefall::inline v0::detail {

template <typename T>
using atomic = std::atomic<T>;
using mutex = std::mutex;
using condition_variable = std::condition_variable;
using lock_guard = std::lock_guard<mutex>;
using unique_lock = std::unique_lock<mutex>;
using thread = std::thread;

using monotonic_clock = std::chrono::steady_clock;
using wall_clock = std::chrono::system_clock;

[[nodiscard]] inline thread::id this_thread_id() noexcept {
    return std::this_thread::get_id();
}

inline void yield() noexcept {
    std::this_thread::yield();
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

/// Names the calling thread where the system can; Linux keeps the first 15 bytes.
inline void name_this_thread([[maybe_unused]] std::string const& name) noexcept {
    char shortened[16] = {};
    name.copy(shortened, sizeof shortened - 1);
#if defined(__linux__)
    pthread_setname_np(pthread_self(), shortened);
#elif defined(__APPLE__)
    pthread_setname_np(shortened);
#endif
}

}  // namespace tidefall::inline v0::detail
