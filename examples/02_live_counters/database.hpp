// SPDX-License-Identifier: MIT
#pragma once

#include "../support/sqlite.hpp"
#include "statistics.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace access_log {

/// "tidl": what marks a file as made by this program.
inline constexpr std::int64_t application_id = 0x7469646C;

/// The writing end of the SQLite file. Each run of the program adds to what is in it, unless it is asked to replace it.
/// A tick knows nothing of the ticks before: what they left is in the database, and each upsert combines the two. From
/// one thread at a time. Every call throws `database_error`.
class database {
public:
    /// Makes the file if there is none, and begins a run.
    database(std::string const& file, bool replace)
        : on_(file, application_id),
          run_(begin_run(replace)),
          // A tick's sums start from zero: they are added.
          upsert_path_(on_.prepare("INSERT INTO paths (path, requests, bytes, errors) VALUES (?, ?, ?, ?) "
                                   "ON CONFLICT (path) DO UPDATE SET requests = requests + excluded.requests, "
                                   "bytes = bytes + excluded.bytes, errors = errors + excluded.errors")),
          // A tick's state is the newest of its tick: an earlier tick may have brought a newer one.
          upsert_client_(
              on_.prepare("INSERT INTO clients (client, path, status, time, run, input, line) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (client) DO UPDATE "
                          "SET path = excluded.path, status = excluded.status, "
                          "time = excluded.time, run = excluded.run, input = excluded.input, line = excluded.line "
                          "WHERE (excluded.time, excluded.run, excluded.input, excluded.line) "
                          "> (clients.time, clients.run, clients.input, clients.line)")) {}

    /// The number of the run.
    [[nodiscard]] std::int64_t run() const { return run_; }

    /// Adds sums to those of their paths, in one transaction: all of them, or by an exception none.
    void add(std::span<path_map::value_type const> paths) {
        transaction all(on_);
        for (auto const& one : paths) {
            upsert_path_
                .bind(std::string_view(one.key), one.value.requests, one.value.bytes, one.value.errors)  //
                .run();
        }
        all.commit();
    }

    /// Stores states where they are newer than what is there, likewise. Returns how many were not.
    std::int64_t store_newer(std::span<client_map::value_type const> clients) {
        transaction all(on_);
        std::int64_t older = 0;
        for (auto const& one : clients) {
            upsert_client_
                .bind(std::string_view(one.key), std::string_view(one.value.path), std::int64_t{one.value.status},
                      one.version.time, one.version.run, one.version.input, one.version.line)
                .run();
            if (on_.changes() == 0) ++older;
        }
        all.commit();
        return older;
    }

private:
    static constexpr char const* schema = R"(
        CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, started INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS paths (path TEXT PRIMARY KEY, requests INTEGER NOT NULL, bytes INTEGER NOT NULL,
            errors INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS clients (client TEXT PRIMARY KEY, path TEXT NOT NULL, status INTEGER NOT NULL,
            time INTEGER NOT NULL, run INTEGER NOT NULL, input INTEGER NOT NULL, line INTEGER NOT NULL) WITHOUT ROWID;
    )";

    std::int64_t begin_run(bool replace) {
        transaction all(on_);
        if (replace) {
            for (auto const* table : {"runs", "paths", "clients"}) {
                on_.execute("DROP TABLE IF EXISTS " + std::string(table));
            }
        }
        on_.execute(schema);
        on_.execute("INSERT INTO runs (started) VALUES (strftime('%s', 'now'))");
        auto const run = on_.last_insert_rowid();
        all.commit();
        return run;
    }

    connection on_;
    std::int64_t const run_;
    statement upsert_path_;  // after on_: a statement goes before its connection
    statement upsert_client_;
};

// Reading, also while it is written.

[[nodiscard]] inline request_sums sums_in(connection const& from) {
    auto query =
        from.prepare("SELECT coalesce(sum(requests), 0), coalesce(sum(bytes), 0), coalesce(sum(errors), 0) FROM paths");
    query.step();
    return {.requests = query.number(0), .bytes = query.number(1), .errors = query.number(2)};
}

/// Calls `f(path, sums)` for the paths with the most requests.
inline void for_top_paths(connection const& from, std::int64_t most,
                          std::function<void(std::string const&, request_sums const&)> const& f) {
    auto query = from.prepare("SELECT path, requests, bytes, errors FROM paths ORDER BY requests DESC, path LIMIT ?");
    query.bind(most);
    while (query.step()) {
        f(query.text(0), {.requests = query.number(1), .bytes = query.number(2), .errors = query.number(3)});
    }
}

/// Calls `f(client, state, version)` for the clients that were seen last; for all with -1.
inline void for_last_clients(
    connection const& from, std::int64_t most,
    std::function<void(std::string const&, client_state const&, line_version const&)> const& f) {
    auto query = from.prepare(
        "SELECT client, path, status, time, run, input, line FROM clients "
        "ORDER BY time DESC, run DESC, input DESC, line DESC LIMIT ?");
    query.bind(most);
    while (query.step()) {
        f(query.text(0), {.path = query.text(1), .status = static_cast<int>(query.number(2))},
          {.time = query.number(3), .run = query.number(4), .input = query.number(5), .line = query.number(6)});
    }
}

}  // namespace access_log
