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
    "Counts requests, bytes and errors by path, and keeps the last request of each client, from web server access\n"
    "logs (Common and Combined Log Format), live in an SQLite database and on the terminal.\n"
    "Without a file it makes up a log of 5,000 lines and counts that.";

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    CLI::App app(about, "02_live_counters");
    app.footer(notes);
    add_source_options(app, into.source);
    add_database_options(app, into.database, into.replace,
                         "The SQLite file; a run adds to it, and must be the only one that does meanwhile");
    add_threads_option(app, into.counting.threads);
    add_interval_option(app, into.counting.interval, "Milliseconds from tick to tick: how old the database may be");
    app.add_option("--top", into.most_shown, "Paths and clients that are shown")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(0, 1'000'000));
    return parse(app, argc, argv);
}

}  // namespace access_log
