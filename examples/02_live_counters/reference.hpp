// SPDX-License-Identifier: MIT
#pragma once

#include "../support/format.hpp"
#include "../support/record.hpp"
#include "database.hpp"
#include "statistics.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace access_log {

/// A malformed line of which the report tells.
struct malformed_line {
    std::size_t input = 0;
    std::uint64_t line = 0;
    std::string_view reason = {};
};

/// What the database must hold in the end, computed in the plain way: one lock, sums, and a map of all clients. It
/// begins with what the database holds before. Several threads may add.
class reference {
public:
    explicit reference(connection const& before) : sums_(sums_in(before)) {
        for_last_clients(before, -1,
                         [this](std::string const& client, client_state const& state, line_version const& version) {
                             clients_.emplace(client, last_request{version, state});
                         });
    }

    void add(std::span<record const> records, std::int64_t run) {
        std::lock_guard const lock(mutex_);
        for (auto const& one : records) {
            std::visit([&](auto const& content) { add(one, content, run); }, one.content);
        }
    }

    /// Throws where the database holds anything else. Nothing is added any more.
    void require_equal(connection const& after) const {
        auto const sums = sums_in(after);
        require("requests", sums.requests, sums_.requests);
        require("bytes", sums.bytes, sums_.bytes);
        require("errors", sums.errors, sums_.errors);
        std::size_t found = 0;
        for_last_clients(after, -1,
                         [&](std::string const& client, client_state const& state, line_version const& version) {
                             require(client, {version, state});
                             ++found;
                         });
        require("clients", static_cast<std::int64_t>(found), static_cast<std::int64_t>(clients_.size()));
    }

    [[nodiscard]] std::uint64_t requests_read() const { return requests_read_; }
    [[nodiscard]] std::uint64_t malformed_read() const { return malformed_read_; }
    [[nodiscard]] std::vector<malformed_line> const& first_malformed() const { return first_malformed_; }

private:
    static constexpr std::size_t most_malformed = 5;

    struct last_request {
        line_version version = {};
        client_state state = {};

        friend bool operator==(last_request const&, last_request const&) = default;
    };

    void add(record const& one, request const& content, std::int64_t run) {
        ++requests_read_;
        sums_.add(content.status, content.bytes);
        auto const version = version_of(one, content, run);
        auto const [at, is_new] = clients_.try_emplace(content.client);
        if (is_new || at->second.version < version) at->second = {version, {content.path, content.status}};
    }

    void add(record const& one, malformed const& content, std::int64_t) {
        ++malformed_read_;
        // Blocks come in any order; the first lines are told of.
        malformed_line const added{one.input, one.line, content.reason};
        auto const at = std::upper_bound(first_malformed_.begin(), first_malformed_.end(), added,
                                         [](malformed_line const& a, malformed_line const& b) {
                                             return std::pair(a.input, a.line) < std::pair(b.input, b.line);
                                         });
        first_malformed_.insert(at, added);
        if (first_malformed_.size() > most_malformed) first_malformed_.pop_back();
    }

    static void require(char const* what, std::int64_t in_database, std::int64_t expected) {
        if (in_database == expected) return;
        mismatch(std::string(what) + " are " + std::to_string(in_database) + " instead of " + std::to_string(expected));
    }

    void require(std::string const& client, last_request const& in_database) const {
        auto const expected = clients_.find(client);
        if (expected != clients_.end() && expected->second == in_database) return;
        mismatch("the last request of " + printable(client) + " is " + describe(in_database) + " instead of " +
                 (expected == clients_.end() ? "none" : describe(expected->second)));
    }

    static std::string describe(last_request const& one) {
        return "line " + std::to_string(one.version.line) + " of input " + std::to_string(one.version.input) +
               " in run " + std::to_string(one.version.run) + ", " + utc_text(one.version.time);
    }

    [[noreturn]] static void mismatch(std::string const& what) {
        throw std::logic_error("the database is not what was read, unless another program wrote to it: " + what);
    }

    std::mutex mutex_ = {};
    request_sums sums_;
    std::unordered_map<std::string, last_request> clients_ = {};
    std::uint64_t requests_read_ = 0;
    std::uint64_t malformed_read_ = 0;
    std::vector<malformed_line> first_malformed_ = {};  ///< sorted
};

}  // namespace access_log
