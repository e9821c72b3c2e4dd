// SPDX-License-Identifier: MIT
//
// The threads that serve buffers. A buffer without `options::runtime` has its own; one runtime can serve any number
// of buffers:
//
//     auto rt = tidefall::make_runtime({.workers = 4, .thread_name = "ingest"});
//     tidefall::queue<event> events({.name = "events", .runtime = rt}, processor);
#pragma once

#include <tidefall/detail/threads/crew.hpp>
#include <tidefall/detail/threads/scheduler.hpp>
#include <tidefall/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0 {

/// The most workers that a runtime can have.
inline constexpr std::size_t max_workers = 1'024;

/// How a runtime is set up; checked by `make_runtime`, which throws `invalid_options`.
struct runtime_options {
    /// Threads that call processors: as many calls run at once at most. 1 to 1,024.
    std::size_t workers = (std::min)(default_partitions(), max_workers);

    /// Names the threads, with a suffix: NAME/timer, NAME/watch, NAME/work/3. Where that is longer than the system
    /// takes (15 bytes on Linux), this name loses its end, and the suffix stays. Not empty.
    std::string thread_name = "tidefall";

    /// Each thread of the runtime calls them with its whole name, such as NAME/work/3, the first when it begins and the
    /// second when it ends: timer, watchdog and workers, also those that take the place of another. For what a thread
    /// needs of the program: a priority, a processor to run on, a profiler to know it. What they throw is swallowed.
    /// They must not wait for the runtime or its buffers.
    std::function<void(std::string_view name)> on_thread_start = {};
    std::function<void(std::string_view name)> on_thread_stop = {};
};

namespace detail {

inline void validate(runtime_options const& how) {
    if (how.workers == 0 || how.workers > max_workers) {
        throw invalid_options("workers", std::to_string(how.workers), "1 to 1024");
    }
    if (how.thread_name.empty()) throw invalid_options("thread_name", "empty", "a name");
}

}  // namespace detail

/// One timer thread, which swaps tables when they are due; one watchdog thread, which stops the tokens of calls that
/// take too long; and a bounded number of workers, which call processors. All are started with the runtime,
/// whatever the number of buffers on it, and each looks up at most once a second when there is nothing to do. They
/// block all signals but those of their own faults, of abort and of profilers.
///
/// Made by `make_runtime`, held by a shared pointer by the user and by every buffer on it. The last of them to let
/// go ends the threads: it waits for running jobs, except for a call that outstayed its buffer's stop deadline,
/// which is left to end by itself. On a thread of the runtime it does not wait at all.
class runtime {
public:
    runtime(runtime const&) = delete;
    runtime& operator=(runtime const&) = delete;
    virtual ~runtime() = default;

protected:
    /// One without threads.
    explicit runtime(detail::workforce who, std::function<void()> on_earlier = {})
        : schedule_(std::make_shared<detail::scheduler>(who, std::move(on_earlier))) {}

    explicit runtime(runtime_options const& how) : runtime(detail::workforce::threads) {
        detail::validate(how);
        crew_.emplace(schedule_, how.workers,
                      detail::crew_names{how.thread_name, how.on_thread_start, how.on_thread_stop});
    }

    detail::scheduler& schedule() const noexcept { return *schedule_; }

private:
    template <typename Table>
    friend class buffer;
    friend std::shared_ptr<runtime> make_runtime(runtime_options const&);

    std::shared_ptr<detail::scheduler> const schedule_;
    std::optional<detail::crew> crew_;
};

/// Starts a runtime. Throws `invalid_options`, or `std::system_error` where a thread cannot be started; then none
/// is left running.
inline std::shared_ptr<runtime> make_runtime(runtime_options const& how = {}) {
    return std::shared_ptr<runtime>(new runtime(how));
}

/// A runtime without threads, by the real clock, for programs with a loop of their own: `poll` does what is due, on the
/// thread that calls it, and `next_deadline` says when to come again.
///
///     auto const polled = tidefall::make_polled_runtime([&] { loop.wake(); });
///     tidefall::queue<event> events({.runtime = polled}, processor);
///     for (;;) {
///         loop.wait_until(polled->next_deadline());   // sockets, timers, and wake()
///         polled->poll();
///     }
///
/// `flush`, `stop`, the destructor of a buffer and a write that waits for room do the buffer's work themselves, on the
/// thread that calls them, and sleep where a batch waits to be offered again; `processing_timeout` is seen by `poll`.
/// They wait for batches that are out too, so a batch that only the loop's own thread would end must have ended before:
/// the destructor would wait for it for ever.
///
/// Thread safety: all of it may be called from several threads.
class polled_runtime final : public runtime {
public:
    /// Swaps what is due, and runs the drains that are queued then, one after the other; returns how many. Those that
    /// follow from them are left to the next call, so that it returns. Blocks for as long as the processor does.
    std::size_t poll() { return schedule().poll(); }

    /// When to call `poll` again: now or earlier where there is something to do, the largest time where there is
    /// nothing to come. From this call on `on_earlier` is called once where that becomes earlier.
    std::chrono::steady_clock::time_point next_deadline() const noexcept { return schedule().next_deadline(); }

private:
    explicit polled_runtime(std::function<void()> on_earlier)
        : runtime(detail::workforce::polled, std::move(on_earlier)) {}
    friend std::shared_ptr<polled_runtime> make_polled_runtime(std::function<void()> on_earlier);
};

/// Makes one. `on_earlier` is called by the thread whose write, flush or completed batch brings the deadline forward,
/// without a lock: it should wake who polls, and not poll itself. What it throws is swallowed. Starts no thread.
inline std::shared_ptr<polled_runtime> make_polled_runtime(std::function<void()> on_earlier = {}) {
    return std::shared_ptr<polled_runtime>(new polled_runtime(std::move(on_earlier)));
}

}  // namespace tidefall::inline v0
