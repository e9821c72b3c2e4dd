// SPDX-License-Identifier: MIT
//
// What is counted, and the two maps in which it waits for the database.
#pragma once

#include "../support/record.hpp"

#include <tidefall/hash_map.hpp>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace access_log {

/// The sums over requests: of one path or of all.
struct request_sums {
    std::int64_t requests = 0;
    std::int64_t bytes = 0;   ///< at most what fits
    std::int64_t errors = 0;  ///< answered with a status of 400 or more

    void add(int status, std::int64_t size) {
        ++requests;
        bytes += std::min(size, std::numeric_limits<std::int64_t>::max() - bytes);
        if (status >= 400) ++errors;
    }

    friend bool operator==(request_sums const&, request_sums const&) = default;
};

/// Which of two requests came later. A log's time has seconds; within one, the place of the line decides.
struct line_version {
    std::int64_t time = 0;  ///< seconds since 1970, UTC
    std::int64_t run = 0;
    std::int64_t input = 0;
    std::int64_t line = 0;

    friend auto operator<=>(line_version const&, line_version const&) = default;
};

[[nodiscard]] inline line_version version_of(record const& one, request const& content, std::int64_t run) {
    return {.time = content.time,
            .run = run,
            .input = static_cast<std::int64_t>(one.input),
            .line = static_cast<std::int64_t>(one.line)};
}

/// A client's last request.
struct client_state {
    std::string path = {};
    int status = 0;

    friend bool operator==(client_state const&, client_state const&) = default;
};

using path_map = tidefall::hash_map<std::string, request_sums>;
using client_map =
    tidefall::hash_map<std::string, client_state, std::hash<std::string>, std::equal_to<std::string>, line_version>;

}  // namespace access_log
