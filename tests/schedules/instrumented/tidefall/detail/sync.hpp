// SPDX-License-Identifier: MIT
//
// Stands before the library's own sync.hpp on the include path: the same names, with points at which a test can park a
// thread (before it locks a mutex, exchanges a flag, waits, spins or sleeps), condition variables whose notifications
// a test can have lost, and a re-check that a test can put off for an hour.
#pragma once

#include <tidefall/version.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace tests {

/// Called, where set, by this thread before it exchanges a flag of so many bytes.
inline thread_local std::function<void(std::size_t)> before_exchange;

/// Called, where set, by this thread when it spins, and when it sleeps.
inline thread_local std::function<void()> on_spin;
inline thread_local std::function<void()> on_sleep;

/// The same, with how long it is about to sleep.
inline thread_local std::function<void(std::chrono::microseconds)> on_sleep_for;

/// Called, where set, by this thread when it is about to wait for a condition, whose mutex it holds, until that time.
inline thread_local std::function<void(std::chrono::steady_clock::time_point)> on_wait;

/// Called, where set, by each thread before it locks the mutex at that address. Set while no thread of a runtime is
/// there.
inline std::function<void(void const*)> before_lock;

/// Called, where set, by each thread before it waits. Set and reset as before_lock.
inline std::function<void()> before_wait;

/// What the library calls this thread; empty: it is none of the library's.
inline thread_local std::string thread_name;

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
        if (tests::before_exchange) tests::before_exchange(sizeof(T));
        return value_.exchange(value, order);
    }
    T fetch_add(T value, std::memory_order order) noexcept { return value_.fetch_add(value, order); }
    T fetch_sub(T value, std::memory_order order) noexcept { return value_.fetch_sub(value, order); }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) noexcept {
        return value_.compare_exchange_weak(expected, desired, success, failure);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure) noexcept {
        return value_.compare_exchange_strong(expected, desired, success, failure);
    }

private:
    std::atomic<T> value_;
};

class mutex {
public:
    void lock() {
        if (tests::before_lock) tests::before_lock(this);
        real.lock();
    }
    void unlock() { real.unlock(); }

    std::mutex real;
};

using lock_guard = std::lock_guard<mutex>;
using unique_lock = std::unique_lock<mutex>;
using thread = std::thread;
using std::stop_callback;
using std::stop_source;
using std::stop_token;
using monotonic_clock = std::chrono::steady_clock;
using wall_clock = std::chrono::system_clock;

inline std::chrono::nanoseconds recheck_interval = std::chrono::seconds(1);

class condition_variable {
public:
    void notify_one() noexcept {
        if (!tests::wake_ups_are_lost) real_.notify_one();
    }
    void notify_all() noexcept {
        if (!tests::wake_ups_are_lost) real_.notify_all();
    }
    void wait_until(unique_lock& lock, monotonic_clock::time_point at) {
        if (tests::on_wait) tests::on_wait(at);
        if (tests::before_wait) tests::before_wait();
        std::unique_lock<std::mutex> held(lock.mutex()->real, std::adopt_lock);
        real_.wait_until(held, at);
        held.release();
    }

private:
    std::condition_variable real_;
};

struct signals_blocked {
    ~signals_blocked() {}
};

template <typename T>
inline constinit thread_local T own_value{};
template <typename T>
[[nodiscard]] T& of_this_thread() noexcept {
    return own_value<T>;
}
[[nodiscard]] inline thread::id this_thread_id() noexcept {
    return std::this_thread::get_id();
}
inline void sleep_for(std::chrono::microseconds spell) {
    if (tests::on_sleep) tests::on_sleep();
    if (tests::on_sleep_for) tests::on_sleep_for(spell);
    std::this_thread::sleep_for(spell);
}
inline void spin_hint() noexcept {
    if (tests::on_spin) tests::on_spin();
    std::this_thread::yield();
}
inline void name_this_thread(std::string const& name, std::string const& suffix) {
    tests::thread_name = name + suffix;
}

}  // namespace tidefall::inline v0::detail
