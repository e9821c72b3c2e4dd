// SPDX-License-Identifier: MIT
//
// Stands before the library's own sync.hpp on the include path: the same names, each of whose operations is a point at
// which the explorer decides who runs next.
#pragma once

#include <tidefall/version.hpp>

#include "../../../explorer.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <atomic>

namespace tidefall::inline v0::detail {

template <typename T>
class atomic {
public:
    constexpr atomic() noexcept = default;
    constexpr atomic(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor)
    atomic(atomic const&) = delete;
    atomic& operator=(atomic const&) = delete;
    constexpr ~atomic() {
        if (late_by_ != 0) explore::settle(late_by_);
    }

    T load(std::memory_order) const noexcept {
        explore::point();
        return late_by_ != 0 && late_by_ == explore::this_thread() ? late_ : value_;
    }
    /// A relaxed one may be seen by others only after the next operation of this thread that is no load.
    void store(T value, std::memory_order order) noexcept {
        explore::operation();
        if (order == std::memory_order_relaxed && late_by_ == 0 && explore::is_late(this, &arrive)) {
            late_ = value;
            late_by_ = explore::this_thread();
        } else {
            value_ = value;
        }
    }
    T exchange(T value, std::memory_order) noexcept {
        explore::operation();
        return std::exchange(value_, value);
    }
    T fetch_add(T value, std::memory_order) noexcept {
        explore::operation();
        return std::exchange(value_, static_cast<T>(value_ + value));
    }
    T fetch_sub(T value, std::memory_order) noexcept {
        explore::operation();
        return std::exchange(value_, static_cast<T>(value_ - value));
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order, std::memory_order) noexcept {
        return compare_exchange(expected, desired);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) noexcept {
        return compare_exchange(expected, desired);
    }

private:
    static void arrive(void* at) noexcept {
        auto& one = *static_cast<atomic*>(at);
        one.value_ = one.late_;
        one.late_by_ = 0;
    }

    bool compare_exchange(T& expected, T desired) noexcept {
        explore::operation();
        if (value_ != expected) {
            expected = value_;
            return false;
        }
        value_ = desired;
        return true;
    }

    T value_{};
    T late_{};                 ///< what the thread below has stored
    std::size_t late_by_ = 0;  ///< 0: nobody
};

class mutex {
public:
    mutex() = default;
    mutex(mutex const&) = delete;
    mutex& operator=(mutex const&) = delete;
    ~mutex() {
        if (owner_ != 0) explore::fail("a mutex is destroyed while it is locked");
    }

    void lock() noexcept {
        explore::point();
        acquire();
    }
    void unlock() noexcept {
        release();
        explore::point();
    }

    void acquire() noexcept {
        if (!explore::inside()) return;
        explore::settle(explore::this_thread());
        if (owner_ == explore::this_thread()) explore::fail("a mutex is locked by the thread that has it");
        while (owner_ != 0) explore::wait_for(this, explore::clock_time::max());
        owner_ = explore::this_thread();
        explore::holds_mutex(1);
    }
    void release() noexcept {
        if (!explore::inside()) return;
        explore::settle(explore::this_thread());
        if (owner_ != explore::this_thread()) explore::fail("a mutex is unlocked by a thread that does not have it");
        owner_ = 0;
        explore::holds_mutex(-1);
        explore::wake_all(this);
    }

private:
    std::size_t owner_ = 0;
};

using lock_guard = std::lock_guard<mutex>;
using unique_lock = std::unique_lock<mutex>;

/// Nothing is lost of a thread whose object is destroyed: it must have been joined or let go of.
class thread {
public:
    using id = std::size_t;

    thread() noexcept = default;
    template <typename F>
    explicit thread(F body) {
        explore::require_thread();
        number_ = explore::start_thread(
            [kept = std::make_shared<F>(std::move(body))]() mutable { (*std::exchange(kept, nullptr))(); });
    }
    thread(thread&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
    thread& operator=(thread&& other) noexcept {
        if (joinable()) explore::fail("a thread is overwritten that was not joined");
        number_ = std::exchange(other.number_, 0);
        return *this;
    }
    ~thread() {
        if (joinable()) explore::fail("a thread is destroyed that was not joined");
    }

    [[nodiscard]] bool joinable() const noexcept { return number_ != 0; }
    void join() {
        if (number_ == explore::this_thread()) explore::fail("a thread joins itself");
        explore::join_thread(std::exchange(number_, 0));
    }
    void detach() noexcept {
        if (!joinable()) explore::fail("a thread is let go of twice");
        number_ = 0;
    }

private:
    std::size_t number_ = 0;
};

struct monotonic_clock {
    using duration = std::chrono::steady_clock::duration;
    using rep = std::chrono::steady_clock::rep;
    using period = std::chrono::steady_clock::period;
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr bool is_steady = true;
    [[nodiscard]] static time_point now() noexcept {
        explore::point();
        return explore::now();
    }
};
using wall_clock = std::chrono::system_clock;

/// An hour, but where notifications get lost.
struct recheck {
    operator std::chrono::nanoseconds() const noexcept {  // NOLINT(google-explicit-constructor)
        return explore::recheck_interval();
    }
};
inline constexpr recheck recheck_interval{};

class condition_variable {
public:
    condition_variable() = default;
    condition_variable(condition_variable const&) = delete;
    condition_variable& operator=(condition_variable const&) = delete;
    ~condition_variable() {
        if (explore::is_waited_for(this)) explore::fail("a condition variable is destroyed that a thread waits for");
    }

    void notify_one() noexcept {
        explore::point();
        if (!explore::loses_notification()) explore::wake_one(this);
        explore::point();
    }
    void notify_all() noexcept {
        explore::point();
        if (!explore::loses_notification()) explore::wake_all(this);
        explore::point();
    }
    void wait_until(unique_lock& lock, monotonic_clock::time_point at) noexcept {
        explore::point();
        auto& held = *lock.mutex();
        held.release();
        if (explore::wakes_spuriously()) {
            explore::point();
        } else {
            explore::wait_for(this, at);
        }
        held.acquire();
    }
};

struct signals_blocked {
    ~signals_blocked() {}
};

template <typename T>
struct own_key {
    static inline char const address = 0;
};
template <typename T>
inline constinit thread_local T own_value{};
template <typename T>
[[nodiscard]] T& of_this_thread() noexcept {
    if (!explore::inside()) return own_value<T>;
    auto& mine = explore::own(&own_key<T>::address);
    if (!mine) mine = std::make_shared<T>();
    return *static_cast<T*>(mine.get());
}

[[nodiscard]] inline thread::id this_thread_id() noexcept {
    return explore::this_thread();
}
inline void spin_hint() noexcept {
    explore::yield();
}
inline void sleep_for(std::chrono::microseconds spell) {
    explore::sleep_until(explore::now() + spell);
}
inline void name_this_thread(std::string const&, std::string const&) noexcept {
}

// ---- stop tokens: the standard ones synchronise unseen

class stop_callbacks {
public:
    struct callback {
        std::function<void()> call;
    };

    [[nodiscard]] bool stop_requested() const noexcept {
        explore::point();
        return requested_;
    }
    bool request_stop() noexcept {
        explore::point();
        if (std::exchange(requested_, true)) return false;
        while (!all_.empty()) {
            running_ = all_.front();
            runs_on_ = explore::this_thread();
            all_.pop_front();
            running_->call();
            running_ = nullptr;
            explore::wake_all(this);
            explore::point();
        }
        return true;
    }
    void add(callback& one) {
        explore::point();
        if (requested_) return one.call();
        all_.push_back(&one);
    }
    void remove(callback& one) noexcept {
        explore::point();
        all_.remove(&one);
        while (running_ == &one && runs_on_ != explore::this_thread()) {
            explore::wait_for(this, explore::clock_time::max());
        }
    }

private:
    bool requested_ = false;
    std::list<callback*> all_;
    callback* running_ = nullptr;
    std::size_t runs_on_ = 0;
};

template <typename F>
class stop_callback;

class stop_token {
public:
    stop_token() noexcept = default;
    [[nodiscard]] bool stop_requested() const noexcept { return state_ && state_->stop_requested(); }
    [[nodiscard]] bool stop_possible() const noexcept { return state_ != nullptr; }

private:
    friend class stop_source;
    template <typename F>
    friend class stop_callback;
    explicit stop_token(std::shared_ptr<stop_callbacks> state) noexcept : state_(std::move(state)) {}
    std::shared_ptr<stop_callbacks> state_;
};

class stop_source {
public:
    [[nodiscard]] stop_token get_token() const noexcept { return stop_token(state_); }
    bool request_stop() noexcept { return state_->request_stop(); }
    [[nodiscard]] bool stop_requested() const noexcept { return state_->stop_requested(); }

private:
    std::shared_ptr<stop_callbacks> state_ = std::make_shared<stop_callbacks>();
};

template <typename F>
class stop_callback {
public:
    stop_callback(stop_token const& token, F call) : state_(token.state_), one_{std::move(call)} {
        if (state_) state_->add(one_);
    }
    ~stop_callback() {
        if (state_) state_->remove(one_);
    }
    stop_callback(stop_callback const&) = delete;
    stop_callback& operator=(stop_callback const&) = delete;

private:
    std::shared_ptr<stop_callbacks> state_;
    stop_callbacks::callback one_;
};

}  // namespace tidefall::inline v0::detail
