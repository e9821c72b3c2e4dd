// SPDX-License-Identifier: MIT
//
// The exit codes: 0; 1 for an error; 2 for a wrong command line; 130 and 143 for a signal.
#pragma once

#include "compressed.hpp"
#include "descriptors.hpp"
#include "output.hpp"
#include "sqlite.hpp"
#include "stop_request.hpp"

#include <exception>
#include <iostream>
#include <string>

namespace access_log {

/// Runs what `main` is to do. Of an error it writes one line, and returns 1.
template <typename Run>
int run_program(char const* name, std::string const& database, Run&& run) {
    try {
        keep_standard_descriptors();
        output::let_closed_pipes_fail();
        return run();
    } catch (database_error const& error) {
        std::cerr << name << ": cannot use the database " << database << ": " << error.what() << '\n';
    } catch (compressed_error const& error) {
        std::cerr << name << ": " << error.what() << ": " << error.command(name) << '\n';
    } catch (std::exception const& error) {
        std::cerr << name << ": " << error.what() << '\n';
    }
    return 1;
}

/// Writes the report of a run, whose work is done by then.
inline void publish(std::string const& report) {
    try {
        output::write(report);
    } catch (output::error const& error) {
        throw output::error(error.what() + std::string("; everything that was parsed is stored"));
    }
}

/// The exit code of a run without an error, which a signal may have ended.
[[nodiscard]] inline int exit_code(char const* name, stop_request const& stop) {
    if (stop.signal() == 0) return 0;
    std::cerr << name << ": interrupted; everything that was parsed is stored\n";
    return 128 + stop.signal();
}

}  // namespace access_log
