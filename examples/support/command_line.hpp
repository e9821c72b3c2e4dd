// SPDX-License-Identifier: MIT
//
// Options that the programs have in common. CLI11 is the largest header of all: only command_line.cpp includes it.
#pragma once

#include "layout.hpp"
#include "parse.hpp"
#include "source_settings.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace access_log {

inline constexpr char const* notes =
    "Blank lines are skipped; malformed ones are counted, with their number and the reason. A request that is not\n"
    "'METHOD path HTTP/version' is a request with an empty path. What a layout has before the client is left out.\n"
    "Compressed logs are refused: zcat access.log.*.gz and a pipe to '-' reads them.\n"
    "Ctrl-C ends the reading; what was parsed until then is stored and reported.\n"
    "Exit codes: 0; 1 for an input that cannot be read, a database that cannot be written or is not what was read in\n"
    "the end, or a report that cannot be written, which leaves the database as it should be; 2 for a wrong command "
    "line;\n"
    "130 after Ctrl-C (143 after SIGTERM).";

[[nodiscard]] inline std::string layout_help() {
    std::string help = "What stands before 'identity user [time] \"request\"':";
    for (auto const& one : layouts) help += "\n" + std::string(one.name) + ": " + std::string(one.looks_like);
    return help;
}

inline void add_source_options(CLI::App& to, source_settings& into) {
    to.add_option("files", into.inputs, "Logs to read, in this order; - is standard input")->type_name("FILE");
    std::vector<std::string> names;
    for (auto const& one : layouts) names.emplace_back(one.name);
    auto const choose = [&into](std::string const& name) {
        for (auto const& one : layouts) {
            if (one.name == name) into.layout = one.layout;
        }
    };
    to.add_option_function<std::string>("--layout", choose, layout_help())
        ->type_name("NAME")
        ->default_str("common")
        ->check(CLI::IsMember(names).description(""));
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

}  // namespace access_log
