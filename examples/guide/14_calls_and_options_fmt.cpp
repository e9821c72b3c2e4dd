// SPDX-License-Identifier: MIT
//
// The code block of 14_calls_and_options.md that needs fmt.
#include <tidefall/format.hpp>
#include <tidefall/log_telemetry.hpp>

#include <tidefall/queue.hpp>

#include <cstdio>
#include <span>
#include <string>

struct event {
    int user = 0;
    std::string what;
};

// clang-format off
int main() {
    auto const processor = [](std::span<event>) {};
    event const e{3, "signed_in"};

    #include <tidefall/format.hpp>
    #include <tidefall/log_telemetry.hpp>

    tidefall::queue<event> events(
        {.name = "events",
         .partitions = 1,
         .telemetry = tidefall::make_log_telemetry(stderr, {.level = tidefall::log_level::debug})},
        processor);
    events.push(e);
    fmt::print("{}\n", events.stop());
}
