// SPDX-License-Identifier: MIT
//
// Reads web server access logs and stores them in PostgreSQL, by COPY, each line once: over a server that is killed, a
// network that hangs, and a start over of this program.
//
//     06_postgres_ingest -d "host=127.0.0.1 dbname=logs" access.log
//     zcat access.log.*.gz | 06_postgres_ingest -d postgresql://me@db/logs -
//
// ingest.cpp has the part that is about tidefall, README.md what is guaranteed, demo.sh a server that is killed.
#include "../support/descriptors.hpp"
#include "../support/format.hpp"
#include "../support/input.hpp"
#include "../support/output.hpp"
#include "../support/source.hpp"
#include "../support/stop_request.hpp"
#include "ingest.hpp"
#include "settings.hpp"

#include <sysexits.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>

namespace postgres_ingest {
namespace {

constexpr char const* program = "06_postgres_ingest";

void report(ingest_counts const& counts, settings const& how, std::chrono::duration<double> elapsed) {
    using access_log::grouped;
    std::ostringstream text;
    auto const line = [&](char const* name, std::uint64_t count, std::string const& more = "") {
        if (count > 0 || more.empty()) access_log::label(text, name) << grouped(count) << more << '\n';
    };
    auto const rate = static_cast<std::uint64_t>(static_cast<double>(counts.lines) / elapsed.count());
    line("lines", counts.lines);
    line("waited", counts.waited, " in " + how.ingest.spill + ", of an earlier run");
    line("stored", counts.stored);
    line("known", counts.known, ", which were in the table");
    line("rejected", counts.rejected, ", in " + how.ingest.rejects);
    line("kept", counts.kept, " in " + how.ingest.spill);
    line("lost", counts.lost, ": neither server nor spill file took them");
    if (counts.lines > 0) line("lines/s", rate);
    output::write(text.str());
}

int store_log(settings const& how) {
    auto const began = std::chrono::steady_clock::now();
    access_log::stop_request stop;
    access_log::check_readable(how.source.inputs);
    ingest into(how, stop);
    access_log::feed_and_finish(how.source, into, stop);
    auto const counts = into.counts();
    report(counts, how, std::chrono::steady_clock::now() - began);
    if (counts.lost > 0) return 1;
    if (stop.signal() != 0) return 128 + stop.signal();
    return counts.kept > 0 ? EX_TEMPFAIL : 0;
}

}  // namespace
}  // namespace postgres_ingest

int main(int argc, char** argv) {
    using namespace postgres_ingest;
    try {
        access_log::keep_standard_descriptors();
        output::let_closed_pipes_fail();
        settings how;
        if (auto const code = read_command_line(argc, argv, how)) return *code;
        return how.source.output.empty() ? store_log(how) : access_log::write_sample(how.source);
    } catch (access_log::compressed_error const& error) {
        std::cerr << program << ": " << error.what() << ": " << error.command(program) << '\n';
    } catch (std::exception const& error) {
        std::cerr << program << ": " << error.what() << '\n';
    }
    return 1;
}
