// SPDX-License-Identifier: MIT
#pragma once

#include "sink_options.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace logger_example {

struct settings {
    std::string file = "08_logger.log";
    std::uint64_t lines = 100'000;
    std::size_t threads = 4;
    sink_options sink = {};
    bool endings = false;
    bool compare = false;
    std::size_t rounds = 7;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

/// Ends a process in the middle of its logging in each of several ways, and says what was lost.
int show_endings(settings const& how);

/// Measures the sink beside spdlog's own loggers.
int compare(settings const& how);

}  // namespace logger_example
