// SPDX-License-Identifier: MIT
//
// Options that the programs have in common.
#pragma once

#include "source.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

namespace access_log {

inline constexpr char const* notes =
    "Blank lines are skipped; malformed ones are counted, with their number and the reason. A request that is not\n"
    "'METHOD path HTTP/version' is a request with an empty path.\n"
    "Ctrl-C ends the reading; what was parsed until then is stored and reported.\n"
    "Exit codes: 0; 1 for an input that cannot be read, or a database that cannot be written or is not what was read\n"
    "in the end; 2 for a wrong command line; 130 after Ctrl-C (143 after SIGTERM).";

inline void add_source_options(CLI::App& to, source_settings& into) {
    to.add_option("files", into.inputs, "Logs to read, in this order; - is standard input")->type_name("FILE");
    auto* const generate = to.add_option("--generate", into.sample_lines, "Make up a log of N lines and read that")
                               ->type_name("N")
                               ->excludes("files");
    to.add_option("--seed", into.seed, "Another seed makes up another log")
        ->type_name("N")
        ->capture_default_str()
        ->excludes("files");
    to.add_option("-o,--output", into.output, "With --generate: only write the log, to FILE or, with -, to stdout")
        ->type_name("FILE")
        ->needs(generate);
}

inline void add_database_options(CLI::App& to, std::string& file, bool& replace, char const* about_file) {
    to.add_option("-d,--database", file, about_file)->type_name("FILE")->capture_default_str();
    to.add_flag("--replace", replace, "Remove what earlier runs stored in the database");
}

/// The default is one a hardware thread, and at least 2.
inline void add_threads_option(CLI::App& to, std::size_t& threads) {
    threads = std::max(2U, std::thread::hardware_concurrency());
    to.add_option("--threads", threads, "Threads that parse")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 256));
}

inline void add_interval_option(CLI::App& to, std::chrono::milliseconds& interval, char const* about) {
    to.add_option_function<std::int64_t>(
          "--interval", [&interval](std::int64_t const& count) { interval = std::chrono::milliseconds(count); }, about)
        ->type_name("MS")
        ->default_str(std::to_string(interval.count()))
        ->check(CLI::Range(1, 3'600'000));
}

/// An exit code if the program is to end at once.
inline std::optional<int> parse(CLI::App& app, int argc, char** argv) {
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    return std::nullopt;
}

}  // namespace access_log
