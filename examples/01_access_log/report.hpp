// SPDX-License-Identifier: MIT
//
// What a run stored, read back from the database.
#pragma once

#include "../support/format.hpp"
#include "database.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <string>

namespace access_log {

namespace detail {

inline std::uint64_t count_of(database const& from, char const* sql) {
    auto query = from.prepare(sql);
    query.bind(from.run()).step();
    return static_cast<std::uint64_t>(query.number(0));
}

inline void report_status_classes(std::ostream& out, database const& from, std::uint64_t requests) {
    auto query = from.prepare(
        "SELECT status / 100, count(*), sum(bytes) FROM requests WHERE run = ? GROUP BY status / 100 ORDER BY 1");
    query.bind(from.run());
    out << "\nstatus classes\n";
    while (query.step()) {
        auto const count = static_cast<std::uint64_t>(query.number(1));
        auto const share = 100 * static_cast<double>(count) / static_cast<double>(requests);
        out << "  " << query.number(0) << "xx " << std::setw(12) << grouped(count) << std::setw(8) << std::fixed
            << std::setprecision(1) << share << " %" << std::setw(12)
            << human_bytes(static_cast<std::uint64_t>(query.number(2))) << '\n';
    }
}

inline void report_top_paths(std::ostream& out, database const& from, std::size_t how_many) {
    auto query = from.prepare(
        "SELECT path, count(*), sum(bytes) FROM requests WHERE run = ? AND path <> '' GROUP BY path "
        "ORDER BY 2 DESC, 1 LIMIT ?");
    query.bind(from.run(), static_cast<std::int64_t>(how_many));
    out << "\ntop paths\n";
    while (query.step()) {
        out << std::setw(11) << grouped(static_cast<std::uint64_t>(query.number(1))) << std::setw(12)
            << human_bytes(static_cast<std::uint64_t>(query.number(2))) << "  " << printable(query.text(0)) << '\n';
    }
}

inline void report_first_malformed(std::ostream& out, database const& from) {
    auto query = from.prepare(
        "SELECT name, line, reason FROM malformed JOIN inputs USING (run, input) WHERE run = ? "
        "ORDER BY input, line LIMIT 5");
    query.bind(from.run());
    out << "\nfirst malformed lines\n";
    while (query.step()) {
        write_malformed_line(out, query.text(0), static_cast<std::uint64_t>(query.number(1)), query.text(2));
    }
}

}  // namespace detail

struct stored_counts {
    std::uint64_t requests = 0;
    std::uint64_t malformed = 0;
};

inline stored_counts count_stored(database const& from) {
    return {.requests = detail::count_of(from, "SELECT count(*) FROM requests WHERE run = ?"),
            .malformed = detail::count_of(from, "SELECT count(*) FROM malformed WHERE run = ?")};
}

inline void write_report(std::ostream& out, database const& from, stored_counts stored, std::size_t top_paths) {
    auto const bytes = detail::count_of(from, "SELECT coalesce(sum(bytes), 0) FROM requests WHERE run = ?");
    auto const clients = detail::count_of(from, "SELECT count(DISTINCT client) FROM requests WHERE run = ?");
    auto const not_http = detail::count_of(from, "SELECT count(*) FROM requests WHERE run = ? AND path = ''");
    auto const others = detail::count_of(from, "SELECT count(*) FROM runs WHERE run <> ?");
    out << "run " << from.run();
    if (others > 0) out << "; the database keeps " << grouped(others) << " other" << (others == 1 ? "" : "s");
    out << "\n\n";
    label(out, "requests") << grouped(stored.requests) << '\n';
    if (not_http > 0) label(out, "  not HTTP") << grouped(not_http) << '\n';
    label(out, "bytes") << grouped(bytes) << " (" << human_bytes(bytes) << ")\n";
    label(out, "clients") << grouped(clients) << '\n';
    label(out, "malformed") << grouped(stored.malformed) << '\n';
    if (stored.requests > 0) detail::report_status_classes(out, from, stored.requests);
    if (stored.requests > 0 && top_paths > 0) detail::report_top_paths(out, from, top_paths);
    if (stored.malformed > 0) detail::report_first_malformed(out, from);
}

}  // namespace access_log
