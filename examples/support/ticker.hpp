// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace access_log {

/// Calls a function every so often, from a thread of its own, as long as it lives.
class ticker {
public:
    ticker(std::chrono::milliseconds every, std::function<void()> call)
        : every_(every), call_(std::move(call)), thread_([this] { call_until_done(); }) {}

    ticker(ticker const&) = delete;
    ticker& operator=(ticker const&) = delete;

    ~ticker() {
        {
            std::lock_guard const lock(mutex_);
            done_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }

private:
    void call_until_done() {
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, every_, [&] { return done_; })) call_();
    }

    std::chrono::milliseconds const every_;
    std::function<void()> const call_;
    std::mutex mutex_ = {};
    std::condition_variable wake_ = {};
    bool done_ = false;
    std::thread thread_;  // last: it uses the others
};

}  // namespace access_log
