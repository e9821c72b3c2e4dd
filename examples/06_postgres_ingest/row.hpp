// SPDX-License-Identifier: MIT
//
// A line of a log as a row of the table: what goes through the queue, into the spill file and to the server is one
// line of COPY's text format. It is made once, on the thread that parsed the line.
#pragma once

#include "../support/log_line.hpp"

#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace postgres_ingest {

using row = std::string;

/// The columns that `make_row` fills, in its order. The table may have others, with a default.
#define ACCESS_LOG_COLUMNS "log, line, time, client, \"user\", method, path, protocol, status, bytes, referrer, agent"

/// For a new connection. Not IF NOT EXISTS: that asks for the right to make tables where there is one already, and
/// fails where two make it at once, which the lock prevents.
inline constexpr char const* prepare_tables = R"(
    DO $$ BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('access_log'));
        IF to_regclass('access_log') IS NULL THEN
            CREATE TABLE access_log (log bigint, line bigint, time timestamptz NOT NULL, client text NOT NULL,
                "user" text NOT NULL, method text NOT NULL, path text NOT NULL, protocol text NOT NULL,
                status smallint NOT NULL, bytes bigint NOT NULL, referrer text NOT NULL, agent text NOT NULL,
                PRIMARY KEY (log, line));
        END IF;
    END $$;
    CREATE TEMPORARY TABLE again AS SELECT )" ACCESS_LOG_COLUMNS " FROM access_log WITH NO DATA";

inline constexpr char const* copy_rows = "COPY access_log (" ACCESS_LOG_COLUMNS ") FROM STDIN";

/// The way of rows of which some may be there: aside, and from there those that are not.
inline constexpr char const* copy_again = "TRUNCATE again; COPY again (" ACCESS_LOG_COLUMNS ") FROM STDIN";
inline constexpr char const* insert_missing =
    "INSERT INTO access_log (" ACCESS_LOG_COLUMNS ") SELECT " ACCESS_LOG_COLUMNS
    " FROM again ON CONFLICT (log, line) DO NOTHING";

/// Where a line is: what makes it the same line when it is read again.
struct line_id {
    std::int64_t log;  ///< a hash of the log's first line
    std::uint64_t line;
};

/// FNV-1a, which gives the same number in every build: it is kept.
inline std::int64_t log_id(std::string_view first_line) {
    std::uint64_t hash = 14'695'981'039'346'656'037U;
    for (char const c : first_line) hash = (hash ^ static_cast<unsigned char>(c)) * 1'099'511'628'211U;
    return static_cast<std::int64_t>(hash);
}

template <typename Number>
void append_number(std::string& to, Number number) {
    char digits[24];
    to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
    to += '\t';
}

/// COPY's text format separates by tabs, ends a row by a newline, and escapes by a backslash.
inline void append_text(std::string& to, std::string_view text, char end = '\t') {
    for (char const c : text) {
        switch (c) {
            case '\\': to += "\\\\"; break;
            case '\t': to += "\\t"; break;
            case '\n': to += "\\n"; break;
            case '\r': to += "\\r"; break;
            default: to += c;
        }
    }
    to += end;
}

inline void append_time(std::string& to, std::int64_t seconds) {
    using namespace std::chrono;
    sys_seconds const time{std::chrono::seconds(seconds)};
    year_month_day const date{floor<days>(time)};
    hh_mm_ss const clock{time - floor<days>(time)};
    char text[] = "0000-00-00 00:00:00+00\t";
    auto const put = [&text](int at, long digits, long number) {
        for (auto i = at + digits; i-- > at; number /= 10) text[i] = static_cast<char>('0' + number % 10);
    };
    put(0, 4, static_cast<int>(date.year()));
    put(5, 2, static_cast<unsigned>(date.month()));
    put(8, 2, static_cast<unsigned>(date.day()));
    put(11, 2, clock.hours().count());
    put(14, 2, clock.minutes().count());
    put(17, 2, clock.seconds().count());
    to += text;
}

inline void append_id(std::string& to, line_id const& id) {
    append_number(to, id.log);
    append_number(to, id.line);
}

inline row make_row(line_id const& id, access_log::request const& from) {
    row to;
    to.reserve(128 + from.path.size() + from.referrer.size() + from.agent.size());
    append_id(to, id);
    append_time(to, from.time);
    append_text(to, from.client);
    append_text(to, from.user);
    append_text(to, from.method);
    append_text(to, from.path);
    append_text(to, from.protocol);
    append_number(to, from.status);
    append_number(to, from.bytes);
    append_text(to, from.referrer);
    append_text(to, from.agent, '\n');
    return to;
}

}  // namespace postgres_ingest
