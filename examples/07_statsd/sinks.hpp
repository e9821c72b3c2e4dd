// SPDX-License-Identifier: MIT
//
// Where points go. What a sink is given a second time, since another one failed, changes nothing.
#pragma once

#include "../support/sqlite.hpp"
#include "metric_line.hpp"
#include "settings.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace statsd {

struct point {
    std::string_view key;
    std::string_view stat;  ///< count, value, p95 and so on
    double value;
};

/// Of one kind and window. `time` is its end, in milliseconds since 1970.
struct window_points {
    kind what = kind::counter;
    std::int64_t time = 0;
    std::span<point const> points = {};
};

/// An SQLite file: a window is one transaction.
class database {
public:
    database(std::string const& file, std::chrono::hours keep)
        : on_(file, 0x7469647A),
          keep_(keep),
          insert_(prepare("INSERT OR REPLACE INTO points (kind, name, tags, stat, time, value) "
                          "VALUES (?, ?, ?, ?, ?, ?)")),
          forget_(on_.prepare("DELETE FROM points WHERE kind = ? AND time < ?")) {
        on_.execute("PRAGMA busy_timeout = 100");  // who calls tries again later, and waits without a thread
    }

    void write(window_points const& window) {
        access_log::transaction all(on_);
        auto const what = kind_names[static_cast<std::size_t>(window.what)];
        for (auto const& one : window.points) {
            series_name const series(one.key);
            insert_.bind(what, series.name, series.tags, one.stat, window.time, one.value).run();
        }
        if (window.time >= next_forgetting_) {
            next_forgetting_ = window.time + std::chrono::milliseconds(std::chrono::minutes(10)).count();
            forget_.bind(what, window.time - std::chrono::milliseconds(keep_).count()).run();
        }
        all.commit();
    }

private:
    access_log::statement prepare(char const* sql) {
        on_.execute(
            "CREATE TABLE IF NOT EXISTS points (kind TEXT NOT NULL, name TEXT NOT NULL, tags TEXT NOT NULL, "
            "stat TEXT NOT NULL, time INTEGER NOT NULL, value REAL NOT NULL, "
            "PRIMARY KEY (kind, name, tags, stat, time)) WITHOUT ROWID");
        return on_.prepare(sql);
    }

    access_log::connection on_;
    std::chrono::hours const keep_;
    std::int64_t next_forgetting_ = 0;
    access_log::statement insert_;
    access_log::statement forget_;
};

/// A Graphite server, by its plain protocol: a line `PATH VALUE TIME` for each point. It answers nothing: what is on
/// its way when the connection breaks may be lost.
class graphite {
public:
    explicit graphite(std::string const& address) {
        auto const colon = address.rfind(':');
        if (colon == std::string::npos) throw std::invalid_argument("--graphite needs HOST:PORT, not " + address);
        host_ = address.substr(0, colon);
        port_ = address.substr(colon + 1);
    }
    graphite(graphite const&) = delete;
    graphite& operator=(graphite const&) = delete;
    ~graphite() { disconnect(); }

    void write(window_points const& window) {
        text_.clear();
        for (auto const& one : window.points) append(window, one);
        if (has_gone()) disconnect();
        if (to_ < 0) connect();
        for (std::string_view rest = text_; !rest.empty();) {
            auto const sent = ::send(to_, rest.data(), rest.size(), MSG_NOSIGNAL);
            if (sent < 0) {
                auto const error = failure("cannot send to");
                disconnect();
                throw error;
            }
            rest.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

private:
    static constexpr timeval patience = {.tv_sec = 5, .tv_usec = 0};

    void append(window_points const& window, point const& one) {
        series_name const series(one.key);
        text_ += "stats.";
        text_ += kind_names[static_cast<std::size_t>(window.what)];
        text_ += '.';
        append_clean(series.name);
        if (one.stat != "value") (text_ += '.') += one.stat;
        for (auto rest = series.tags; !rest.empty();) {
            auto tag = detail::take(rest, ',');
            text_ += ';';
            append_clean(detail::take(tag, ':'));
            text_ += '=';
            append_clean(tag.empty() ? "true" : tag);
        }
        char number[64];
        text_.append(" ").append(number, std::to_chars(number, number + sizeof number, one.value).ptr);
        text_.append(" ").append(std::to_string(window.time / 1'000)).append("\n");
    }

    /// The characters that Graphite has in a path, as Etsy's server leaves them.
    void append_clean(std::string_view text) {
        for (char const c : text) {
            bool const is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                  c == '_' || c == '-' || c == '.';
            if (is_plain) {
                text_ += c;
            } else if (c == ' ' || c == '\t') {
                text_ += '_';
            } else if (c == '/') {
                text_ += '-';
            }
        }
    }

    void connect() {
        addrinfo const how = {.ai_flags = 0,
                              .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_protocol = 0,
                              .ai_addrlen = 0,
                              .ai_addr = nullptr,
                              .ai_canonname = nullptr,
                              .ai_next = nullptr};
        addrinfo* found = nullptr;
        if (int const error = ::getaddrinfo(host_.c_str(), port_.c_str(), &how, &found)) {
            throw std::runtime_error("no address for " + host_ + ": " + ::gai_strerror(error));
        }
        std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const all(found, ::freeaddrinfo);
        for (auto const* one = found; one != nullptr; one = one->ai_next) {
            to_ = ::socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
            if (to_ < 0) continue;
            ::setsockopt(to_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // for connect, too
            if (::connect(to_, one->ai_addr, one->ai_addrlen) == 0) return;
            auto const error = failure("cannot connect to");
            disconnect();
            if (one->ai_next == nullptr) throw error;
        }
        throw failure("cannot make a socket for");
    }

    /// Whether the other side has closed the connection: what is sent then is answered by nothing but a reset.
    [[nodiscard]] bool has_gone() const {
        char byte = 0;
        if (to_ < 0) return false;
        auto const got = ::recv(to_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    }

    void disconnect() {
        if (to_ >= 0) ::close(std::exchange(to_, -1));
    }

    [[nodiscard]] std::system_error failure(char const* what) const {
        return {errno, std::generic_category(), std::string(what) + " Graphite at " + host_ + ':' + port_};
    }

    std::string host_ = {};
    std::string port_ = {};
    std::string text_ = {};
    int to_ = -1;
};

}  // namespace statsd
