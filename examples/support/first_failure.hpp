// SPDX-License-Identifier: MIT
#pragma once

#include "sqlite.hpp"
#include "stop_request.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <string>

namespace access_log {

/// The first batch that could not be stored. A buffer tries nothing twice: that batch is gone, and so is the sense of
/// reading on. Several threads may call everything.
class first_failure {
public:
    explicit first_failure(stop_request& stop) : stop_(stop) {}

    /// Notes it, and asks for the reading to end. Later ones are ignored.
    void note(std::exception_ptr const& error) {
        std::lock_guard const lock(mutex_);
        if (noted_.exchange(true)) return;
        reason_ = text_of(error);
        stop_.ask();
    }

    /// For a processor, before it begins: a transaction may wait for seconds before it fails. After the first that
    /// did, the others fail at once.
    void require_none() const {
        if (noted_.load()) throw database_error("an earlier batch failed");
    }

    /// Why, or nothing.
    [[nodiscard]] std::string reason() const {
        std::lock_guard const lock(mutex_);
        return reason_;
    }

private:
    static std::string text_of(std::exception_ptr const& error) {
        try {
            if (error) std::rethrow_exception(error);
        } catch (std::exception const& thrown) {
            return thrown.what();
        } catch (...) {
        }
        return "an unknown error";
    }

    stop_request& stop_;
    std::atomic<bool> noted_ = false;
    mutable std::mutex mutex_ = {};
    std::string reason_ = {};
};

}  // namespace access_log
