// SPDX-License-Identifier: MIT
//
// The part that is about tidefall: lines wait in a queue, by their keys, and the answers of the brokers end its
// batches.
#pragma once

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
    bridge(settings const& how, broker& to);
    bridge(bridge const&) = delete;
    bridge& operator=(bridge const&) = delete;
    ~bridge();

    /// Takes a line, and waits while there is no room. From one thread.
    void push(std::uint64_t number, std::string_view line);

    /// Returns when every line is confirmed or in the spill file; where there is no hurry, after all attempts.
    void finish(bool hurry);

    [[nodiscard]] bridge_counts counts() const;

private:
    void deliver(tidefall::async_batch<message> batch);
    void bring_back();

    settings const how_;
    std::string const id_;
    broker& broker_;
    std::shared_ptr<tidefall::spill<message>> const spill_;
    std::uint64_t const waited_;
    std::uint64_t lines_ = 0;
    std::atomic<bool> is_well_ = true;  ///< the last answer had no failure
    tidefall::queue<message> queue_;
    std::optional<access_log::ticker> back_;
};

}  // namespace broker_bridge
