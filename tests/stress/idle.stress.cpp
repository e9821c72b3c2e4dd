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

/// How often each of these threads went to sleep. What takes the processor from it in between is the machine's load.
std::map<std::string, long> sleeps_of(std::string const& prefix) {
    std::map<std::string, long> all;
    for (auto const& thread : tests::threads()) {
        if (thread.name.rfind(prefix, 0) == 0) all[thread.name] = thread.voluntary_switches;
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

    // A thread has its name only once it has run: the timer, the watchdog and two workers.
    auto before = sleeps_of("idle/");
    while (before.size() < 4) {
        std::this_thread::yield();
        before = sleeps_of("idle/");
    }
    auto const since = std::chrono::steady_clock::now();
    std::this_thread::sleep_for(5s);
    auto const after = sleeps_of("idle/");
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
    CHECK(calls == 0);
    CHECK(after.size() == 4);
    for (auto const& [name, count] : after) {
        INFO(name << " went to sleep " << count - before.at(name) << " times in " << seconds << " s");
        CHECK(static_cast<double>(count - before.at(name)) < 2 * seconds);
    }
}
