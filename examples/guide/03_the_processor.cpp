// SPDX-License-Identifier: MIT
//
// The code of 03_the_processor.md.
#include "check.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
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

enum class answer { taken, busy, malformed };

/// Stands for a sink that answers for each event: one of them it never takes, and of the others two a call.
struct answering_sink {
    std::vector<int> written = {};
    std::vector<answer> write(std::span<event const> batch) {
        std::vector<answer> answers;
        int room = 2;
        for (event const& one : batch) {
            auto const said = one.user == 2 ? answer::malformed : room > 0 ? answer::taken : answer::busy;
            if (said == answer::taken) {
                written.push_back(one.user);
                --room;
            }
            answers.push_back(said);
        }
        return answers;
    }
    bool send(std::span<event const> batch) { return batch.empty(); }
};

void in_parts() {
    auto clock = tidefall::make_manual_runtime();
    answering_sink sink;
    std::vector<event> lost;
    auto const undelivered = [&](std::span<event> batch, tidefall::failure const& failure) {
        check(failure.reason == tidefall::failure_reason::rejected && failure.error != nullptr);
        for (event& one : batch) lost.push_back(std::move(one));
    };
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_interval = 1s, .runtime = clock},
        [&](std::span<event const> batch) {
            std::vector<answer> const answers = sink.write(batch);  // one for each event
            tidefall::batch_result result;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                if (answers[i] == answer::busy) result.reject(i);
                if (answers[i] == answer::malformed) result.refuse(i);
            }
            result.because(std::make_exception_ptr(std::runtime_error("the sink did not take it")));
            result.retry_after(2s);
            return result;
        },
        undelivered);
    for (int user = 0; user < 5; ++user) events.push({user, "signed in"});  // 2 is malformed, 3 and 4 come too early
    clock->advance(1s);
    check(events.stats().processed == 2 && events.stats().failed == 1 && events.stats().in_flight == 2);
    clock->advance(2s);
    check(events.stats().processed == 4 && events.stats().in_flight == 0 && lost.size() == 1);
    check(lost[0].user == 2 && sink.written == std::vector<int>{0, 1, 3, 4});
}

void from_one_on() {
    auto clock = tidefall::make_manual_runtime();
    std::size_t lost = 0;
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .runtime = clock},
        [](std::span<event const> batch) {
            tidefall::batch_result result;
            result.reject_from(batch.size() - 1);
            result.reject(batch.size() - 1);  // twice counts once
            return result;
        },
        [&](std::span<event> batch, tidefall::failure const& failure) {
            check(failure.reason == tidefall::failure_reason::rejected && !failure.error);
            lost += batch.size();
        });
    for (int user = 0; user < 5; ++user) events.push({user, "signed in"});
    check(events.stop().processed == 4 && lost == 1);

    tidefall::queue<event> beyond(
        {.name = "beyond", .partitions = 1, .runtime = clock},
        [](std::span<event const> batch) {
            tidefall::batch_result result;
            result.reject(batch.size());
            return result;
        },
        [&](std::span<event> batch, tidefall::failure const& failure) {
            check(failure.reason == tidefall::failure_reason::exception && batch.size() == 2);
            try {
                std::rethrow_exception(failure.error);
            } catch (std::out_of_range const&) {
                lost += batch.size();
            }
        });
    beyond.push({1, "signed in"});
    beyond.push({2, "signed in"});
    check(beyond.stop().failed == 2 && lost == 3);
}

void whole_or_not() {
    answering_sink sink;
    auto const whole = [&](std::span<event const> batch) {
        if (!sink.send(batch)) throw std::runtime_error("the sink took nothing");
    };
    tidefall::queue<event> events({.name = "events", .partitions = 1, .unheard = tidefall::unheard_action::ignore},
                                  whole);
    events.push({1, "signed in"});
    check(events.stop().failed == 1);
}

/// Stands for a sink that passes over a batch whose name it knows. Its first answer does not arrive.
struct careful_sink {
    std::set<std::string> names = {};
    std::vector<int> stored = {};
    int calls = 0;
    void store_once(std::string const& name, std::span<event const> batch) {
        if (names.insert(name).second) {
            for (event const& one : batch) stored.push_back(one.user);
        }
        if (++calls == 1) throw std::runtime_error("the connection broke");
    }
};

void named_batches() {
    auto clock = tidefall::make_manual_runtime();
    careful_sink sink;
    std::string const run = "2026-11-21T12:11";
    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_interval = 1s, .runtime = clock},
        tidefall::with_retry([&](std::span<event const> batch, tidefall::batch_info const& info) {
            auto const name = run + '/' + std::to_string(info.partition) + '/' + std::to_string(info.drain) + '/' +
                              std::to_string(info.index);
            sink.store_once(name, batch);  // stores it, and then the connection breaks
        }));
    for (int user = 0; user < 12; ++user) events.push({user, "signed in"});  // a batch of 10, and one of 2
    clock->advance(10s);
    check(sink.calls == 3 && sink.stored.size() == 12 && events.stats().processed == 12);
    check(sink.names == std::set<std::string>{"2026-11-21T12:11/0/1/0", "2026-11-21T12:11/0/1/1"});
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

void stages() {
    std::size_t stored = 0;
    auto const store = [&](std::span<event const> batch) { stored += batch.size(); };
    tidefall::queue<event> second({.name = "second", .partitions = 1, .capacity = 10}, store);
    tidefall::queue<event> first({.name = "first", .partitions = 1}, [&](std::span<event> batch) {
        for (event& one : batch) second.push(std::move(one));  // waits while the second stage is full
    });
    for (int user = 0; user < 1000; ++user) first.push({user, "signed in"});
    first.stop();  // the first stage first
    second.stop();
    check(stored == 1000 && second.stats().refused == 0);
}

void stages_of_one_worker() {
    auto one_worker = tidefall::make_runtime({.workers = 1});
    tidefall::queue<event> second(
        {.name = "second", .partitions = 1, .processing_interval = 1h, .capacity = 10, .runtime = one_worker},
        [](std::span<event>) {});
    int full = 0;
    tidefall::queue<event> first({.name = "first", .partitions = 1, .processing_batch_size = 30, .runtime = one_worker},
                                 [&](std::span<event> batch) {
                                     for (event& one : batch) {
                                         full += second.push(std::move(one)) == tidefall::write_status::full;
                                     }
                                 });
    for (int user = 0; user < 30; ++user) first.push({user, "signed in"});
    first.stop();
    check(full == 10);  // ten were swapped out, and ten wait
}

int main() {
    batches();
    in_parts();
    from_one_on();
    whole_or_not();
    named_batches();
    tokens();
    whole_tables();
    failures();
    from_inside();
    stages();
    stages_of_one_worker();
}
