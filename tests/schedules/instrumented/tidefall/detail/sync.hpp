// SPDX-License-Identifier: MIT
//
// Stands before the library's own sync.hpp on the include path: the same names, with a point before every exchange of
// a flag (the entry of a stripe's lock is one) at which a test can park the thread, a look at how a thread waits for a
// stripe's lock, and condition variables whose notifications a test can have lost.
#pragma once

#include <tidefall/version.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace tests {

/// Called, where set, by this thread before it exchanges a flag.
inline thread_local std::function<void()> before_exchange;

/// Called, where set, by this thread when it yields, and when it sleeps.
inline thread_local std::function<void()> on_yield;
inline thread_local std::function<void()> on_sleep;

/// While true, no condition variable of the library is notified.
inline std::atomic<bool> wake_ups_are_lost{false};

}  // namespace tests

namespace tidefall::inline v0::detail {

template <typename T>
class atomic {
public:
    constexpr atomic() noexcept = default;
    constexpr atomic(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor)

    T load(std::memory_order order) const noexcept { return value_.load(order); }
    void store(T value, std::memory_order order) noexcept { value_.store(value, order); }
    T exchange(T value, std::memory_order order) noexcept {
        if (tests::before_exchange) tests::before_exchange();
        return value_.exchange(value, order);
    }
    T fetch_add(T value, std::memory_order order) noexcept { return value_.fetch_add(value, order); }
    T fetch_sub(T value, std::memory_order order) noexcept { return value_.fetch_sub(value, order); }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) noexcept {
        return value_.compare_exchange_weak(expected, desired, success, failure);
    }

private:
    std::atomic<T> value_;
};

using mutex = std::mutex;

class condition_variable {
public:
    void notify_one() noexcept {
        if (!tests::wake_ups_are_lost) real_.notify_one();
    }
    void notify_all() noexcept {
        if (!tests::wake_ups_are_lost) real_.notify_all();
    }
    template <typename Lock, typename Time>
    void wait_until(Lock& lock, Time at) {
        real_.wait_until(lock, at);
    }

private:
    std::condition_variable real_;
};

using lock_guard = std::lock_guard<mutex>;
using unique_lock = std::unique_lock<mutex>;
using thread = std::thread;
using monotonic_clock = std::chrono::steady_clock;
using wall_clock = std::chrono::system_clock;

[[nodiscard]] inline thread::id this_thread_id() noexcept {
    return std::this_thread::get_id();
}
inline void yield() noexcept {
    if (tests::on_yield) tests::on_yield();
    std::this_thread::yield();
}
inline void sleep_for(std::chrono::microseconds spell) {
    if (tests::on_sleep) tests::on_sleep();
    std::this_thread::sleep_for(spell);
}
inline void spin_hint() noexcept {
}
inline void name_this_thread(std::string const&) noexcept {
}

}  // namespace tidefall::inline v0::detail
