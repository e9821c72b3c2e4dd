// SPDX-License-Identifier: MIT
//
// What many tests say.
#pragma once

#include "catch.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace tests {

/// From the first up to the last, which is not one of them.
inline std::vector<int> numbers(int from, int to) {
    std::vector<int> all(static_cast<std::size_t>(to - from));
    std::iota(all.begin(), all.end(), from);
    return all;
}

/// One partition, whose time the test moves.
inline tidefall::options one_partition(std::shared_ptr<tidefall::manual_runtime> clock, std::size_t batch = 10) {
    return {.partitions = 1, .processing_batch_size = batch, .runtime = std::move(clock)};
}

/// Waits for something that is about to happen on another thread.
template <typename F>
void until(F happened) {
    while (!happened()) std::this_thread::yield();
}

/// True if `act` throws a std::system_error of that kind.
inline bool deadlock_would_occur(std::function<void()> const& act) {
    try {
        act();
    } catch (std::system_error const& error) {
        return error.code() == std::errc::resource_deadlock_would_occur;
    }
    return false;
}

/// What an error of that type says that `act` throws; empty if it throws none.
template <typename Error>
std::string message_of(std::function<void()> const& act) {
    try {
        act();
    } catch (Error const& error) {
        return error.what();
    }
    return "";
}

/// Every accepted value is in exactly one of the other counters. For when no call on the buffer is running.
inline void check_conservation(tidefall::buffer_stats const& s) {
    CHECK(s.accepted == s.processed + s.failed + s.dropped + s.coalesced + s.erased + s.pending + s.in_flight);
}

}  // namespace tests
