// SPDX-License-Identifier: MIT
//
// A runtime without threads, for tests: time moves when the test says so, and processors run on the calling thread.
//
//     auto clock = tidefall::make_manual_runtime();
//     tidefall::queue<int> tested({.processing_interval = 5s, .runtime = clock}, processor);
//     tested.push(1);
//     clock->advance(5s);   // the processor has run
#pragma once

#include <tidefall/runtime.hpp>

#include <chrono>
#include <memory>

namespace tidefall::inline v0 {

/// Behaves as a runtime with threads, but for what no clock can do: `flush` and `stop` work on the calling thread and
/// never wait, and drains that a threshold asked for run at the next `advance`, `flush` or `stop`.
///
/// Thread safety: all of it may be called from several threads. While a processor runs, or another thread is in
/// `advance`, other calls of `advance` move the clock and sound timeouts only: what falls due is run by who runs things
/// already, perhaps after such a call has returned.
class manual_runtime final : public runtime {
public:
    /// The time of all events of its buffers, save `system_time`. Starts at the epoch of the clock.
    std::chrono::steady_clock::time_point now() const noexcept { return schedule().now(); }

    /// Moves the clock from deadline to deadline, each at its own time, and runs what falls due on the calling
    /// thread; returns when it is done. `advance(0s)` runs what is due now. Called while a processor runs, it moves
    /// the clock and sounds timeouts only; what fell due meanwhile runs when that job ends.
    void advance(std::chrono::nanoseconds by) { schedule().advance(by); }

private:
    manual_runtime() : runtime(detail::workforce::manual) {}
    friend std::shared_ptr<manual_runtime> make_manual_runtime();
};

/// Makes one. Starts no thread.
inline std::shared_ptr<manual_runtime> make_manual_runtime() {
    return std::shared_ptr<manual_runtime>(new manual_runtime());
}

}  // namespace tidefall::inline v0
