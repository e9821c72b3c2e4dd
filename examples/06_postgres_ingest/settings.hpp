// SPDX-License-Identifier: MIT
#pragma once

#include "../support/source_settings.hpp"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace postgres_ingest {

struct ingest_options {
    std::string server = {};  ///< libpq's connection string; what it leaves out comes from the environment (PGHOST, …)
    std::size_t connections = 2;
    std::size_t threads = 2;
    std::size_t batch = 5'000;
    std::size_t attempts = 5;
    std::chrono::milliseconds interval{200};
    std::chrono::seconds timeout{30};
    std::string spill = "access_log.spill";
    std::string rejects = "access_log.rejects";
};

struct settings {
    access_log::source_settings source = {};
    ingest_options ingest = {};
    bool verbose = false;
};

/// Fills `into`; an exit code if the program is to end at once.
std::optional<int> read_command_line(int argc, char** argv, settings& into);

}  // namespace postgres_ingest
