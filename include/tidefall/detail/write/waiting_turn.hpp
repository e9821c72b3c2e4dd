// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/threads/job_queue.hpp>

#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// Whether the calling thread may wait for room in a buffer, for as long as it lives. It may not in code of the user's
/// that this buffer called, nor in that of others but in a call of the processor, where the worker's own runtime can do
/// without it.
class waiting_turn {
public:
    /// What is known of the thread by the module that made the buffer, `own`, and by the one whose code writes, `here`.
    /// At `place` the thread will wait.
    waiting_turn(thread_lookup own, thread_lookup here, std::shared_ptr<waiting_place> place) noexcept {
        if (!inside_callback::any(own) && !inside_callback::any(here)) {
            is_granted_ = true;
            return;
        }
        if (inside_callback::of(own, place.get()) || inside_callback::of(here, place.get())) return;
        auto const& state = own().call != nullptr ? own() : here();
        if (state.call == nullptr || state.jobs == nullptr || !state.jobs->begin_wait()) return;
        is_granted_ = true;
        jobs_ = state.jobs;
        call_ = state.call;
        call_->wait_at(std::move(place));
    }
    ~waiting_turn() {
        if (jobs_ == nullptr) return;
        call_->wait_at(nullptr);
        jobs_->end_wait();
    }
    waiting_turn(waiting_turn const&) = delete;
    waiting_turn& operator=(waiting_turn const&) = delete;

    [[nodiscard]] bool is_granted() const noexcept { return is_granted_; }

    /// The call that waits, whose token may stop meanwhile; null: it is none.
    [[nodiscard]] call_services const* call() const noexcept { return call_; }

private:
    bool is_granted_ = false;
    job_queue* jobs_ = nullptr;  ///< of the worker that the thread is
    call_services* call_ = nullptr;
};

}  // namespace tidefall::inline v0::detail
