// SPDX-License-Identifier: MIT
//
// Stands before the library's own process_barrier.hpp on the include path: a barrier among the explorer's threads, some
// of whose stores come late without one, and a lock leans after one write.
#pragma once

#include <tidefall/detail/sync.hpp>

#include <cstddef>

namespace tidefall::inline v0::detail {

inline constexpr bool has_owner_bias = true;
inline constexpr std::size_t writes_worth_a_barrier = 4;

class process_barrier {
public:
    static void prepare() noexcept {}
    [[nodiscard]] static bool is_ready() noexcept { return true; }
    static void issue() noexcept {
        explore::point();
        explore::settle_all();
        explore::point();
    }
};

class system_thread {
public:
    using id = std::size_t;
    static constexpr id none = 0;
    [[nodiscard]] static id current() noexcept { return explore::this_thread(); }
    [[nodiscard]] static bool has_ended(id which) noexcept {
        explore::point();
        return explore::has_ended(which);
    }
};

}  // namespace tidefall::inline v0::detail
