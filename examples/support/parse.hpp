// SPDX-License-Identifier: MIT
#pragma once

#include "output.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <optional>
#include <sstream>

namespace access_log {

/// An exit code if the program is to end at once.
inline std::optional<int> parse(CLI::App& app, int argc, char** argv) {
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        std::ostringstream help;
        bool const asked_for = app.exit(error, help, std::cerr) == 0;
        if (asked_for) output::write(help.str());
        return asked_for ? 0 : 2;
    }
    return std::nullopt;
}

}  // namespace access_log
