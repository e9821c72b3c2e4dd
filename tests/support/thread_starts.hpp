// SPDX-License-Identifier: MIT
//
// Counts the threads that the program starts, and fails to start one where a test wants it. The calls that it stands
// before are in thread_starts.cpp, for programs that link it.
#pragma once

#include <cstdint>

namespace tests {

struct thread_starts {
    std::uint64_t started = 0;
    std::uint64_t joined = 0;
    std::uint64_t detached = 0;
};

[[nodiscard]] thread_starts thread_starts_so_far() noexcept;

/// The n-th thread that is started from now on cannot be, once; 0: each can.
void fail_thread_start(std::uint64_t nth) noexcept;

}  // namespace tests
