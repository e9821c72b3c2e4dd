// SPDX-License-Identifier: MIT
//
// A mutex for calls of the user's code: whoever holds it may hold it for long, and may come back for it.
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/sync.hpp>

#include <system_error>

namespace tidefall::inline v0::detail {

/// For a lock_guard-like scope of its own: `gate::pass`.
class gate {
public:
    class pass {
    public:
        explicit pass(gate& through) : gate_(through) { gate_.enter(); }
        ~pass() { gate_.leave(); }
        pass(pass const&) = delete;
        pass& operator=(pass const&) = delete;

    private:
        gate& gate_;
    };

private:
    void enter() {
        auto const self = this_thread_id();
        unique_lock lock(mutex_);
        if (owner_ == self) {
            throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                                    "tidefall: a serialised processor is called from inside itself");
        }
        while (owner_ != thread::id()) left_.wait_until(lock, later(monotonic_clock::now(), recheck_interval));
        owner_ = self;
    }

    void leave() noexcept {
        {
            lock_guard const lock(mutex_);
            owner_ = thread::id();
        }
        left_.notify_one();
    }

    mutex mutex_;
    condition_variable left_;
    thread::id owner_;  ///< of the thread that is inside; guarded by mutex_
};

}  // namespace tidefall::inline v0::detail
