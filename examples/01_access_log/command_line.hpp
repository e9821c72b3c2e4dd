// SPDX-License-Identifier: MIT
#pragma once

#include "ingest.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace access_log {

struct settings {
    std::vector<std::string> inputs = {};
    std::string database = "access_log.db";
    bool replace = false;
    ingest_options ingest = {};
    std::size_t top_paths = 10;
    bool verbose = false;
    std::uint64_t sample_lines = 5'000;
    std::uint64_t seed = 1;
    std::string output = {};  ///< where a sample log is written that is not ingested
};

inline constexpr char const* about =
    "Stores web server access logs (Common and Combined Log Format) in an SQLite database and reports what is in it.\n"
    "Without a file it makes up a log of 5,000 lines and ingests that.";

inline constexpr char const* notes =
    "Blank lines are skipped; malformed ones are counted, with their number and the reason. A request that is not\n"
    "'METHOD path HTTP/version' is a request with an empty path.\n"
    "Ctrl-C ends the reading; what was parsed until then is stored and reported.\n"
    "Exit codes: 0; 1 for an input that cannot be read or a database that cannot be written; 2 for a wrong command\n"
    "line; 130 after Ctrl-C (143 after SIGTERM).";

/// Fills `into`; an exit code if the program is to end at once.
inline std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    into.ingest.threads = std::max(2U, std::thread::hardware_concurrency());
    CLI::App app(about, "01_access_log");
    app.footer(notes);
    app.add_option("files", into.inputs, "Logs to read, in this order; - is standard input")->type_name("FILE");
    app.add_option("-d,--database", into.database, "The SQLite file; a run adds to it, and reports on itself alone")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_flag("--replace", into.replace, "Remove what earlier runs stored in the database");
    app.add_option("--threads", into.ingest.threads, "Threads that parse")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 256));
    app.add_option("--batch", into.ingest.batch, "Records in one transaction at most")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000));
    auto interval = into.ingest.interval.count();
    app.add_option("--interval", interval, "Milliseconds that a record waits at most for its transaction")
        ->type_name("MS")
        ->capture_default_str()
        ->check(CLI::Range(1, 3'600'000));
    app.add_option("--top", into.top_paths, "Paths in the report")->type_name("N")->capture_default_str();
    app.add_flag("-v,--verbose", into.verbose, "Write the progress line by line, also where there is no terminal");
    auto* const generate = app.add_option("--generate", into.sample_lines, "Make up a log of N lines and ingest that")
                               ->type_name("N")
                               ->excludes("files");
    app.add_option("--seed", into.seed, "Another seed makes up another log")
        ->type_name("N")
        ->capture_default_str()
        ->excludes("files");
    app.add_option("-o,--output", into.output, "With --generate: only write the log, to FILE or, with -, to stdout")
        ->type_name("FILE")
        ->needs(generate);
    try {
        app.parse(argc, argv);
    } catch (CLI::ParseError const& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    into.ingest.interval = std::chrono::milliseconds(interval);
    return std::nullopt;
}

}  // namespace access_log
