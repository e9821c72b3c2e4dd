// SPDX-License-Identifier: MIT
//
// As much of SQLite's C API as the examples need, with exceptions and destructors.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

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
    void bind_one(int index, double value) { require(sqlite3_bind_double(prepared_.get(), index, value)); }
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

/// An open SQLite file. Every call throws `database_error`.
class connection {
public:
    /// Makes the file if there is none. `application_id` marks it as made by this program; one of another is refused.
    connection(std::string const& file, std::int64_t application_id) {
        sqlite3* opened = nullptr;
        auto const result = sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
        on_.reset(opened);
        if (result != SQLITE_OK) throw database_error(opened ? sqlite3_errmsg(opened) : sqlite3_errstr(result));
        sqlite3_busy_timeout(opened, static_cast<int>(std::chrono::milliseconds(busy_timeout).count()));
        auto const id = number("PRAGMA application_id");
        if (id != application_id && (id != 0 || number("SELECT count(*) FROM sqlite_master") != 0)) {
            throw database_error("it is a database of another program");
        }
        // With a write-ahead log a commit is one append, and other programs can read while this one writes.
        execute("PRAGMA journal_mode = WAL");
        execute("PRAGMA synchronous = NORMAL");
        // A fixed amount of memory, whatever the size of the file and however SQLite was built: 2 MiB of pages; what
        // a query has to sort beyond that lies on disk.
        execute("PRAGMA cache_size = -2048");
        execute("PRAGMA temp_store = FILE");
        if (id != application_id) execute("PRAGMA application_id = " + std::to_string(application_id));
    }

    void execute(std::string const& sql) {
        if (sqlite3_exec(on_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
            throw database_error(sqlite3_errmsg(on_.get()));
        }
    }

    [[nodiscard]] statement prepare(std::string_view sql) const { return {on_.get(), sql}; }

    /// The first column of the first row, or 0.
    [[nodiscard]] std::int64_t number(std::string_view sql) const {
        auto query = prepare(sql);
        return query.step() ? query.number(0) : 0;
    }

    [[nodiscard]] std::int64_t last_insert_rowid() const { return sqlite3_last_insert_rowid(on_.get()); }

    /// Rows that the last statement inserted, changed or removed.
    [[nodiscard]] int changes() const { return sqlite3_changes(on_.get()); }

private:
    friend class transaction;

    /// So long SQLite waits for another process that writes to the file.
    static constexpr std::chrono::seconds busy_timeout{5};

    struct closer {
        void operator()(sqlite3* one) const { sqlite3_close(one); }
    };
    std::unique_ptr<sqlite3, closer> on_ = {};
};

/// Rolls back when it goes without `commit`.
class transaction {
public:
    // IMMEDIATE takes the write lock now, where SQLite waits for it; taken later it could fail half-way.
    explicit transaction(connection& in) : in_(in) { in_.execute("BEGIN IMMEDIATE"); }
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
    connection& in_;
    bool committed_ = false;
};

}  // namespace access_log
