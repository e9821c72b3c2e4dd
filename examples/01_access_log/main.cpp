// SPDX-License-Identifier: MIT
//
// Reads web server access logs, parses them on several threads and stores them in an SQLite database, batch by batch.
//
//     01_access_log                                   makes a small log and ingests that
//     01_access_log --database logs.db access.log     a file
//     zcat access.log.*.gz | 01_access_log -          standard input
//
// ingest.hpp has the part that is about tidefall.
#include "command_line.hpp"
#include "database.hpp"
#include "format.hpp"
#include "ingest.hpp"
#include "input.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "sample_log.hpp"
#include "stop_request.hpp"

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace access_log {
namespace {

template <typename Source>
void feed_all(Source&& source, ingest& into) {
    while (auto lines = source.next()) {
        if (!into.feed(std::move(*lines))) return;
    }
}

void read_inputs(settings const& how, ingest& into, stop_request const& stop) {
    if (how.inputs.empty()) return feed_all(sample_log(how.sample_lines, how.seed, stop), into);
    for (std::size_t i = 0; i < how.inputs.size() && !stop.asked(); ++i) {
        feed_all(input_file(how.inputs[i], i, stop), into);
    }
}

[[nodiscard]] progress_style style_of_progress(settings const& how) {
    if (how.verbose) return progress_style::lines;
    return ::isatty(STDERR_FILENO) == 1 ? progress_style::in_place : progress_style::none;
}

/// Reads and stores everything. What was read before an error is stored as well.
void store_inputs(settings const& how, ingest& into, stop_request const& stop) {
    progress const shown(into, style_of_progress(how));
    std::exception_ptr error;
    try {
        read_inputs(how, into, stop);
    } catch (...) {
        error = std::current_exception();
    }
    into.finish();
    if (error) std::rethrow_exception(error);
}

/// What the parsers made, what the queue says that it delivered and what the database holds is the same.
void require_all_stored(ingest const& from, stored_counts stored) {
    auto const in_database = stored.requests + stored.malformed;
    auto const stats = from.stats();
    if (from.records() == stats.accepted && stats.accepted == stats.processed && stats.processed == in_database) return;
    throw std::logic_error(grouped(from.records()) + " records were parsed, " + grouped(stats.processed) +
                           " delivered and " + grouped(in_database) + " stored");
}

int ingest_log(settings const& how) {
    auto const names = how.inputs.empty() ? std::vector<std::string>{"sample log"} : how.inputs;
    auto const began = std::chrono::steady_clock::now();
    stop_request stop;
    check_readable(how.inputs);
    database stored_in(how.database, how.replace, names);
    ingest lines(stored_in, stop, how.ingest);
    store_inputs(how, lines, stop);
    std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - began;

    auto const stored = count_stored(stored_in);
    require_all_stored(lines, stored);
    auto const counts = lines.counts();
    std::cout << grouped(counts.lines) << " lines in " << std::fixed << std::setprecision(2) << elapsed.count()
              << " s, " << grouped(counts.batches) << " batches, to " << how.database << '\n';
    write_report(std::cout, stored_in, stored, how.top_paths);
    std::cout.flush();
    if (stop.signal() == 0) return 0;
    std::cerr << "01_access_log: interrupted; everything that was parsed is stored\n";
    return 128 + stop.signal();
}

int write_sample(settings const& how) {
    stop_request const stop;
    std::ofstream file;
    if (how.output != "-") file.open(how.output, std::ios::binary);
    std::ostream& out = how.output == "-" ? std::cout : file;
    sample_log log(how.sample_lines, how.seed, stop);
    while (auto const lines = log.next()) {
        if (!(out << lines->text)) break;
    }
    if (!out.flush()) throw std::runtime_error("cannot write " + how.output);
    return stop.signal() == 0 ? 0 : 128 + stop.signal();
}

}  // namespace
}  // namespace access_log

int main(int argc, char** argv) {
    access_log::settings how;
    try {
        if (auto const exit_code = access_log::read_command_line(argc, argv, how)) return *exit_code;
        return how.output.empty() ? access_log::ingest_log(how) : access_log::write_sample(how);
    } catch (access_log::database_error const& error) {
        std::cerr << "01_access_log: cannot use the database " << how.database << ": " << error.what() << '\n';
    } catch (std::exception const& error) {
        std::cerr << "01_access_log: " << error.what() << '\n';
    }
    return 1;
}
