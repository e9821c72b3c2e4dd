// SPDX-License-Identifier: MIT
//
// One line of an access log, in Common or Combined Log Format:
//
//     client identity user [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" status size
//     client identity user [dd/Mon/yyyy:hh:mm:ss +zzzz] "request" status size "referrer" "user agent"
//
// Fields are kept as the log has them, escapes such as \" and \x16 included. Fields that some servers add after the
// user agent are ignored. Nothing else may stand before the client than what the layout says: a line that is merely
// similar has to be refused, or a part of its head would be taken for the client.
#pragma once

#include "layout.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

namespace access_log {

struct request {
    std::int64_t time = 0;  ///< seconds since 1970, UTC
    std::string client = {};
    std::string user = {};
    /// These three are empty where the request is not `METHOD path HTTP/version`. Real logs have such lines, for
    /// connections that sent nothing or no HTTP; the server answered them, so they count as requests.
    std::string method = {};
    std::string path = {};
    std::string protocol = {};
    int status = 0;
    std::int64_t bytes = 0;  ///< 0 where the log has `-`
    std::string referrer = {};
    std::string agent = {};
};

struct malformed {
    std::string_view reason = {};  ///< a literal
};

using parsed_line = std::variant<request, malformed>;

namespace detail {

/// Takes a line apart from left to right. After the first failure every call returns nothing, so that a parser can
/// read all fields in a row and look at `reason` once.
class line_cursor {
public:
    explicit line_cursor(std::string_view line) : rest_(line) {}

    [[nodiscard]] std::string_view reason() const { return reason_; }
    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    [[nodiscard]] bool at(char c) const { return rest_.starts_with(c); }

    void fail(std::string_view reason) {
        if (reason_.empty()) reason_ = reason;
        rest_ = {};
    }

    void pass(char c, std::string_view otherwise) {
        if (!at(c)) return fail(otherwise);
        rest_.remove_prefix(1);
    }

    /// The text before `end`, which is passed over.
    std::string_view until(std::string_view end, std::string_view otherwise) {
        auto const size = rest_.find(end);
        if (size == std::string_view::npos) {
            fail(otherwise);
            return {};
        }
        auto const text = rest_.substr(0, size);
        rest_.remove_prefix(size + end.size());
        return text;
    }

    /// The text before the next space, or before the end of the line.
    std::string_view word() {
        auto const text = rest_.substr(0, rest_.find(' '));
        rest_.remove_prefix(text.size());
        return text;
    }

    /// The text between quotes; a backslash takes the meaning from the character after it.
    std::string_view quoted(std::string_view no_opening, std::string_view no_closing) {
        pass('"', no_opening);
        for (std::size_t i = 0; i < rest_.size(); ++i) {
            if (rest_[i] == '\\') {
                ++i;
            } else if (rest_[i] == '"') {
                auto const text = rest_.substr(0, i);
                rest_.remove_prefix(i + 1);
                return text;
            }
        }
        fail(no_closing);
        return {};
    }

private:
    std::string_view rest_;
    std::string_view reason_ = {};
};

/// The number that `digits` is, if it is nothing but digits.
template <typename Number>
std::optional<Number> to_number(std::string_view digits) {
    Number number{};
    auto const* const end = digits.data() + digits.size();
    auto const [stopped_at, error] = std::from_chars(digits.data(), end, number);
    // from_chars takes a sign, which none of the numbers in a log has.
    if (error != std::errc{} || stopped_at != end || digits.front() == '-') return std::nullopt;
    return number;
}

inline std::optional<unsigned> to_month(std::string_view name) {
    constexpr std::string_view names = "JanFebMarAprMayJunJulAugSepOctNovDec";
    auto const at = names.find(name);
    if (name.size() != 3 || at == std::string_view::npos || at % 3 != 0) return std::nullopt;
    return static_cast<unsigned>(at / 3 + 1);
}

/// Seconds since 1970, UTC, from `17/May/2015:10:05:03 +0000`.
inline std::optional<std::int64_t> to_time(std::string_view text) {
    //                                     01234567890123456789012345
    constexpr std::string_view separators = "  /   /    :  :  :   ";
    if (text.size() != 26 || (text[21] != '+' && text[21] != '-')) return std::nullopt;
    for (std::size_t i = 0; i < separators.size(); ++i) {
        if (separators[i] != ' ' && text[i] != separators[i]) return std::nullopt;
    }
    auto const day = to_number<unsigned>(text.substr(0, 2));
    auto const month = to_month(text.substr(3, 3));
    auto const year = to_number<int>(text.substr(7, 4));
    auto const hour = to_number<int>(text.substr(12, 2));
    auto const minute = to_number<int>(text.substr(15, 2));
    auto const second = to_number<int>(text.substr(18, 2));
    auto const zone_hours = to_number<int>(text.substr(22, 2));
    auto const zone_minutes = to_number<int>(text.substr(24, 2));
    if (!day || !month || !year || !hour || !minute || !second || !zone_hours || !zone_minutes) return std::nullopt;
    auto const date = std::chrono::year{*year} / std::chrono::month{*month} / std::chrono::day{*day};
    // 60 is a leap second.
    if (!date.ok() || text[20] != ' ' || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
    if (*zone_hours > 23 || *zone_minutes > 59) return std::nullopt;
    auto const local = std::chrono::sys_days{date} + std::chrono::hours{*hour} + std::chrono::minutes{*minute} +
                       std::chrono::seconds{*second};
    auto const offset = std::chrono::hours{*zone_hours} + std::chrono::minutes{*zone_minutes};
    // A zone east of Greenwich, +, is ahead of UTC.
    auto const utc = text[21] == '+' ? local - offset : local + offset;
    return std::chrono::duration_cast<std::chrono::seconds>(utc.time_since_epoch()).count();
}

inline bool is_method(std::string_view text) {
    return !text.empty() && text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == std::string_view::npos;
}

/// Takes `METHOD path HTTP/version` apart. Paths with spaces occur, so the protocol is what follows the last one.
/// HTTP 0.9 names no protocol.
inline void take_request(std::string_view text, request& into) {
    auto const first = text.find(' ');
    if (first == std::string_view::npos || !is_method(text.substr(0, first))) return;
    auto const last = text.rfind(' ');
    bool const named = last > first && text.substr(last + 1).starts_with("HTTP/");
    auto const path = named ? text.substr(first + 1, last - first - 1) : text.substr(first + 1);
    if (path.empty() || (!named && path.front() != '/')) return;
    into.method = text.substr(0, first);
    into.path = path;
    into.protocol = named ? text.substr(last + 1) : std::string_view{};
}

inline void take_status_and_size(line_cursor& at, request& into) {
    auto const status = to_number<int>(at.word());
    if (!status || *status < 100 || *status > 599) at.fail("the status is not a number from 100 to 599");
    at.pass(' ', "no size after the status");
    auto const size = at.word();
    auto const bytes = size == "-" ? std::optional<std::int64_t>{0} : to_number<std::int64_t>(size);
    if (!bytes) at.fail("the size is neither a number nor -");
    into.status = status.value_or(0);
    into.bytes = bytes.value_or(0);
}

inline void take_referrer_and_agent(line_cursor& at, request& into) {
    at.pass(' ', "");
    into.referrer = at.quoted("no referrer in quotes after the size", "no closing quote after the referrer");
    at.pass(' ', "no user agent after the referrer");
    into.agent = at.quoted("no user agent in quotes after the referrer", "no closing quote after the user agent");
    if (!at.at_end() && !at.at(' ')) at.fail("text directly after the user agent's closing quote");
}

/// An IPv4 or IPv6 address; that of a link may name its interface.
inline bool is_address(std::string_view text) {
    std::string const address(text.substr(0, text.find('%')));
    in6_addr parsed = {};  // of either kind
    if (::inet_pton(AF_INET6, address.c_str(), &parsed) == 1) return true;
    return address.size() == text.size() && ::inet_pton(AF_INET, address.c_str(), &parsed) == 1;
}

inline bool is_label(std::string_view text) {
    static constexpr std::string_view letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";  // _ is none of a host's, and occurs
    if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
    return text.find_first_not_of(letters) == std::string_view::npos;
}

/// A host's name: labels with dots between. The last one is no number, or it would be a broken address.
inline bool is_host_name(std::string_view text) {
    if (text.size() > 253) return false;
    if (text.ends_with('.')) text.remove_suffix(1);
    for (;;) {
        auto const label = text.substr(0, text.find('.'));
        if (!is_label(label)) return false;
        if (label.size() == text.size()) return label.find_first_not_of("0123456789") != std::string_view::npos;
        text.remove_prefix(label.size() + 1);
    }
}

/// nginx writes `unix:` for a client that came by a socket of the file system.
inline bool is_client(std::string_view text) {
    return is_address(text) || is_host_name(text) || text == "unix:";
}

inline bool is_virtual_host(std::string_view text) {
    if (is_address(text)) return true;
    auto const colon = text.rfind(':');
    if (colon != std::string_view::npos && to_number<std::uint16_t>(text.substr(colon + 1))) {
        text = text.substr(0, colon);
        if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    }
    return is_address(text) || is_host_name(text) || text == "_";
}

/// hh:mm:ss
inline bool is_clock(std::string_view text) {
    return text.size() == 8 && text[2] == ':' && text[5] == ':' && to_number<int>(text.substr(0, 2)) &&
           to_number<int>(text.substr(3, 2)) && to_number<int>(text.substr(6, 2));
}

inline void pass_virtual_host(line_cursor& at) {
    constexpr std::string_view otherwise = "no virtual host before the client";
    if (!is_virtual_host(at.until(" ", otherwise))) at.fail(otherwise);
}

/// `<133>Dec 23 15:31:15 host program: `, also without the priority, or with a time as 2014-12-23T15:31:15+01:00; the
/// program's name may have a number and a colon behind it.
inline void pass_syslog_head(line_cursor& at) {
    constexpr std::string_view otherwise = "no head of syslog before the client";
    if (at.at('<')) {
        at.pass('<', otherwise);
        if (!to_number<int>(at.until(">", otherwise))) at.fail(otherwise);
    }
    auto const first = at.until(" ", otherwise);
    if (first.size() == 3 && to_month(first)) {
        if (at.at(' ')) at.pass(' ', otherwise);  // a day of one digit has two places
        if (!to_number<int>(at.until(" ", otherwise))) at.fail(otherwise);
        if (!is_clock(at.until(" ", otherwise))) at.fail(otherwise);
    } else if (first.size() < 20 || first[4] != '-' || first[7] != '-' || first[10] != 'T' ||
               !is_clock(first.substr(11, 8))) {
        at.fail(otherwise);
    }
    auto const host = at.until(" ", otherwise);
    if (!is_address(host) && !is_host_name(host)) at.fail(otherwise);
    auto program = at.until(" ", otherwise);
    if (program.ends_with(':')) program.remove_suffix(1);
    if (program.ends_with(']')) program = program.substr(0, program.rfind('['));
    if (program.empty() || program.find_first_of("\"<>|,[]") != std::string_view::npos) at.fail(otherwise);
}

inline void pass_container_name(line_cursor& at) {
    constexpr std::string_view otherwise = "no container's name and bar before the client";
    auto name = at.until("| ", otherwise);
    auto const size = name.find_last_not_of(' ') + 1;
    if (size == name.size() || !is_host_name(name.substr(0, size))) at.fail(otherwise);
}

/// The first of a list is the client; `-` says that the header was missing. The others passed the request on.
inline std::string_view take_forwarded(line_cursor& at) {
    std::string_view client;
    for (bool more = true; more && at.reason().empty();) {
        auto names = at.until(" ", "no list of the client and its proxies");
        more = names.ends_with(',');
        if (more) names.remove_suffix(1);
        for (bool last = false; !last;) {
            auto const comma = names.find(',');
            auto const name = names.substr(0, comma);
            last = comma == std::string_view::npos;
            if (!last) names.remove_prefix(comma + 1);
            bool const missing = name == "-" && client.empty() && last && !more;
            if (!missing && !is_client(name)) at.fail("the list of proxies has what is no address and no host's name");
            if (client.empty()) client = name;
        }
    }
    return client;
}

inline std::string_view take_client(line_cursor& at, log_layout layout) {
    switch (layout) {
        case log_layout::forwarded: return take_forwarded(at);
        case log_layout::vhost: pass_virtual_host(at); break;
        case log_layout::syslog: pass_syslog_head(at); break;
        case log_layout::compose: pass_container_name(at); break;
        case log_layout::common: break;
    }
    auto const client = at.until(" ", "no client address");
    if (client.empty()) at.fail("no client address");
    if (!is_client(client)) at.fail("the client is neither an address nor a host's name");
    return client;
}

/// A user's name may have spaces. So has the field if the line has a word more than it should before the time, and then
/// what was taken for the client is another field.
inline std::string_view take_identity_and_user(line_cursor& at) {
    constexpr std::string_view too_many = "more than client, identity and user before the [time]";
    auto const identity = at.until(" ", "no identity after the client address");
    auto const user = at.until(" [", "no user and [time] after the identity");
    if (identity.empty()) at.fail("no identity after the client address");
    if (is_address(identity) || user.starts_with("- ")) at.fail(too_many);
    if (identity != "-" && user.find(' ') != std::string_view::npos) at.fail(too_many);
    return user;
}

inline parsed_line parse_line_as(std::string_view line, log_layout layout) {
    request parsed;
    line_cursor at(line);
    parsed.client = take_client(at, layout);
    parsed.user = take_identity_and_user(at);
    auto const time = to_time(at.until("] ", "no closing ] after the time"));
    if (!time) at.fail("the time is not dd/Mon/yyyy:hh:mm:ss +zzzz");
    parsed.time = time.value_or(0);
    take_request(at.quoted("no request in quotes after the time", "no closing quote after the request"), parsed);
    at.pass(' ', "no status after the request");
    take_status_and_size(at, parsed);
    if (!at.at_end()) take_referrer_and_agent(at, parsed);
    if (!at.reason().empty()) return malformed{at.reason()};
    return parsed;
}

}  // namespace detail

/// Parses a line, without its end (a carriage return may be left). Of a line that another layout would have understood
/// the reason names that one.
inline parsed_line parse_line(std::string_view line, log_layout layout) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    // A crash leaves runs of these in a log. As a part of a field one would hide the rest of it from SQL.
    if (line.find('\0') != std::string_view::npos) return malformed{"a NUL byte in the line"};
    auto parsed = detail::parse_line_as(line, layout);
    if (std::holds_alternative<request>(parsed)) return parsed;
    for (auto const& other : layouts) {
        if (other.layout != layout && std::holds_alternative<request>(detail::parse_line_as(line, other.layout))) {
            return malformed{other.refused};
        }
    }
    return parsed;
}

}  // namespace access_log
