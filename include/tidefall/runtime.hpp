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
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

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
    runtime() : schedule_(std::make_shared<detail::scheduler>(true)) {}

    explicit runtime(runtime_options const& how) : schedule_(std::make_shared<detail::scheduler>(false)) {
        detail::validate(how);
        crew_.emplace(schedule_, how.workers, how.thread_name);
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

}  // namespace tidefall::inline v0
