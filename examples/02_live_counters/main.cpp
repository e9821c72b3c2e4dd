// SPDX-License-Identifier: MIT
//
// Live statistics of web server access logs: requests, bytes and errors by path, and the last request of each client,
// as they are read, in an SQLite database and on the terminal.
//
//     02_live_counters                                makes a small log and counts that
//     tail -f access.log | 02_live_counters -         a log that is written, until Ctrl-C
//     02_live_counters --interval 100 access.log.*    files, with ten ticks a second
//
// Most writes of a tick come together in one entry of a map: the database is written by path and client, not by line.
// counters.cpp has the part that is about tidefall, database.hpp what the sink has to do for it.
#include "../support/format.hpp"
#include "../support/input.hpp"
#include "../support/program.hpp"
#include "../support/source.hpp"
#include "../support/sqlite.hpp"
#include "../support/stop_request.hpp"
#include "counters.hpp"
#include "database.hpp"
#include "display.hpp"
#include "reference.hpp"
#include "report.hpp"
#include "settings.hpp"

#include <chrono>
#include <iomanip>
#include <sstream>

namespace access_log {
namespace {

constexpr char const* program = "02_live_counters";

int count_log(settings const& how) {
    auto const began = std::chrono::steady_clock::now();
    stop_request stop;
    check_readable(how.source.inputs);
    database stored_in(how.database, how.replace);
    connection const stored(how.database, application_id);
    reference read(stored);
    counters counting(stored_in, read, stop, how.counting, how.source.layout);
    {
        display const shown(program, stored, counting, how.most_shown, how.counting.interval);
        feed_and_finish(how.source, counting, stop);
    }
    std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - began;

    read.require_equal(stored);
    std::ostringstream report;
    report << counted(counting.lines(), "line", "lines") << " in " << std::fixed << std::setprecision(2)
           << elapsed.count() << " s, to " << how.database << "; checked\n";
    write_coalescing(report, counting);
    report << '\n';
    write_report(report, stored, read, names_of(how.source), how.most_shown);
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
        return how.source.output.empty() ? count_log(how) : write_sample(how.source);
    });
}
