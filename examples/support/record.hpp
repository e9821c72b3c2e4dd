// SPDX-License-Identifier: MIT
#pragma once

#include "log_line.hpp"

#include <cstddef>
#include <cstdint>

namespace access_log {

/// What goes through the queue: a line and what the parser made of it. Malformed lines take the same way as requests,
/// so that the report can be read back from the database as a whole.
struct record {
    std::size_t input = 0;  ///< the index of the file
    std::uint64_t line = 0;
    parsed_line content = {};
};

}  // namespace access_log
