// SPDX-License-Identifier: MIT
//
// A standard library without std::stop_token, as libc++ 16 is: everything but the forms that take one is there.
#include <condition_variable>
#include <thread>
#include <version>
#if defined(__cpp_lib_jthread)
#include <stop_token>
#define HAS_STOP_TOKEN
#endif
#undef __cpp_lib_jthread

#include <tidefall/tidefall.hpp>

#include <chrono>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <type_traits>

int main() {
    using namespace std::chrono_literals;
    int calls = 0;
    auto process = tidefall::serialised(tidefall::with_retry(
        [&](std::span<int const>) {
            if (++calls < 3) throw std::runtime_error("failed");
        },
        {.first_delay = 1s}));
#if defined(HAS_STOP_TOKEN)
    static_assert(
        !std::is_invocable_v<decltype(process)&, std::span<int>, tidefall::batch_info const&, std::stop_token>);
#endif
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, process);
    items.push(1);
    items.flush();
    clock->advance(1min);
    auto const processed = static_cast<int>(items.stats().processed);
    std::printf("%d processed, %d calls\n", processed, calls);
    return processed == 1 && calls == 3 ? 0 : 1;
}
