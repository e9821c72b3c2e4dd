// SPDX-License-Identifier: MIT
//
// The code of 12_coming_from_elixir.md.
#include "check.hpp"

#include <tidefall/definition.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

struct event {
    int user = 0;
    std::string what;
};

std::atomic<std::size_t> delivered{0};

struct event_queue : tidefall::definition<event_queue, tidefall::queue<event>> {
    static constexpr std::string_view environment = "MYAPP_EVENTS";  // MYAPP_EVENTS_PARTITIONS=4
    static tidefall::options defaults() { return {.processing_interval = 1s}; }
    static void process(std::span<event> batch) { delivered += batch.size(); }
};

int main() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> seen;
    auto const processor = [&](std::span<event> batch) {
        for (event& one : batch) seen.push_back(one.what);
    };

    // Routed by content, with a sort key per call.
    tidefall::queue<event, tidefall::sorted_by_key<int>> events({.name = "events",
                                                                 .partitions = 2,
                                                                 .processing_interval = 5s,
                                                                 .processing_batch_size = 10,
                                                                 .processing_timeout = 60s,
                                                                 .runtime = clock},
                                                                processor);
    event const late{1, "signed out"}, early{1, "signed in"};
    events.push(late, tidefall::partition_key{late.user}, tidefall::sort_key{20});
    events.push(early, tidefall::partition_key{early.user}, tidefall::sort_key{10});
    events.update_options({.processing_interval = 1s});
    clock->advance(1s);
    check(seen == std::vector<std::string>{"signed in", "signed out"});

    bool refused = false;
    try {
        tidefall::queue<event, tidefall::sorted_by_key<int>> none({.name = "none", .partitions = 0}, processor);
    } catch (tidefall::invalid_options const& error) {
        refused = std::string(error.what()) == "tidefall: option partitions is 0, but must be 1 to 65536";
    }
    check(refused);
    check(events.stop().complete);

    event_queue::start();
    event_queue::instance().push({2, "signed in"});
    event_queue::stop(10s, "a new release");  // the note for `partition_stop`
    check(delivered == 1);
    check(event_queue::options_for().name == "event_queue" && event_queue::options_for().processing_interval == 1s);
}
