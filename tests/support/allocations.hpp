// SPDX-License-Identifier: MIT
//
// Counts what the program allocates. The replaced operators are in allocations.cpp, for programs that link it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tests {

struct allocations {
    std::uint64_t count = 0;
    std::int64_t live_bytes = 0;
};

[[nodiscard]] allocations allocated() noexcept;

/// The n-th allocation from now on this thread throws std::bad_alloc, once; 0: none does.
void fail_allocation(std::uint64_t nth) noexcept;

/// True if the one that was asked for last is still to come.
[[nodiscard]] bool allocation_is_to_fail() noexcept;

}  // namespace tests
