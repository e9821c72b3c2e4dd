// SPDX-License-Identifier: MIT
//
// The code blocks of README.md, but for its first program, examples/00_quick_start.cpp.
#include "check.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

struct event {
    int user = 0;
    std::string what;
};

struct profile {
    int visits = 0;
};

/// Stands for a database.
struct profile_store {
    void upsert(std::span<tidefall::entry<std::string, profile>> batch) { upserted += batch.size(); }
    std::atomic<std::size_t> upserted{0};
};

// clang-format off
void writing_to_a_queue() {
    tidefall::queue<event> events({.name = "events"}, [](std::span<event>) {});
    event const e{3, "signed_in"};
    std::vector<event> const more_events{{4, "signed_in"}, {4, "signed_out"}};

    events.push(event{1, "signed_in"});                          // write_status::accepted, or full, or stopped
    events.push({1, "signed_in"});
    events.emplace(2, "signed_out");
    events.push_range(more_events);                              // any input range; returns how many were accepted
    events.push(e, tidefall::partition_key{e.user});             // routed by the hash of a key
    events.push_range(more_events, tidefall::partition_by{&event::user});

    events.size();                                               // waiting now
    events.stats();                                              // counters: accepted, processed, failed, …
    events.flush();                                              // drain now, wait until it is processed; a report
    events.flush(2s);                                            // at most two seconds
    events.update_options({.processing_interval = 100ms});       // what is named changes, at once
    events.stop();                                               // close, drain; a report

    check(events.stats().processed == 8);
}

void writing_to_a_hash_map() {
    profile_store store;
    profile const p{5};
    profile const fallback;
    std::vector<std::pair<std::string, profile>> const pairs{{"user-3", p}};
    std::vector<std::tuple<std::string, profile, std::uint64_t>> const triples{{"user-4", p, 1}};

    #include <tidefall/hash_map.hpp>

    tidefall::hash_map<std::string, profile> profiles(
        {.name = "profiles", .processing_interval = 1s},
        [&](std::span<tidefall::entry<std::string, profile>> batch) { store.upsert(batch); });

    profiles.put("user-1", p);                                   // the last write wins
    profiles.put("user-2", {.visits = 1});
    profiles.put_all(pairs);                                     // a map, or any range of pair-likes; how many were accepted
    profiles.put_newer("user-1", p, 42);                         // only if 42 is greater than the version held; else stale
    profiles.put_newer("user-1", p);                             // with a version that grows over the whole process
    profiles.put_all_newer(triples);                             // {key, value, version}
    profiles.update("user-1", [](profile& q) { ++q.visits; });   // atomic; a new key starts from profile{}
    profiles.update("user-1", profile{7}, [](profile& q) { ++q.visits; });   // … or from what you give
    profiles.get("user-1");                                      // std::optional<profile>, a copy of what waits
    profiles.get_or("user-1", fallback);
    profiles.contains("user-1");
    profiles.erase("user-1");                                    // true if an entry was removed

    profiles.stop();
    check(store.upserted == profiles.stats().processed && store.upserted >= 3);
}

void testing_your_code() {
    std::vector<int> seen;
    auto const processor = [&](std::span<int> batch) { seen.assign(batch.begin(), batch.end()); };
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<int> tested({.processing_interval = 5s, .runtime = clock}, processor);
    tested.push(1);
    clock->advance(5s);   // the processor has run
    check(seen == std::vector{1});
}
// clang-format on

int main() {
    writing_to_a_queue();
    writing_to_a_hash_map();
    testing_your_code();
}
