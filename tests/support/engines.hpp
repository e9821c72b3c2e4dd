// SPDX-License-Identifier: MIT
//
// The engines of the buffers that most tests use are compiled once, in engines.cpp, and not in each file that uses one.
// It comes with the precompiled header, so that no test names it.
#pragma once

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>

#include <functional>
#include <string>

#define TIDEFALL_ENGINE(SCOPE, ...)                                    \
    SCOPE template class tidefall::detail::buffer_core<__VA_ARGS__>;   \
    SCOPE template class tidefall::detail::open_batch<__VA_ARGS__>;    \
    SCOPE template class tidefall::detail::partition_set<__VA_ARGS__>; \
    SCOPE template class tidefall::detail::reporter<__VA_ARGS__>;      \
    SCOPE template class tidefall::detail::stripe_set<__VA_ARGS__>;    \
    SCOPE template class tidefall::buffer<__VA_ARGS__>;                \
    SCOPE template class tidefall::partition<__VA_ARGS__>;

namespace tests {
using sorted_ints =
    tidefall::detail::sorted_table<int, tidefall::detail::queue_order<int, tidefall::sorted_by<std::identity{}>>>;
}

#define TIDEFALL_ENGINES(SCOPE)                                        \
    TIDEFALL_ENGINE(SCOPE, tests::sorted_ints)                         \
    TIDEFALL_ENGINE(SCOPE, tidefall::queue_table<int>)                 \
    TIDEFALL_ENGINE(SCOPE, tidefall::queue_table<std::string>)         \
    TIDEFALL_ENGINE(SCOPE, tidefall::hash_map_table<int, int>)         \
    TIDEFALL_ENGINE(SCOPE, tidefall::hash_map_table<int, std::string>) \
    TIDEFALL_ENGINE(SCOPE, tidefall::hash_map_table<std::string, int>)

TIDEFALL_ENGINES(extern)
