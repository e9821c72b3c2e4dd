// SPDX-License-Identifier: MIT
//
// What the guide's pages say, their programs check.
#pragma once

#include <cstdio>
#include <cstdlib>

/// Ends the program, and so its test, if what the page says does not hold.
inline void check(bool holds, int line = __builtin_LINE()) {
    if (holds) return;
    std::fprintf(stderr, "line %d: does not hold\n", line);
    std::exit(1);
}
