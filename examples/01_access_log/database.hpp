// SPDX-License-Identifier: MIT
#pragma once

#include "../support/record.hpp"
#include "../support/sqlite.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace access_log {

/// The SQLite file. Each run of the program adds to it, under a number of its own; no run touches what an earlier one
/// stored, unless it is asked to replace it. Every call throws `database_error`.
class database {
public:
    /// Makes the file if there is none, and begins a run that reads `inputs`.
    database(std::string const& file, bool replace, std::vector<std::string> const& inputs)
        : on_(file, application_id),
          run_(begin_run(replace, inputs)),
          insert_request_(prepare(
              "INSERT INTO requests (run, input, line, time, client, user, method, path, protocol, status, bytes, "
              "referrer, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")),
          insert_malformed_(prepare("INSERT INTO malformed (run, input, line, reason) VALUES (?, ?, ?, ?)")) {}

    /// Stores a batch in one transaction: all of it, or by an exception nothing. From one thread at a time.
    void write(std::span<record const> batch) {
        transaction all(on_);
        for (auto const& one : batch) {
            std::visit([&](auto const& content) { insert(one, content); }, one.content);
        }
        all.commit();
    }

    [[nodiscard]] statement prepare(std::string_view sql) const { return on_.prepare(sql); }
    [[nodiscard]] std::int64_t run() const { return run_; }

private:
    /// "tide": what marks a file as made by this program.
    static constexpr std::int64_t application_id = 0x74696465;

    static constexpr char const* schema = R"(
        CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, started INTEGER NOT NULL);
        CREATE TABLE IF NOT EXISTS inputs (run INTEGER, input INTEGER, name TEXT NOT NULL,
            PRIMARY KEY (run, input)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS requests (run INTEGER, input INTEGER, line INTEGER,
            time INTEGER NOT NULL, client TEXT NOT NULL, user TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
            protocol TEXT NOT NULL, status INTEGER NOT NULL, bytes INTEGER NOT NULL, referrer TEXT NOT NULL,
            agent TEXT NOT NULL, PRIMARY KEY (run, input, line)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS malformed (run INTEGER, input INTEGER, line INTEGER, reason TEXT NOT NULL,
            PRIMARY KEY (run, input, line)) WITHOUT ROWID;
    )";

    /// The number of the run.
    std::int64_t begin_run(bool replace, std::vector<std::string> const& inputs) {
        transaction all(on_);
        if (replace) {
            for (auto const* table : {"runs", "inputs", "requests", "malformed"}) {
                on_.execute("DROP TABLE IF EXISTS " + std::string(table));
            }
        }
        on_.execute(schema);
        on_.execute("INSERT INTO runs (started) VALUES (strftime('%s', 'now'))");
        auto const run = on_.last_insert_rowid();
        auto insert_input = prepare("INSERT INTO inputs (run, input, name) VALUES (?, ?, ?)");
        std::int64_t index = 0;
        for (auto const& name : inputs) insert_input.bind(run, index++, std::string_view(name)).run();
        all.commit();
        return run;
    }

    void insert(record const& one, request const& content) {
        auto const text = [](std::string const& value) { return std::string_view(value); };
        insert_request_
            .bind(run_, static_cast<std::int64_t>(one.input), static_cast<std::int64_t>(one.line), content.time,
                  text(content.client), text(content.user), text(content.method), text(content.path),
                  text(content.protocol), std::int64_t{content.status}, content.bytes, text(content.referrer),
                  text(content.agent))
            .run();
    }

    void insert(record const& one, malformed const& content) {
        insert_malformed_
            .bind(run_, static_cast<std::int64_t>(one.input), static_cast<std::int64_t>(one.line), content.reason)
            .run();
    }

    connection on_;
    std::int64_t const run_;
    statement insert_request_;  // after on_: a statement goes before its connection
    statement insert_malformed_;
};

}  // namespace access_log
