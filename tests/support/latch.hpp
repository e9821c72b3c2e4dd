// SPDX-License-Identifier: MIT
//
// A door that a test opens. Waiting for it fails loudly after a minute instead of hanging.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace tests {

class latch {
public:
    void open() {
        std::lock_guard const lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }

    void close() {
        std::lock_guard const lock(mutex_);
        open_ = false;
    }

    void wait() {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, std::chrono::minutes(1), [&] { return open_; })) {
            std::fputs("a latch stayed shut for a minute\n", stderr);
            std::abort();
        }
    }

    [[nodiscard]] bool is_open() {
        std::lock_guard const lock(mutex_);
        return open_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
};

}  // namespace tests
