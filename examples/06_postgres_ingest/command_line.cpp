// SPDX-License-Identifier: MIT
#include "../support/command_line.hpp"
#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace postgres_ingest {
namespace {

constexpr char const* about =
    "Stores web server access logs (Common and Combined Log Format) in the table access_log of a PostgreSQL database,\n"
    "which it makes where it is missing. Each line is there once, however often it is read.\n"
    "Without a file it makes up a log of 5,000 lines and stores that.";

constexpr char const* notes =
    "A line is known by its log, and a log by its first line: under another name it is the same log.\n"
    "What the server does not take for so many attempts waits in the spill file, and goes to the server by itself "
    "when\n"
    "it is back, in this run or the next one. What is no line of a log, or is refused for what it says, goes to the\n"
    "file of rejects.\n"
    "Ctrl-C ends the reading; what was read until then is stored, or in the spill file.\n"
    "Exit codes: 0: every line is in the table or in the file of rejects; 75: some are in the spill file, call it "
    "again;\n"
    "1 for an error; 2 for a wrong command line; 130 after Ctrl-C (143 after SIGTERM).";

void add_count(CLI::App& to, char const* name, std::size_t& count, std::size_t most, char const* help) {
    to.add_option(name, count, help)->type_name("N")->capture_default_str()->check(CLI::Range(std::size_t{1}, most));
}

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    using namespace access_log;
    auto& how = into.ingest;
    CLI::App app(about, "06_postgres_ingest");
    app.footer(notes);
    add_source_options(app, into.source);
    app.add_option(
           "-d,--database", how.server,
           "Where the server is, as libpq has it: \"host=db dbname=logs user=me\", or postgresql://me@db/logs;\n"
           "what is left out comes from PGHOST, PGUSER, PGPASSWORD, ~/.pgpass, …")
        ->type_name("CONNECTION");
    add_threads_option(app, how.threads);
    add_count(app, "--connections", how.connections, 64, "Connections, each with a partition of the queue");
    add_count(app, "--batch", how.batch, 1'000'000, "Lines in one COPY at most");
    add_count(app, "--attempts", how.attempts, 1'000, "Attempts of a batch before it goes to the spill file");
    add_interval_option(app, how.interval, "Milliseconds that a line waits at most for its COPY");
    app.add_option_function<int>(
           "--timeout", [&how](int const& count) { how.timeout = std::chrono::seconds(count); },
           "Seconds that one COPY, and the end of the program, may take")
        ->type_name("S")
        ->default_str(std::to_string(how.timeout.count()))
        ->check(CLI::Range(1, 3'600));
    app.add_option("--spill", how.spill, "The spill file")->type_name("FILE")->capture_default_str();
    app.add_option("--rejects", how.rejects, "The file of rejects: log, line, reason and text, with tabs between")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_flag("-v,--verbose", into.verbose, "Write what the queue does to standard error");
    return parse(app, argc, argv);
}

}  // namespace postgres_ingest
