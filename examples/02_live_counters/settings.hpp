// SPDX-License-Identifier: MIT
#pragma once

#include "../support/source_settings.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace access_log {

struct counter_options {
    std::size_t threads = 2;
    std::chrono::milliseconds interval{1'000};
};

struct settings {
    source_settings source = {};
    std::string database = "live_counters.db";
    bool replace = false;
    counter_options counting = {};
    std::size_t most_shown = 10;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

}  // namespace access_log
