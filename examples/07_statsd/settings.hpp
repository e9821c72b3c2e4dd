// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace statsd {

struct settings {
    std::string address = "127.0.0.1";
    int port = 8125;
    std::size_t threads = 2;
    int receive_buffer = 4 << 20;  ///< bytes; 0: the system's
    std::chrono::milliseconds window{10'000};
    std::string database = "statsd.db";
    std::chrono::hours keep{24 * 7};
    std::string graphite = {};  ///< HOST:PORT, or nothing
    int http_port = 8126;
    std::size_t most_series = 100'000;
    bool with_mutex = false;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

}  // namespace statsd
