// SPDX-License-Identifier: MIT
//
// A thousand idle buffers on one runtime cost what the runtime's own threads cost: a look a second each.
#include "../support/catch.hpp"
#include "../support/threads.hpp"

#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

std::map<std::string, long> switches_of(std::string const& prefix) {
    std::map<std::string, long> all;
    for (auto const& thread : tests::threads()) {
        if (thread.name.rfind(prefix, 0) == 0) all[thread.name] = thread.voluntary_switches + thread.other_switches;
    }
    return all;
}

}  // namespace

TEST_CASE("idle: a thousand buffers on one runtime cause no call and no wake-up of their own") {
    auto const runtime = tidefall::make_runtime({.workers = 2, .thread_name = "idle"});
    std::atomic<int> calls{0};
    std::vector<std::unique_ptr<tidefall::queue<int>>> buffers;
    for (int i = 0; i < 1000; ++i) {
        buffers.push_back(std::make_unique<tidefall::queue<int>>(
            tidefall::options{.partitions = 2, .processing_interval = 10ms, .runtime = runtime},
            [&](std::span<int>) { ++calls; }));
    }
    // Not idle for a moment, so that what a drain leaves behind is seen too: the one look after ten intervals.
    buffers[0]->push(1);
    CHECK(buffers[0]->flush().complete);
    calls = 0;

    constexpr auto seconds = 5;
    // A thread has its name only once it has run: the timer, the watchdog and two workers.
    auto before = switches_of("idle/");
    while (before.size() < 4) {
        std::this_thread::yield();
        before = switches_of("idle/");
    }
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    auto const after = switches_of("idle/");
    CHECK(calls == 0);
    CHECK(after.size() == 4);
    for (auto const& [name, count] : after) {
        INFO(name << " switched " << count - before.at(name) << " times in " << seconds << " s");
        CHECK(count - before.at(name) < 2 * seconds);
    }
}
