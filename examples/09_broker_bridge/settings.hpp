// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace broker_bridge {

struct settings {
    std::string brokers = {};  ///< host:port,… of Kafka, or nats://host:port,…
    std::string topic = "lines";
    std::vector<std::pair<std::string, std::string>> properties = {};  ///< of librdkafka
    std::optional<std::uint16_t> listen = {};                          ///< a port; none: standard input
    std::string id = {};                                               ///< what the ids begin with
    std::size_t key = 1;                                               ///< which word of a line is its key; 0: none
    std::size_t partitions = 2;
    std::size_t batch = 1'000;
    std::size_t in_flight = 8;
    std::size_t attempts = 5;
    std::chrono::milliseconds interval{50};
    std::chrono::seconds timeout{10};
    std::string spill = "lines.spill";
    bool verbose = false;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

}  // namespace broker_bridge
