// SPDX-License-Identifier: MIT
#pragma once

#include "record.hpp"

#include <sqlite3.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace access_log {

class database_error : public std::runtime_error {
    using runtime_error::runtime_error;
};

/// A prepared statement: bind, step, read.
class statement {
public:
    statement(sqlite3* on, std::string_view sql) : on_(on) {
        sqlite3_stmt* prepared = nullptr;
        sqlite3_prepare_v2(on, sql.data(), static_cast<int>(sql.size()), &prepared, nullptr);
        prepared_.reset(prepared);
        if (!prepared) throw database_error(sqlite3_errmsg(on));
    }

    /// Sets the parameters from the first to the last. The texts must live until the next `bind` or `run`'s return.
    template <typename... Values>
    statement& bind(Values const&... values) {
        sqlite3_reset(prepared_.get());
        int index = 0;
        (bind_one(++index, values), ...);
        return *this;
    }

    /// True if there is a row to read.
    bool step() {
        switch (sqlite3_step(prepared_.get())) {
            case SQLITE_ROW: return true;
            case SQLITE_DONE: return false;
            default: throw database_error(sqlite3_errmsg(on_));
        }
    }

    /// Steps to the end, and lets go of the locks that a statement keeps that was not.
    void run() {
        while (step()) continue;
        sqlite3_reset(prepared_.get());
    }

    [[nodiscard]] std::int64_t number(int column) { return sqlite3_column_int64(prepared_.get(), column); }
    [[nodiscard]] std::string text(int column) {
        auto const* const bytes = static_cast<char const*>(sqlite3_column_blob(prepared_.get(), column));
        auto const size = sqlite3_column_bytes(prepared_.get(), column);
        return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(size));
    }

private:
    void bind_one(int index, std::int64_t value) { require(sqlite3_bind_int64(prepared_.get(), index, value)); }
    void bind_one(int index, std::string_view value) {
        require(sqlite3_bind_text(prepared_.get(), index, value.data(), static_cast<int>(value.size()), SQLITE_STATIC));
    }
    void require(int result) {
        if (result != SQLITE_OK) throw database_error(sqlite3_errmsg(on_));
    }

    struct finalizer {
        void operator()(sqlite3_stmt* one) const { sqlite3_finalize(one); }
    };
    sqlite3* on_;
    std::unique_ptr<sqlite3_stmt, finalizer> prepared_ = {};
};

/// The SQLite file. Each run of the program adds to it, under a number of its own; no run touches what an earlier one
/// stored, unless it is asked to replace it. Every call throws `database_error`.
class database {
public:
    /// Makes the file if there is none, and begins a run that reads `inputs`.
    database(std::string const& file, bool replace, std::vector<std::string> const& inputs) {
        sqlite3* opened = nullptr;
        auto const result = sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
        on_.reset(opened);
        if (result != SQLITE_OK) throw database_error(opened ? sqlite3_errmsg(opened) : sqlite3_errstr(result));
        sqlite3_busy_timeout(opened, static_cast<int>(std::chrono::milliseconds(busy_timeout).count()));
        require_ours();
        // With a write-ahead log a commit is one append, and other programs can read while this one writes.
        execute("PRAGMA journal_mode = WAL");
        execute("PRAGMA synchronous = NORMAL");
        begin_run(replace, inputs);
        insert_request_ = std::make_unique<statement>(prepare(
            "INSERT INTO requests (run, input, line, time, client, user, method, path, protocol, status, bytes, "
            "referrer, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
        insert_malformed_ = std::make_unique<statement>(
            prepare("INSERT INTO malformed (run, input, line, reason) VALUES (?, ?, ?, ?)"));
    }

    /// Stores a batch in one transaction: all of it, or by an exception nothing. From one thread at a time.
    void write(std::span<record const> batch) {
        transaction all(*this);
        for (auto const& one : batch) {
            std::visit([&](auto const& content) { insert(one, content); }, one.content);
        }
        all.commit();
    }

    [[nodiscard]] statement prepare(std::string_view sql) const { return {on_.get(), sql}; }
    [[nodiscard]] std::int64_t run() const { return run_; }

private:
    /// "tide": what marks a file as made by this program.
    static constexpr std::int64_t application_id = 0x74696465;
    /// So long SQLite waits for another process that writes to the file.
    static constexpr std::chrono::seconds busy_timeout{5};

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

    /// Rolls back when it goes without `commit`.
    class transaction {
    public:
        // IMMEDIATE takes the write lock now, where SQLite waits for it; taken later it could fail half-way.
        explicit transaction(database& in) : in_(in) { in_.execute("BEGIN IMMEDIATE"); }
        transaction(transaction const&) = delete;
        transaction& operator=(transaction const&) = delete;
        ~transaction() {
            if (!committed_) sqlite3_exec(in_.on_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
        }
        void commit() {
            in_.execute("COMMIT");
            committed_ = true;
        }

    private:
        database& in_;
        bool committed_ = false;
    };

    void execute(char const* sql) {
        if (sqlite3_exec(on_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
            throw database_error(sqlite3_errmsg(on_.get()));
        }
    }

    [[nodiscard]] std::int64_t number(std::string_view sql) const {
        auto query = prepare(sql);
        return query.step() ? query.number(0) : 0;
    }

    void require_ours() const {
        auto const id = number("PRAGMA application_id");
        if (id == application_id) return;
        if (id != 0 || number("SELECT count(*) FROM sqlite_master") != 0) {
            throw database_error("it is a database of another program");
        }
    }

    void begin_run(bool replace, std::vector<std::string> const& inputs) {
        transaction all(*this);
        if (replace) {
            for (auto const* table : {"runs", "inputs", "requests", "malformed"}) {
                execute(("DROP TABLE IF EXISTS " + std::string(table)).c_str());
            }
        }
        execute(("PRAGMA application_id = " + std::to_string(application_id)).c_str());
        execute(schema);
        execute("INSERT INTO runs (started) VALUES (strftime('%s', 'now'))");
        run_ = sqlite3_last_insert_rowid(on_.get());
        auto insert_input = prepare("INSERT INTO inputs (run, input, name) VALUES (?, ?, ?)");
        std::int64_t index = 0;
        for (auto const& name : inputs) insert_input.bind(run_, index++, std::string_view(name)).run();
        all.commit();
    }

    void insert(record const& one, request const& content) {
        auto const text = [](std::string const& value) { return std::string_view(value); };
        insert_request_
            ->bind(run_, static_cast<std::int64_t>(one.input), static_cast<std::int64_t>(one.line), content.time,
                   text(content.client), text(content.user), text(content.method), text(content.path),
                   text(content.protocol), std::int64_t{content.status}, content.bytes, text(content.referrer),
                   text(content.agent))
            .run();
    }

    void insert(record const& one, malformed const& content) {
        insert_malformed_
            ->bind(run_, static_cast<std::int64_t>(one.input), static_cast<std::int64_t>(one.line), content.reason)
            .run();
    }

    struct closer {
        void operator()(sqlite3* one) const { sqlite3_close(one); }
    };
    std::unique_ptr<sqlite3, closer> on_ = {};
    std::int64_t run_ = 0;
    std::unique_ptr<statement> insert_request_ = {};  // after on_: a statement goes before its connection
    std::unique_ptr<statement> insert_malformed_ = {};
};

}  // namespace access_log
