// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/options.hpp>

#include <chrono>
#include <cstddef>

namespace logger_example {

struct sink_options {
    tidefall::overflow_policy overflow = tidefall::overflow_policy::block;
    std::size_t capacity = 8'192;             ///< lines that may wait; as many again may be on their way to the file
    std::chrono::milliseconds interval{100};  ///< so long a line waits at most, and is lost by a crash
};

}  // namespace logger_example
