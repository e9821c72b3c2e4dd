// SPDX-License-Identifier: MIT
//
// Reads web server access logs, parses them on several threads and stores them in an SQLite database, batch by batch.
//
//     01_access_log                                   makes a small log and ingests that
//     01_access_log --database logs.db access.log     a file
//     zcat access.log.*.gz | 01_access_log -          standard input
//     01_access_log --layout vhost access.log         a virtual host before each client
//
// ingest.hpp and ingest.cpp have the part that is about tidefall.
#include "../support/format.hpp"
#include "../support/input.hpp"
#include "../support/program.hpp"
#include "../support/source.hpp"
#include "../support/stop_request.hpp"
#include "database.hpp"
#include "ingest.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "settings.hpp"

#include <unistd.h>

#include <chrono>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace access_log {
namespace {

constexpr char const* program = "01_access_log";

[[nodiscard]] progress_style style_of_progress(settings const& how) {
    if (how.verbose) return progress_style::lines;
    return ::isatty(STDERR_FILENO) == 1 ? progress_style::in_place : progress_style::none;
}

/// What the parsers made, what the queue says that it delivered and what the database holds is the same.
void require_all_stored(ingest const& from, stored_counts stored) {
    auto const in_database = stored.requests + stored.malformed;
    auto const stats = from.stats();
    if (from.records() == stats.accepted && stats.accepted == stats.processed && stats.processed == in_database) return;
    throw std::logic_error("of " + counted(from.records(), "parsed record", "parsed records") + ", " +
                           grouped(stats.processed) + " delivered and " + grouped(in_database) + " stored");
}

int ingest_log(settings const& how) {
    auto const began = std::chrono::steady_clock::now();
    stop_request stop;
    check_readable(how.source.inputs);
    database stored_in(how.database, how.replace, names_of(how.source));
    ingest lines(stored_in, stop, how.ingest, how.source.layout);
    {
        progress const shown(lines, style_of_progress(how));
        feed_and_finish(how.source, lines, stop);
    }
    std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - began;

    auto const stored = count_stored(stored_in);
    require_all_stored(lines, stored);
    auto const counts = lines.counts();
    std::ostringstream report;
    report << counted(counts.lines, "line", "lines") << " in " << std::fixed << std::setprecision(2) << elapsed.count()
           << " s, " << counted(counts.batches, "batch", "batches") << ", to " << how.database << '\n';
    write_report(report, stored_in, stored, how.top_paths);
    publish(report.str());
    return exit_code(program, stop);
}

}  // namespace
}  // namespace access_log

int main(int argc, char** argv) {
    using namespace access_log;
    settings how;
    return run_program(program, how.database, [&] {
        if (auto const code = read_command_line(argc, argv, how)) return *code;
        return how.source.output.empty() ? ingest_log(how) : write_sample(how.source);
    });
}
