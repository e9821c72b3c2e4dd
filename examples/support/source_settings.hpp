// SPDX-License-Identifier: MIT
#pragma once

#include "layout.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace access_log {

struct source_settings {
    std::vector<std::string> inputs = {};  ///< none: a sample log is made up
    log_layout layout = log_layout::common;
    std::uint64_t sample_lines = 5'000;
    std::uint64_t seed = 1;
    std::string output = {};  ///< where a sample log is written that is not read
};

[[nodiscard]] inline std::vector<std::string> names_of(source_settings const& from) {
    return from.inputs.empty() ? std::vector<std::string>{"sample log"} : from.inputs;
}

}  // namespace access_log
