// SPDX-License-Identifier: MIT
//
// What the database holds at the end of a run, and what the run did.
#pragma once

#include "../support/format.hpp"
#include "../support/sqlite.hpp"
#include "counters.hpp"
#include "database.hpp"
#include "display.hpp"
#include "reference.hpp"
#include "statistics.hpp"

#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <string>
#include <vector>

namespace access_log {

/// How many writes the maps took, and how few of them reached the database.
inline void write_coalescing(std::ostream& out, counters const& from) {
    auto const paths = from.path_stats();
    auto const clients = from.client_stats();
    out << "  paths: " << counted(paths.accepted, "update", "updates") << ", "
        << counted(paths.processed, "upsert", "upserts") << " in " << counted(paths.ticks, "tick", "ticks") << '\n';
    out << "  clients: " << counted(clients.accepted + clients.refused, "state", "states") << ", "
        << grouped(clients.refused) << " older than one of their tick, "
        << counted(clients.processed, "upsert", "upserts") << ", " << grouped(static_cast<std::uint64_t>(from.older()))
        << " older than one of an earlier tick\n";
}

inline void write_report(std::ostream& out, connection const& stored, reference const& read,
                         std::vector<std::string> const& inputs, std::size_t most) {
    auto const sums = sums_in(stored);
    auto const bytes = static_cast<std::uint64_t>(sums.bytes);
    auto const number = [&stored](char const* sql) { return grouped(static_cast<std::uint64_t>(stored.number(sql))); };
    label(out, "requests") << grouped(static_cast<std::uint64_t>(sums.requests)) << '\n';
    label(out, "errors") << grouped(static_cast<std::uint64_t>(sums.errors)) << '\n';
    label(out, "bytes") << grouped(bytes) << " (" << human_bytes(bytes) << ")\n";
    label(out, "paths") << number("SELECT count(*) FROM paths") << '\n';
    label(out, "clients") << number("SELECT count(*) FROM clients") << '\n';
    label(out, "malformed") << grouped(read.malformed_read()) << '\n';
    if (sums.requests > 0 && most > 0) {
        out << "\ntop paths\n";
        for (auto const& line : top_paths_table(stored, most)) out << line << '\n';
        out << "\nlast clients\n";
        for_last_clients(stored, static_cast<std::int64_t>(most),
                         [&](std::string const& client, client_state const& state, line_version const& version) {
                             out << "  " << utc_text(version.time) << "  " << state.status << "  " << std::left
                                 << std::setw(15) << printable(client) << std::right << "  " << printable(state.path)
                                 << '\n';
                         });
    }
    if (read.malformed_read() > 0) out << "\nfirst malformed lines\n";
    for (auto const& one : read.first_malformed()) {
        write_malformed_line(out, inputs[one.input], one.line, one.reason);
    }
}

}  // namespace access_log
