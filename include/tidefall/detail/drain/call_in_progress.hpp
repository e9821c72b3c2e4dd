// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace tidefall::inline v0::detail {

/// The call of the processor that a partition is in, if any: what it is about, how long it may take, its stop token.
/// Guarded by the control's mutex, but for `signal`.
class call_in_progress {
public:
    /// Which call, and who makes it.
    struct identity {
        std::uint64_t number = 0;
        detail::worker* worker = nullptr;  ///< null: no worker of a runtime. It is there for as long as the call is.
    };

    /// How it ended.
    struct result {
        nanoseconds duration{};
        bool timed_out = false;
        bool unnoticed = false;  ///< nobody but this result has said so yet
    };

    /// For the call in progress too, unless it has timed out, or was settled.
    void set_timeout(nanoseconds timeout) noexcept {
        timeout_ = timeout;
        if (!timed_out_ && !settled_) deadline_ = later(since_, timeout);
    }

    /// Returns the call's number, never 0.
    std::uint64_t begin(std::size_t size, time_point now, worker* by) noexcept {
        assert(call_.number == 0 && "one call at a time");
        since_ = now;
        deadline_ = later(now, timeout_);
        timed_out_ = false;
        settled_ = false;
        size_ = size;
        call_ = {.number = ++begun_, .worker = by};
        return begun_;
    }

    /// The call takes as long as it likes from here on. False where it has taken too long.
    bool settle(time_point now) noexcept {
        assert(call_.number != 0);
        if (timed_out_ || has_passed(deadline_, now)) return false;
        settled_ = true;
        deadline_ = never;
        return true;
    }

    /// The watchdog may be late, or held up in a hook: a call is judged by its own time.
    [[nodiscard]] result end(time_point now) noexcept {
        assert(call_.number != 0);
        bool const unnoticed = time_out(now);
        return {.duration = now - since_, .timed_out = forget(), .unnoticed = unnoticed};
    }

    /// The call goes on without the partition. Returns its size.
    std::size_t abandon() noexcept {
        assert(call_.number != 0);
        forget();
        signal_spent_ = true;
        return std::exchange(size_, 0);
    }

    [[nodiscard]] bool is(std::uint64_t number) const noexcept { return call_.number == number; }
    [[nodiscard]] identity who() const noexcept { return call_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// When it will have taken too long; never if it has.
    [[nodiscard]] time_point times_out_at() const noexcept { return timed_out_ ? never : deadline_; }

    /// True once, where it has taken too long.
    bool time_out(time_point now) noexcept {
        if (timed_out_ || !has_passed(deadline_, now)) return false;
        return timed_out_ = true;
    }

    /// For the next call. Written by who runs the drain alone, which may therefore read it without the mutex.
    [[nodiscard]] stop_signal const& signal() const noexcept { return signal_; }

    /// A token that was stopped serves no other call.
    [[nodiscard]] bool needs_signal() const noexcept { return !signal_ready_ || signal_spent_; }
    void exchange_signal(stop_signal& fresh) noexcept {
        std::swap(signal_, fresh);
        signal_ready_ = true;
        signal_spent_ = false;
    }

    /// True until somebody has taken it upon himself to stop the token.
    [[nodiscard]] bool signal_is_unspent() const noexcept { return !signal_spent_; }
    [[nodiscard]] stop_signal spend_signal() noexcept {
        signal_spent_ = true;
        return signal_;
    }

private:
    /// Returns whether it had timed out.
    bool forget() noexcept {
        call_ = {};
        return timed_out_;
    }

    identity call_;
    std::uint64_t begun_ = 0;
    std::size_t size_ = 0;
    nanoseconds timeout_{};
    time_point since_{};
    time_point deadline_ = never;
    bool timed_out_ = false;
    bool settled_ = false;

    stop_signal signal_;
    bool signal_ready_ = false;
    bool signal_spent_ = false;  ///< stopped, or about to be
};

}  // namespace tidefall::inline v0::detail
