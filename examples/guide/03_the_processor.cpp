// SPDX-License-Identifier: MIT
//
// The code of 03_the_processor.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
#include <version>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

using namespace std::chrono_literals;

struct event {
    int user = 0;
    std::string what;
};

void batches() {
    std::mutex mutex;
    std::vector<event> stored;
    tidefall::queue<event> events({.name = "events", .processing_interval = 1s, .processing_batch_size = 100},
                                  [&](std::span<event> batch) {
                                      std::lock_guard const lock(mutex);  // partitions are processed side by side
                                      for (event& one : batch) stored.push_back(std::move(one));
                                  });
    for (int user = 0; user < 250; ++user) events.push({user, "signed in"});
    events.stop();
    check(stored.size() == 250 && stored[0].what == "signed in");
}

#if defined(__cpp_lib_jthread)
struct slow_sink {
    std::shared_ptr<tidefall::manual_runtime> clock;
    int written = 0;
    void write(event const&) {
        ++written;
        clock->advance(20s);
    }
};

void tokens() {
    auto clock = tidefall::make_manual_runtime();
    slow_sink sink{clock};
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_interval = 1s, .processing_timeout = 30s, .runtime = clock},
        [&](std::span<event const> batch, std::stop_token token) {
            for (event const& one : batch) {
                if (token.stop_requested()) return;
                sink.write(one);
            }
        });
    for (int user = 0; user < 10; ++user) events.push({user, "signed in"});
    clock->advance(1s);
    check(sink.written == 2);  // 20 s each: the token was stopped during the second
    check(events.stats().failed == 10 && events.stats().processed == 0);
}
#else
void tokens() {
}
#endif

void whole_tables() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<tidefall::queue_table<event>> kept;
    tidefall::queue<event> events({.name = "events", .partitions = 1, .runtime = clock},
                                  [&](tidefall::queue_table<event> table) { kept.push_back(std::move(table)); });
    for (int user = 0; user < 1000; ++user) events.push({user, "signed in"});
    clock->advance(5s);
    check(kept.size() == 1 && kept[0].size() == 1000 && kept[0].begin()->user == 0);
}

void failures() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<event> lost;
    std::string why;
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_batch_size = 2, .runtime = clock},
        [&](std::span<event> batch) {
            if (batch[0].user == 2) throw std::runtime_error("the database is away");
        },
        [&](std::span<event> batch, tidefall::failure const& failure) {
            for (event& one : batch) lost.push_back(std::move(one));
            if (failure.reason != tidefall::failure_reason::exception) return;
            try {
                std::rethrow_exception(failure.error);
            } catch (std::exception const& error) {
                why = error.what();
            }
        });
    for (int user = 0; user < 6; ++user) events.push({user, "signed in"});
    clock->advance(5s);
    check(lost.size() == 2 && lost[0].user == 2 && lost[1].user == 3);
    check(why == "the database is away");
    check(events.stats().processed == 4 && events.stats().failed == 2);
}

void from_inside() {
    auto clock = tidefall::make_manual_runtime();
    int refused = 0;
    tidefall::queue<event>* self = nullptr;
    tidefall::queue<event> events({.name = "events", .partitions = 1, .runtime = clock}, [&](std::span<event> batch) {
        if (batch[0].user == 1) self->push({2, "follows from it"});  // the next tick delivers it
        try {
            self->flush();  // would wait for itself
        } catch (std::system_error const& error) {
            refused += error.code() == std::errc::resource_deadlock_would_occur;
        }
    });
    self = &events;
    events.push({1, "signed in"});
    clock->advance(10s);
    check(events.stats().processed == 2 && refused == 2);

    bool thrown = false;
    try {
        tidefall::queue<event> none({.name = "none"}, std::function<void(std::span<event>)>());
    } catch (std::invalid_argument const&) {
        thrown = true;
    }
    check(thrown);
}

int main() {
    batches();
    tokens();
    whole_tables();
    failures();
    from_inside();
}
