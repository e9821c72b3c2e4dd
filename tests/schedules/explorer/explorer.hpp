// SPDX-License-Identifier: MIT
//
// Runs threads as fibers of one real thread, and decides at each synchronising operation who runs next: by chance, by
// priorities, or through all ways there are. instrumented/tidefall/detail/sync.hpp makes the library's own
// operations calls of this; a scenario writes
//
//     TEST_CASE("explored: two writers") {
//         explore::schedules([] {
//             tidefall::queue<int> items(...);
//             explore::thread writer([&] { items.push(1); });
//             writer.join();
//             explore::require(items.stop().processed == 1, "the value came out");
//         });
//     }
//
// A schedule that fails says by which TIDEFALL_SEED, or TIDEFALL_CHOICES, it is had again.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace explore {

using clock_time = std::chrono::steady_clock::time_point;

// ---- for scenarios

/// What a scenario allows to happen. Each schedule draws some of it.
struct allowance {
    bool clock_jumps = true;         ///< time passes where threads could run, also far
    bool lost_notifications = true;  ///< at times, and then whoever waits looks again each second
    bool spurious_wake_ups = true;
    /// All ways through it are tried where TIDEFALL_PREEMPTIONS is set, with so many preemptions at most.
    bool exhaustively = false;
};

/// Runs the scenario under as many schedules as TIDEFALL_SCHEDULES says, or under the one of TIDEFALL_SEED. Fails the
/// test case at the first that fails, which is one in which a requirement is not met, an exception leaves a thread, a
/// thread never ends, or is woken by nothing but looking again after an hour.
void schedules(std::function<void()> const& scenario, allowance const& may = {});

/// What is wrong with the scenario under so many schedules, empty if nothing is: for tests of the explorer itself.
std::string fault(std::function<void()> const& scenario, std::size_t count, allowance const& may = {});
/// The same of all ways.
std::string fault_in_any_way(std::function<void()> const& scenario, std::size_t preemptions);

/// Ends the schedule, which has failed.
void fail(std::string const& why);
inline void require(bool holds, std::string_view what) {
    if (!holds) fail("does not hold: " + std::string(what));
}

/// A number below `limit`, by which a scenario varies: the same for the same seed.
std::size_t draw(std::size_t limit);
inline bool flip() {
    return draw(2) == 0;
}

/// Counts the operations of all threads: an order of what happens.
std::uint64_t steps();

/// Fails if the calling thread holds a mutex of the library: code of the user runs here.
void require_no_lock(std::string_view where);

/// Moves the clock of the schedule, on which the library's waits end.
void pass(std::chrono::nanoseconds time);

/// The same, and lets others go before.
void rest();

/// Waits until something holds that other threads bring about.
template <typename Happened>
void until(Happened happened) {
    for (int rests = 0; !happened(); ++rests) {
        if (rests == 10'000) fail("is waited for in vain");
        rest();
    }
}

/// The threads that have not ended, the calling one included.
std::size_t threads_alive();

/// Has each start of a thread of the library's fail from now on, or be as usual again.
void threads_cannot_start(bool cannot);

/// Called, where set, when the calling thread sleeps.
void on_sleep(std::function<void()> call);

// ---- for sync.hpp

/// True on a thread of a schedule. Elsewhere all that follows does what one thread alone would see.
[[nodiscard]] bool inside() noexcept;

/// Somebody else may run now.
void point() noexcept;

/// The same before an operation that is no load: what this thread stored late is seen from now on.
void operation() noexcept;

/// True at times, where the schedule is one in which stores come late: then the calling thread's store to that place is
/// seen by others once `arrive(place)` is called, at its next operation that is no load, at the latest when it waits.
[[nodiscard]] bool is_late(void* place, void (*arrive)(void*) noexcept) noexcept;

/// What that thread, or every thread, stored late is seen from now on.
void settle(std::size_t thread) noexcept;
void settle_all() noexcept;

/// Somebody else runs now, if anybody can.
void yield() noexcept;

[[nodiscard]] clock_time now() noexcept;

/// Blocks the calling thread until it is woken for `what`, or that time has come.
void wait_for(void const* what, clock_time until) noexcept;
void wake_one(void const* what) noexcept;
void wake_all(void const* what) noexcept;
[[nodiscard]] bool is_waited_for(void const* what) noexcept;
void sleep_until(clock_time until) noexcept;

/// True at times, where the schedule is one in which notifications get lost, or threads are woken for no reason.
[[nodiscard]] bool loses_notification() noexcept;
[[nodiscard]] bool wakes_spuriously() noexcept;

/// How long the library waits before it looks again by itself.
[[nodiscard]] std::chrono::nanoseconds recheck_interval() noexcept;

/// 1 and up; 0: none of a schedule.
[[nodiscard]] std::size_t this_thread() noexcept;
/// Throws where no thread of the library's can be started.
void require_thread();
[[nodiscard]] std::size_t start_thread(std::function<void()> body);
void join_thread(std::size_t number) noexcept;
[[nodiscard]] bool has_ended(std::size_t number) noexcept;
void holds_mutex(int more) noexcept;

/// What the calling thread keeps under that key, null at first.
[[nodiscard]] std::shared_ptr<void>& own(void const* key) noexcept;

/// A thread of a scenario.
class thread {
public:
    explicit thread(std::function<void()> body) : number_(start_thread(std::move(body))) {}
    ~thread() {
        if (number_ != 0) join();
    }
    thread(thread&& other) noexcept : number_(std::exchange(other.number_, 0)) {}
    thread& operator=(thread&&) = delete;
    void join() { join_thread(std::exchange(number_, 0)); }

private:
    std::size_t number_;
};

/// Waits until it is opened, and has no time of its own.
class gate {
public:
    void open() {
        open_ = true;
        wake_all(this);
        point();
    }
    void wait() {
        point();
        while (!open_) wait_for(this, clock_time::max());
    }

private:
    bool open_ = false;
};

}  // namespace explore
