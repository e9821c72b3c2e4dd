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
    int waits = 0;
    auto process = tidefall::serialised(tidefall::with_retry(
        [&](std::span<int const>) {
            if (++calls < 3) throw std::runtime_error("failed");
        },
        {.wait = [&](std::chrono::nanoseconds) { ++waits; }}));
#if defined(HAS_STOP_TOKEN)
    static_assert(!std::is_invocable_v<decltype(process)&, std::span<int>, std::stop_token>);
#endif
    tidefall::queue<int> items({.partitions = 1, .runtime = tidefall::make_manual_runtime()}, process);
    items.push(1);
    auto const report = items.stop();

    auto by_default = tidefall::with_retry(
        [&](std::span<int const>) {
            if (++calls < 5) throw std::runtime_error("failed");
        },
        {.first_delay = 1ms});
    int one[] = {1};
    by_default(std::span<int>(one));
    std::printf("%d processed, %d calls, %d waits\n", static_cast<int>(report.processed), calls, waits);
    return report.processed == 1 && calls == 5 && waits == 2 ? 0 : 1;
}
