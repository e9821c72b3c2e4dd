// SPDX-License-Identifier: MIT
//
// As much of libpq as the program needs, with exceptions and destructors.
#pragma once

#include <libpq-fe.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace postgres {

/// What the server says, or libpq of the connection to it.
class error : public std::runtime_error {
public:
    error(std::string_view message, char const* state)
        : std::runtime_error(std::string(message.substr(0, message.find('\n')))), state_(state ? state : "") {}

    [[nodiscard]] bool is(std::string_view state) const { return state_ == state; }

    /// It is a fault of the rows, and will be one tomorrow: a value that the type or the encoding does not have, a
    /// constraint, a limit of size.
    [[nodiscard]] bool is_of_data() const {
        return state_.starts_with("22") || state_.starts_with("23") || state_.starts_with("54");
    }

private:
    std::string state_;  ///< SQLSTATE; empty where the server said nothing
};

inline constexpr std::string_view unique_violation = "23505";

/// A connection. Every call blocks, and throws `error`.
class connection {
public:
    explicit connection(std::string const& where) {
        // The connection string comes last, and so has the last word.
        char const* const names[] = {"connect_timeout", "tcp_user_timeout", "application_name",
                                     "client_encoding", "dbname",           nullptr};
        char const* const values[] = {"10", "30000", "06_postgres_ingest", "UTF8", where.c_str(), nullptr};
        on_.reset(PQconnectdbParams(names, values, 1));
        if (PQstatus(on_.get()) != CONNECTION_OK) throw error(PQerrorMessage(on_.get()), nullptr);
        PQsetNoticeProcessor(
            on_.get(), [](void*, char const*) {}, nullptr);
        socket_.number = ::dup(PQsocket(on_.get()));
    }

    /// Any number of statements, of which the last may be a COPY FROM STDIN. Returns how many rows the last one wrote.
    std::uint64_t execute(char const* statements) { return rows_of(result(PQexec(on_.get(), statements))); }

    /// Gives rows to the COPY FROM STDIN that was executed. Returns how many there were.
    template <typename Rows>
    std::uint64_t copy(Rows const& rows) {
        constexpr std::size_t enough = 65'536;  // for one message
        std::string message;
        bool sent = true;
        for (std::string_view const row : rows) {
            message += row;
            if (message.size() >= enough) sent = sent && put(message);
        }
        sent = sent && put(message) && PQputCopyEnd(on_.get(), nullptr) == 1;
        // What the server says is a better reason than that nothing could be sent any more.
        result const said(PQgetResult(on_.get()));
        if (PQresultStatus(said.get()) == PGRES_COPY_IN) throw error(PQerrorMessage(on_.get()), nullptr);
        auto const count = rows_of(said);
        while (result(PQgetResult(on_.get()))) continue;
        if (!sent) throw error("not all rows could be sent", nullptr);
        return count;
    }

    /// Has the call that runs fail, and all that follow. From any thread: the number is a copy, which libpq never
    /// closes under it.
    void cut() const noexcept { ::shutdown(socket_.number, SHUT_RDWR); }

private:
    struct result_clearer {
        void operator()(PGresult* one) const { PQclear(one); }
    };
    using result = std::unique_ptr<PGresult, result_clearer>;

    bool put(std::string& message) {
        bool const taken = PQputCopyData(on_.get(), message.data(), static_cast<int>(message.size())) == 1;
        message.clear();
        return taken;
    }

    std::uint64_t rows_of(result const& from) const {
        auto const status = PQresultStatus(from.get());
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN) {
            auto const* const message = PQresultErrorField(from.get(), PG_DIAG_MESSAGE_PRIMARY);
            error const reason(message != nullptr ? message : PQerrorMessage(on_.get()),
                               PQresultErrorField(from.get(), PG_DIAG_SQLSTATE));
            while (result(PQgetResult(on_.get()))) continue;  // until the connection is ready for another
            throw reason;
        }
        char const* const text = PQcmdTuples(from.get());
        std::uint64_t rows = 0;
        std::from_chars(text, text + std::strlen(text), rows);
        return rows;
    }

    struct closer {
        void operator()(PGconn* one) const { PQfinish(one); }
    };
    struct descriptor {
        descriptor() = default;
        descriptor(descriptor const&) = delete;
        descriptor& operator=(descriptor const&) = delete;
        ~descriptor() { ::close(number); }
        int number = -1;
    };
    std::unique_ptr<PGconn, closer> on_ = {};
    descriptor socket_ = {};
};

}  // namespace postgres
