// SPDX-License-Identifier: MIT
//
// What the tests share that hold a thread at a point, with the instrumented sync.hpp.
#pragma once

#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tests {

inline constexpr auto never = std::chrono::nanoseconds::max();

using int_queue = tidefall::queue<int>;

/// While it lives, no thread looks again by itself for an hour.
class patience {
public:
    patience() { tidefall::detail::recheck_interval = std::chrono::hours(1); }
    ~patience() { tidefall::detail::recheck_interval = std::chrono::seconds(1); }
    patience(patience const&) = delete;
    patience& operator=(patience const&) = delete;
};

/// Calls that each stop at a latch of their own.
class held_calls {
public:
    explicit held_calls(std::size_t count) : entered(count), go_on(count) {}

    void operator()() {
        auto const call = calls++;
        if (call >= entered.size()) return;
        entered[call].open();
        go_on[call].wait();
    }

    std::atomic<std::size_t> calls{0};
    std::vector<latch> entered;
    std::vector<latch> go_on;
};

/// The scheduler of a runtime.
inline tidefall::detail::scheduler& schedule_of(tidefall::runtime const& one) {
    struct peek : tidefall::runtime {
        using tidefall::runtime::schedule;
    };
    return (one.*&peek::schedule)();
}

/// Counts how often a mutex in one object is locked.
class locks_in {
public:
    template <typename T>
    explicit locks_in(T const& one) {
        auto const* const from = reinterpret_cast<char const*>(&one);
        before_lock = [this, from](void const* mutex) {
            auto const* const at = static_cast<char const*>(mutex);
            if (at >= from && at < from + sizeof(T)) ++count_;
        };
    }
    ~locks_in() { before_lock = nullptr; }
    locks_in(locks_in const&) = delete;
    locks_in& operator=(locks_in const&) = delete;

    /// Checks that it is locked so often while that is done, and passes on what comes of it.
    template <typename F>
    auto check(std::string const& what, F act, int times = 1) {
        INFO(what);
        struct checks {
            int const& count;
            int times;
            ~checks() { CHECK(count == times); }
        };
        count_ = 0;
        checks const at_the_end{count_, times};
        return act();
    }

private:
    int count_ = 0;
};

inline tidefall::options abandoning(std::shared_ptr<tidefall::runtime> runtime = {}) {
    return {.partitions = 1,
            .processing_interval = never,
            .processing_batch_size = 1,
            .processing_timeout = std::chrono::milliseconds(1),
            .timeout_action = tidefall::timeout_action::abandon,
            .shutdown_timeout = never,
            .unheard = tidefall::unheard_action::ignore,
            .runtime = std::move(runtime)};
}

}  // namespace tests
