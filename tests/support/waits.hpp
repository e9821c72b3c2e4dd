// SPDX-License-Identifier: MIT
//
// Counts the waits of the program that end at a time, by the clock of that time. The calls that it stands before are in
// waits.cpp, for programs that link it.
#pragma once

#include <cstdint>

namespace tests {

struct timed_waits {
    std::uint64_t by_steady_clock = 0;
    std::uint64_t by_system_clock = 0;
};

[[nodiscard]] timed_waits timed_waits_so_far() noexcept;

}  // namespace tests
