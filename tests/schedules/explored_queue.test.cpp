// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: queues with writers, ticks, flushes and stops.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

using explore::draw;
using explore::flip;
using explore::gate;
using explore::hook;
using explore::item;
using explore::item_queue;
using explore::never;
using explore::require;
using explore::subject;
using explore::thread;
using explore::writers;
using tidefall::write_status;
using namespace std::chrono_literals;

using int_queue = tidefall::queue<int>;

TEST_CASE("explored: writers, ticks and stop") {
    explore::schedules([] {
        auto const partitions = 1 + draw(2);
        auto how = explore::drawn_options(partitions);
        how.shutdown_timeout = never;
        auto const events = std::dynamic_pointer_cast<hook>(how.telemetry);
        subject items(std::move(how), {.in_order = partitions == 1, .one_call_at_once = partitions == 1},
                      [](std::span<item> batch) {
                          if (batch.front().number % 7 == 3)
                              throw std::runtime_error("a batch of the processor's dislike");
                      });
        tidefall::drain_report first;
        tidefall::drain_report second;
        {
            writers const two(items, 2, 3);
            if (flip()) explore::pass(1ms);
            thread const other([&] { first = items->stop(); });
            second = items->stop();
        }
        require(first == second, "every stop returns the same report");
        require(first.complete, "a stop without a deadline is complete");
        require(items.push(1000) == write_status::stopped, "a write after stop is refused");
        require(items->stop() == first, "a stop later on returns the same report");
        items.close();
        if (events) require(events->stops == partitions, "each partition stops once");
    });
}

TEST_CASE("explored: flushes and stops with deadlines") {
    explore::schedules([] {
        auto const partitions = 1 + draw(2);
        auto const delay = std::chrono::milliseconds(draw(3));
        auto how = explore::drawn_options(partitions);
        how.shutdown_timeout = 1h;
        subject items(std::move(how), {.in_order = false, .one_call_at_once = partitions == 1},
                      [=](std::span<item>) { explore::pass(delay); });
        constexpr std::chrono::nanoseconds times[] = {0ns, 1ms, 5ms, never};
        auto const for_flush = times[draw(4)];
        auto const for_stop = times[draw(3)];
        tidefall::drain_report first;
        tidefall::drain_report second;
        {
            writers const two(items, 2, 3);
            thread const flushes([&] {
                items.flush(for_flush);
                items.flush(never);
            });
            thread const stops([&] { first = items->stop(for_stop); });
            second = items->stop(for_stop);
        }
        require(first == second, "every stop returns the same report");
        items.destroy_and_close();
    });
}

TEST_CASE("explored: a stop that drops what waits leaves each value one outcome") {
    explore::schedules([] {
        auto how = explore::drawn_options(1);
        how.shutdown_timeout = 1h;
        subject items(std::move(how), {.in_order = false, .one_call_at_once = true}, [](std::span<item> batch) {
            explore::pass(2ms);
            if (batch.front().number % 5 == 0) throw std::runtime_error("no");
        });
        {
            writers const two(items, 2, 4);
            thread const stops([&] { items->stop(1ms); });
            if (flip()) items->stop(std::chrono::milliseconds(draw(4)));
        }
        require(items->stats().pending == 0, "nothing waits after a stop");
        items.destroy_and_close();
    });
}

TEST_CASE("explored: a write that waits for room is woken, whatever makes it") {
    explore::schedules([] {
        constexpr tidefall::overflow_policy policies[] = {tidefall::overflow_policy::block,
                                                          tidefall::overflow_policy::reject,
                                                          tidefall::overflow_policy::drop_oldest};
        auto const policy = policies[draw(3)];
        auto how = explore::drawn_options(1);
        how.drain_threshold.reset();
        how.capacity = 1 + draw(2);
        how.overflow = policy;
        how.overflow_timeout = draw(3) == 0 ? std::chrono::nanoseconds(1ms) : never;
        how.shutdown_timeout = never;
        subject items(std::move(how), {.in_order = true, .one_call_at_once = true});
        {
            writers const two(items, 2, 3);
            thread const changes([&] {
                if (flip()) items->update_options({.capacity = std::optional<std::size_t>(1 + draw(3))});
                if (flip()) items->update_options({.overflow_timeout = std::chrono::nanoseconds(0)});
                if (draw(3) == 0) items->update_options({.capacity = std::optional<std::size_t>{}});
                if (flip()) items->stop();
            });
        }
        items->stop();
        items.close();
    });
}

TEST_CASE("explored: options change while ticks, drains and calls go on") {
    explore::schedules([] {
        auto how = explore::drawn_options(1);
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        how.runtime = runtime;
        how.shutdown_timeout = never;
        {
            subject items(std::move(how), {.in_order = true, .one_call_at_once = true},
                          [](std::span<item>) { explore::pass(1ms); });
            {
                writers const two(items, 2, 2);
                thread const changes([&] {
                    for (int i = 0; i < 3; ++i) {
                        tidefall::options_update update;
                        if (flip()) update.processing_interval = flip() ? std::chrono::nanoseconds(1ms) : never;
                        if (flip()) update.processing_timeout = flip() ? std::chrono::nanoseconds(1ms) : 1h;
                        if (flip()) update.processing_batch_size = 1 + draw(2);
                        if (flip()) update.drain_threshold = std::optional<std::size_t>(1 + draw(2));
                        items->update_options(update);
                    }
                });
                items.flush(never);
            }
            items->stop();
            items.close();
        }
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: a flush and a stop in the processor of another buffer on the same runtime") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        {
            auto inner_how = explore::drawn_options(1);
            inner_how.runtime = runtime;
            inner_how.shutdown_timeout = never;
            bool const is_slow = flip();
            subject inner(std::move(inner_how), {.in_order = true, .one_call_at_once = true}, [=](std::span<item>) {
                if (is_slow) explore::pass(1ms);
            });
            auto outer_how = explore::drawn_options(2);
            outer_how.runtime = runtime;
            outer_how.shutdown_timeout = never;
            int next = 1'000;
            bool const stops = draw(4) == 0;
            subject outer(std::move(outer_how), {.in_order = false, .one_call_at_once = false}, [&](std::span<item>) {
                inner.push(next++);
                inner.push(next++);
                constexpr std::chrono::nanoseconds times[] = {0ns, 500us, never};
                inner.flush(times[draw(3)]);
                if (stops) inner->stop();
            });
            {
                writers const three(outer, 3, 1);
                thread const beside([&] {
                    inner.push(500);
                    inner.flush(never);
                });
                outer.flush(never);
            }
            outer->stop();
            inner->stop();
            outer.close();
            inner.close();
        }
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: a runtime that serves several buffers ends in any order") {
    explore::schedules([] {
        auto runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        auto how = explore::drawn_options(1);
        how.runtime = runtime;
        how.shutdown_timeout = never;
        auto also = how;
        subject one(std::move(how), {.in_order = true, .one_call_at_once = true});
        subject other(std::move(also), {.in_order = true, .one_call_at_once = true});
        runtime.reset();
        {
            writers const a(one, 1, 2);
            writers const b(other, 1, 2);
            thread const ends([&] { one->stop(); });
        }
        one.close();
        one.destroy();
        other->stop();
        other.close();
        other.destroy();
    });
}

TEST_CASE("explored: all that hangs at the deadline of a stop has one grace") {
    explore::schedules(
        [] {
            gate go_on;
            int hanging = 0;
            tidefall::options how{.partitions = 3,
                                  .processing_interval = never,
                                  .shutdown_timeout = never,
                                  .runtime = tidefall::make_runtime({.workers = 3})};
            int_queue items(
                std::move(how), [](std::span<int>) { throw std::runtime_error("to undelivered"); },
                [&](std::span<int>, tidefall::failure const&) {
                    ++hanging;
                    go_on.wait();
                });
            for (int n = 0; n < 3; ++n) {
                thread([&] { items.push(n); }).join();  // each has a partition of its own
            }
            items.flush(0s);
            explore::until([&] { return hanging == 3; });
            auto const begin = explore::now();
            items.stop(100ms);
            require(explore::now() - begin < 2s, "a stop takes its time and one grace");
            go_on.open();
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: a write that waits for room has it from the swap that another write starts") {
    explore::schedules([] {
        gate go_on;
        int_queue items({.partitions = 1,
                         .processing_interval = never,
                         .processing_timeout = never,
                         .capacity = 1,
                         .overflow_timeout = never,
                         .shutdown_timeout = never},
                        [&](std::span<int>) { go_on.wait(); });
        {
            std::vector<thread> two;
            for (int n = 0; n < 2; ++n) {
                two.emplace_back(
                    [&, n] { require(items.push(n) == write_status::accepted, "there is room for both"); });
            }
        }
        go_on.open();  // no drain has ended before
        items.stop();
        require(items.stats().processed == 2, "both come out");
    });
}

TEST_CASE("explored: a change of other options leaves the time for which a write waits") {
    explore::schedules([] {
        gate go_on;
        int_queue items({.partitions = 1,
                         .processing_interval = never,
                         .processing_timeout = never,
                         .capacity = 1,
                         .overflow_timeout = never,
                         .shutdown_timeout = never},
                        [&](std::span<int>) { go_on.wait(); });
        items.push(1);
        items.push(2);
        items.update_options({.processing_batch_size = 2});
        {
            thread const writer([&] { require(items.push(3) == write_status::accepted, "there is room in the end"); });
            thread const ends([&] { go_on.open(); });
        }
        items.stop();
    });
}

TEST_CASE("explored: the write that reaches a limit makes the swap") {
    explore::schedules([] {
        bool const is_capacity = flip();
        int_queue items({.partitions = 1,
                         .processing_interval = never,
                         .processing_timeout = never,
                         .drain_threshold = is_capacity ? std::nullopt : std::optional<std::size_t>(2),
                         .capacity = is_capacity ? std::optional<std::size_t>(2) : std::nullopt,
                         .shutdown_timeout = never},
                        [](std::span<int>) {});
        items.push(1);
        require(items.size() == 1, "one waits");
        items.push(2);
        require(items.size() == 0, "none waits");
        items.stop();
    });
}

TEST_CASE("explored: a flush without a deadline is complete, whatever is written after it") {
    explore::schedules([] {
        auto how = explore::drawn_options(1);
        how.processing_timeout = never;
        how.shutdown_timeout = never;
        subject items(std::move(how), {.in_order = true, .one_call_at_once = true});
        {
            writers const two(items, 2, 3);
            thread const flushes([&] { items->flush(0s); });
            items.push(1000);
            require(items.flush(never).complete, "the flush has seen to all before it");
        }
        items->stop();
        items.close();
    });
}

TEST_CASE("explored: a worker that waits in a flush is there for what others start meanwhile") {
    explore::schedules(
        [] {
            auto const runtime = tidefall::make_runtime({.workers = 2});
            bool const by_limit = flip();
            gate go_on;
            bool hangs = false;
            bool came = false;
            int_queue inner({.partitions = 2,
                             .processing_interval = never,
                             .drain_threshold = by_limit ? std::optional<std::size_t>(1) : std::nullopt,
                             .shutdown_timeout = never,
                             .runtime = runtime},
                            [&](std::span<int> batch) {
                                if (batch.front() == 1) {
                                    came = true;
                                } else {
                                    hangs = true;
                                    go_on.wait();
                                }
                            });
            bool waits = false;
            int_queue outer(
                {.partitions = 1, .processing_interval = never, .shutdown_timeout = never, .runtime = runtime},
                [&](std::span<int>) {
                    waits = true;
                    require(inner.flush(never).complete, "the flush comes to its end");
                });
            auto const write = [&](int value) {
                thread([&] { inner.push(value); }).join();  // each has a partition of its own
                if (!by_limit) inner.flush(0s);
            };
            write(0);
            explore::until([&] { return hangs; });
            outer.push(0);
            outer.flush(0s);
            explore::until([&] { return waits; });
            write(1);
            explore::until([&] { return came; });
            go_on.open();
            outer.stop();
            require(inner.stop().complete, "nothing is left");
        },
        {.clock_jumps = false, .lost_notifications = false});
}

TEST_CASE("explored: stops beside a call that ends have one report") {
    explore::schedules([] {
        auto how = explore::drawn_options(2);
        how.shutdown_timeout = 1h;
        gate go_on;
        int calls = 0;
        subject items(std::move(how), {.in_order = false, .one_call_at_once = false}, [&](std::span<item>) {
            ++calls;
            go_on.wait();
        });
        items.push(1);
        items.flush(0s);
        explore::until([&] { return calls == 1; });
        tidefall::drain_report first;
        tidefall::drain_report second;
        {
            thread const stops([&] { first = items->stop(0s); });
            thread const ends([&] { go_on.open(); });
            second = items->stop(0s);
        }
        require(first == second, "every stop returns the same report");
        items.destroy_and_close();
    });
}

TEST_CASE("explored: a table that is being handed over is left alone by a stop whose deadline passes") {
    explore::schedules([] {
        auto how = explore::drawn_options(1);
        how.processing_timeout = never;
        how.processing_interval = never;
        how.drain_threshold.reset();
        std::size_t taken = 0;
        std::size_t returned = 0;
        {
            item_queue items(
                std::move(how),
                [&](item_queue::table_type all) {
                    require(all.size() == 3, "a call has the whole table");
                    taken += all.size();
                },
                [&](std::span<item> values, tidefall::failure const&) { returned += values.size(); });
            for (int n = 0; n < 3; ++n) items.push(n);
            thread const flushes([&] { items.flush(0s); });
            items.stop(0s);
        }
        require(taken + returned == 3, "each value comes out once");
    });
}
