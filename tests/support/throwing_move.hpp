// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>

namespace tests {

/// Throws when it is moved for the n-th time.
struct throwing_move {
    explicit throwing_move(int v) : value(v) { ++alive; }
    throwing_move(throwing_move const& other) : value(other.value) { ++alive; }
    throwing_move(throwing_move&& other) : value(other.value) {
        if (--throw_after == 0) throw std::runtime_error("move");
        ++alive;
    }
    ~throwing_move() { --alive; }
    int value;
    static inline int throw_after = 0;
    static inline int alive = 0;
};

}  // namespace tests
