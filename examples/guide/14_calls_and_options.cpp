// SPDX-License-Identifier: MIT
//
// The code blocks of 14_calls_and_options.md.
#include "check.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/definition.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
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
    events.partition_of(e.user);                                 // where that leads, 0 to partitions - 1

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
    int visits = 0;
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
    profiles.extract("user-2");                                  // the same, and gives the entry: std::optional<entry<…>>
    profiles.visit([&](auto const& entry) { visits += entry.value.visits; });  // each that waits, under a lock
    profiles.partition_of("user-3");                             // where the key goes

    profiles.stop();
    check(store.upserted == profiles.stats().processed && store.upserted >= 2 && visits >= 0);
}

/// Stands for a database, too.
struct event_sink {
    struct reply {
        bool ok;
    };
    void write(std::span<event const> batch) { written += batch.size(); }
    std::vector<reply> send(std::span<event const> batch) {
        std::vector<reply> replies(batch.size(), reply{true});
        if (written == 0) replies.back().ok = false;
        for (auto const& one : replies) written += one.ok;
        return replies;
    }
    std::atomic<std::size_t> written{0};
};

void what_it_took() {
    event_sink sink;
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .runtime = clock},
        [&](std::span<event const> batch) {
            auto const replies = sink.send(batch);
            tidefall::batch_result result;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                if (!replies[i].ok) result.reject(i);
            }
            result.retry_after(1s);                                  // without that they go to undelivered
            return result;
        }
    );
    events.push({1, "signed_in"});
    events.push({2, "signed_in"});
    clock->advance(5s);
    check(sink.written == 1 && events.stats().in_flight == 1);
    clock->advance(1s);
    check(sink.written == 2 && events.stats().processed == 2);
}

/// Stands for a client that calls back on a thread of its own.
struct later_sink {
    template <typename F>
    void send_later(std::span<event const> values, F then) {
        sent += values.size();
        client = std::thread([then = std::move(then)]() mutable { then(nullptr); });
    }
    std::size_t sent = 0;
    std::thread client;
};

void sinks_that_answer_later() {
    later_sink sink;
    {
        tidefall::queue<event> events(
            {.name = "events", .max_in_flight = 16},                 // batches of a partition that may be out at once
            [&](tidefall::async_batch<event> batch) {
                auto const values = batch.values();                  // valid until the batch ends
                sink.send_later(values, [batch = std::move(batch)](std::exception_ptr error) mutable {
                    error ? batch.fail(error) : batch.complete();    // once the answer is there, on whatever thread
                });
            });
        events.push({1, "signed_in"});
        check(events.flush().processed == 1);
    }
    sink.client.join();
    check(sink.sent == 1);
}

void encode(event const& e, std::string& to) { to = e.what; }
event decode(std::string_view record) { return {0, std::string(record)}; }

void when_the_sink_fails() {
    event_sink sink;
    {
        #include <tidefall/decorators.hpp>

        auto spill = tidefall::open_spill<event>("events.spill", encode, decode);
        tidefall::queue<event> events(
            {.name = "events", .capacity = 100'000},                 // memory grows while the sink is away
            tidefall::with_spill(                                    // what five attempts did not deliver goes to the file
                tidefall::with_retry([&](std::span<event const> batch) { sink.write(batch); },
                                     {.attempts = 5, .first_delay = 100ms, .max_delay = 10s}),
                spill),
            spill->undelivered());                                   // and so does what no attempt was left for
        events.push({1, "signed_in"});
    }
    check(sink.written == 1);
    std::filesystem::remove("events.spill");
}

void from_the_environment() {
    auto how = tidefall::options_from_environment("MYAPP_EVENTS", {.name = "events", .processing_interval = 1s});
    // MYAPP_EVENTS_PROCESSING_INTERVAL=500ms MYAPP_EVENTS_CAPACITY=10000 myapp
    check(how.name == "events");
}

std::atomic<std::size_t> processed{0};
void processor(std::span<event> batch) { processed += batch.size(); }
event const e{3, "signed_in"};

void by_name() {
    #include <tidefall/registry.hpp>

    tidefall::registry<tidefall::queue<event>> tenants;
    tenants.start("tenant-a", {.processing_interval = 1s}, processor);   // a taken name throws
    tenants.find("tenant-a")->push(e);                                   // a shared_ptr, empty if unknown
    tenants.stop("tenant-a");
    tenants.stop_all();

    check(processed == 1);
}

#include <tidefall/definition.hpp>

struct event_queue : tidefall::definition<event_queue, tidefall::queue<event>> {
    static constexpr std::string_view environment = "MYAPP_EVENTS";
    static tidefall::options defaults() { return {.name = "event_queue", .processing_interval = 1s}; }
};

void by_type() {
    event_queue::start(processor, {.processing_interval = 500ms});       // at the beginning of main
    event_queue::instance().push(e);                                     // anywhere
    event_queue::stop();                                                 // at its end: nothing else does it

    check(processed == 2);
}

void counting() {
    #include <tidefall/metrics_telemetry.hpp>

    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    tidefall::queue<event> events({.name = "events", .telemetry = metrics}, processor);

    std::string text = metrics->prometheus();   // drains by trigger, undelivered values by reason, a histogram of durations
    text = metrics->prometheus(events);         // and the buffer's own counters: pending, refused, processed, …

    check(text.find("tidefall_buffer_pending_values{buffer=\"events\"} 0") != std::string::npos);
}

/// Stands for a loop of the program's.
class event_loop {
public:
    void wake() {
        std::lock_guard const lock(mutex_);
        is_awake_ = true;
        woken_.notify_one();
    }
    void wait_until(std::chrono::steady_clock::time_point time) {
        std::unique_lock lock(mutex_);
        woken_.wait_until(lock, std::min(time, std::chrono::steady_clock::now() + 1h), [&] { return is_awake_; });
        is_awake_ = false;
    }
    bool goes_on() const { return processed < 100; }

private:
    std::mutex mutex_;
    std::condition_variable woken_;
    bool is_awake_ = false;
};

void write_hundred(tidefall::queue<event>& to) {
    for (int i = 0; i < 100; ++i) to.push(e);
}

void in_a_loop() {
    processed = 0;
    event_loop loop;
    auto polled = tidefall::make_polled_runtime([&] { loop.wake(); });   // where a write brings the deadline forward
    tidefall::queue<event> events({.name = "events", .drain_threshold = 100, .runtime = polled}, processor);
    std::thread writer([&] { write_hundred(events); });          // and so may handlers of the loop's own
    while (loop.goes_on()) {
        loop.wait_until(polled->next_deadline());                // sockets, timers, and wake()
        polled->poll();                                          // does what is due, and returns how many drains ran
    }
    writer.join();
    check(events.stats().processed == 100);
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
    what_it_took();
    sinks_that_answer_later();
    when_the_sink_fails();
    from_the_environment();
    by_name();
    by_type();
    counting();
    in_a_loop();
    testing_your_code();
}
