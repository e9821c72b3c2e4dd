// SPDX-License-Identifier: MIT
//
// The part that is about tidefall: lines wait in a queue, by their keys, and the answers of the brokers end its
// batches.
#pragma once

#include "../support/stop_request.hpp"
#include "../support/ticker.hpp"
#include "broker.hpp"
#include "settings.hpp"

#include <tidefall/async_batch.hpp>
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace broker_bridge {

/// lines + waited == confirmed + kept + lost
struct bridge_counts {
    std::uint64_t lines = 0;      ///< that were read
    std::uint64_t waited = 0;     ///< in the spill file at the start
    std::uint64_t confirmed = 0;  ///< by a broker
    std::uint64_t kept = 0;       ///< in the spill file now
    std::uint64_t lost = 0;       ///< neither a broker nor the spill file took them
    std::uint64_t doubtful = 0;   ///< of the confirmed: `broker::doubtful`
};

class bridge {
public:
    bridge(settings const& how, broker& to, access_log::stop_request const& stop);
    bridge(bridge const&) = delete;
    bridge& operator=(bridge const&) = delete;
    ~bridge();

    /// Takes a line, and waits while there is no room; where a stop is asked for it goes to the spill file then. From
    /// one thread.
    void push(std::uint64_t number, std::string_view line);

    /// Returns when every line is confirmed or in the spill file: after all attempts, or, where a stop is asked for,
    /// after one.
    void finish();

    [[nodiscard]] bridge_counts counts() const;

private:
    void deliver(tidefall::async_batch<message> batch);
    void bring_back();

    settings const how_;
    access_log::stop_request const& stop_;
    std::string const id_;
    broker& broker_;
    std::shared_ptr<tidefall::spill<message>> const spill_;
    std::uint64_t const waited_;
    std::uint64_t lines_ = 0;
    std::vector<message> unsent_ = {};  ///< that came when the queue was stopped
    std::atomic<bool> is_well_ = true;  ///< the last answer had no failure
    tidefall::queue<message> queue_;
    std::optional<access_log::ticker> back_;
};

}  // namespace broker_bridge
