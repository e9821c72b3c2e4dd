// SPDX-License-Identifier: MIT
//
// The second translation unit: without NDEBUG where the first has it, and the other way round.
#if defined(NDEBUG)
#undef NDEBUG
#else
#define NDEBUG
#endif
#include <tidefall/tidefall.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace {
struct event {
    int id = 0;
    std::string what;
};
}  // namespace

std::size_t size_in_the_other_file();
tidefall::detail::thread_state& thread_in_the_other_file();

std::size_t size_in_the_other_file() {
    tidefall::queue<event> items({.partitions = 1, .runtime = tidefall::make_manual_runtime()},
                                 [](std::span<event>) {});
    items.push({1, "x"});
    return items.stop().processed == 1 ? sizeof items : 0;
}

tidefall::detail::thread_state& thread_in_the_other_file() {
    return tidefall::detail::state_of_this_thread();
}
