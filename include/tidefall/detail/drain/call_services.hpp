// SPDX-License-Identifier: MIT
//
// What the engine does for the wrappers of decorators.hpp, and the way in which they say more in a `batch_result` than
// a processor may.
#pragma once

#include <tidefall/results.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// Tells the user what became of values that the engine knows no more of. Runs code of the user's.
class outcome_news {
public:
    virtual void spilled(std::size_t values, std::exception_ptr const& error) noexcept = 0;
    virtual void replayed(std::size_t values) noexcept = 0;

protected:
    ~outcome_news() = default;
};

/// Where a thread may wait for others.
class waiting_place {
public:
    /// Tells whoever waits to look again. No lock of a partition is held.
    virtual void changed() noexcept = 0;

protected:
    ~waiting_place() = default;
};

/// Of one call of the processor, while it runs.
class call_services {
public:
    /// The outcome of the call is decided: no timeout is declared from here on. False where one was before, or the call
    /// was abandoned: its batch has failed, and goes to `undelivered`.
    [[nodiscard]] virtual bool settle() noexcept = 0;

    /// True once the call was abandoned.
    [[nodiscard]] virtual bool is_abandoned() const noexcept = 0;

    [[nodiscard]] virtual outcome_news& news() noexcept = 0;

    /// True once its token was stopped, whether the processor takes it or not.
    [[nodiscard]] virtual bool is_stopped() const noexcept = 0;

    /// The call waits there from now on, and whoever stops its token says so there. Null: it waits no more.
    virtual void wait_at(std::shared_ptr<waiting_place> place) noexcept = 0;

protected:
    ~call_services() = default;
};

/// The inside of a `batch_result`.
struct result_access {
    using indices = std::vector<std::size_t>;

    [[nodiscard]] static bool takes_all(batch_result const& of, std::size_t size) noexcept {
        return of.rejected_.empty() && of.refused_.empty() && of.rejected_from_ >= size;
    }
    [[nodiscard]] static indices& rejected(batch_result& of) noexcept { return of.rejected_; }
    [[nodiscard]] static indices& refused(batch_result& of) noexcept { return of.refused_; }
    [[nodiscard]] static std::size_t rejected_from(batch_result const& of) noexcept { return of.rejected_from_; }
    [[nodiscard]] static std::exception_ptr const& error(batch_result const& of) noexcept { return of.error_; }
    [[nodiscard]] static bool retries(batch_result const& of) noexcept { return of.retries_; }
    [[nodiscard]] static std::chrono::nanoseconds delay(batch_result const& of) noexcept { return of.delay_; }

    /// What was rejected is not offered again.
    static void end_retries(batch_result& of) noexcept { of.retries_ = false; }

    /// Has `function(of, size, …)` called once the batch has its outcome, as a call of its own. One at most.
    using follow_up = void (*)(void*, std::size_t, batch_info const&, stop_signal const&);
    static void follow(batch_result& with, follow_up function, void* of, std::size_t size) noexcept {
        with.follow_up_ = function;
        with.follow_up_of_ = of;
        with.follow_up_size_ = size;
    }
    [[nodiscard]] static bool is_followed(batch_result const& one) noexcept { return one.follow_up_ != nullptr; }
    static void call_follow_up(batch_result const& of, batch_info const& info, stop_signal const& signal) {
        of.follow_up_(of.follow_up_of_, of.follow_up_size_, info, signal);
    }
};

}  // namespace tidefall::inline v0::detail
