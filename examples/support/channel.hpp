// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <queue>
#include <utility>

namespace access_log {

/// Hands values from one thread to others and lets the giver wait while `capacity` of them are not taken yet. A
/// tidefall queue is not for this: it accumulates for a consumer that works in batches, and has no pop.
template <typename T>
class channel {
public:
    explicit channel(std::size_t capacity) : capacity_(capacity) {}

    /// False, and the value is dropped, once the channel is closed.
    bool push(T value) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return closed_ || values_.size() < capacity_; });
        if (closed_) return false;
        values_.push(std::move(value));
        filled_.notify_one();
        return true;
    }

    /// The next value; none once the channel is closed and empty.
    std::optional<T> pop() {
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [&] { return closed_ || !values_.empty(); });
        if (values_.empty()) return std::nullopt;
        std::optional<T> value(std::move(values_.front()));
        values_.pop();
        room_.notify_one();
        return value;
    }

    void close() {
        std::lock_guard const lock(mutex_);
        closed_ = true;
        room_.notify_all();
        filled_.notify_all();
    }

private:
    std::size_t const capacity_;
    std::mutex mutex_ = {};
    std::condition_variable room_ = {};
    std::condition_variable filled_ = {};
    std::queue<T> values_ = {};
    bool closed_ = false;
};

/// Closes a channel when it goes, also when the construction of what both are members of fails.
template <typename T>
class closing_channel {
public:
    explicit closing_channel(channel<T>& one) : one_(one) {}
    closing_channel(closing_channel const&) = delete;
    closing_channel& operator=(closing_channel const&) = delete;
    ~closing_channel() { one_.close(); }

private:
    channel<T>& one_;
};

}  // namespace access_log
