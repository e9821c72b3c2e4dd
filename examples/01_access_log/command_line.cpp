// SPDX-License-Identifier: MIT
#include "../support/command_line.hpp"
#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <optional>
#include <string>

namespace access_log {
namespace {

constexpr char const* about =
    "Stores web server access logs (Common and Combined Log Format) in an SQLite database and reports what is in it.\n"
    "Without a file it makes up a log of 5,000 lines and ingests that.";

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    CLI::App app(about, "01_access_log");
    app.footer(notes);
    add_source_options(app, into.source);
    add_database_options(app, into.database, into.replace,
                         "The SQLite file; a run adds to it, and reports on itself alone");
    add_threads_option(app, into.ingest.threads);
    app.add_option("--batch", into.ingest.batch, "Records in one transaction at most")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000));
    app.add_option("--capacity", into.ingest.capacity,
                   "Records that wait for a transaction at most, and so the most in one")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    add_interval_option(app, into.ingest.interval, "Milliseconds that a record waits at most for its transaction");
    app.add_option("--top", into.top_paths, "Paths in the report")->type_name("N")->capture_default_str();
    app.add_flag("-v,--verbose", into.verbose, "Write the progress line by line, also where there is no terminal");
    return parse(app, argc, argv);
}

}  // namespace access_log
