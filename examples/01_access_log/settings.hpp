// SPDX-License-Identifier: MIT
#pragma once

#include "../support/source_settings.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace access_log {

struct ingest_options {
    std::size_t threads = 2;
    std::size_t batch = 1'000;
    std::size_t capacity = 10'000;
    std::chrono::milliseconds interval{200};
};

struct settings {
    source_settings source = {};
    std::string database = "access_log.db";
    bool replace = false;
    ingest_options ingest = {};
    std::size_t top_paths = 10;
    bool verbose = false;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

}  // namespace access_log
