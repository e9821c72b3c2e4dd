// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: calls that are given up, and buffers that are destroyed
// where they are used.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

using explore::draw;
using explore::flip;
using explore::gate;
using explore::item;
using explore::item_queue;
using explore::ledger;
using explore::never;
using explore::require;
using explore::subject;
using explore::thread;
using explore::writers;
using namespace std::chrono_literals;

namespace {

tidefall::options abandoning(std::shared_ptr<tidefall::runtime> runtime = {}) {
    auto how = explore::drawn_options(1);
    how.processing_timeout = 1ms;
    how.timeout_action = tidefall::timeout_action::abandon;
    how.shutdown_timeout = 1h;
    how.runtime = std::move(runtime);
    return how;
}

}  // namespace

TEST_CASE("explored: calls that are given up, return late, and have their options changed") {
    explore::schedules([] {
        auto const workers = 1 + draw(2);
        auto const runtime = tidefall::make_runtime({.workers = workers});
        {
            bool const cannot_start = draw(4) == 0;
            subject items(abandoning(runtime), {.in_order = false, .one_call_at_once = false, .gives_up = true},
                          [](std::span<item> batch) {
                              if (batch.front().number % 2 == 0) explore::pass(flip() ? 2ms : 1ms);
                              if (batch.front().number % 5 == 0) throw std::runtime_error("no");
                          });
            explore::threads_cannot_start(cannot_start);
            {
                std::vector<thread> all;
                all.emplace_back([&] {
                    for (int n = 0; n < 3; ++n) items.push(n);
                });
                if (flip()) {
                    all.emplace_back([&] {
                        if (flip()) items->update_options({.processing_timeout = flip() ? never : 1h});
                        if (flip()) items->update_options({.processing_timeout = 1ms});
                    });
                }
                items->flush(flip() ? never : std::chrono::nanoseconds(1ms));
            }
            explore::threads_cannot_start(false);
            items->stop(flip() ? never : std::chrono::nanoseconds(1ms));
            items.destroy_and_close();
        }
        explore::require_nothing_left(*runtime);
        explore::until([&] { return explore::threads_alive() == workers + 3; });
    });
}

TEST_CASE("explored: an alarm ends with its task, however late the watchdog is") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1});
        {
            auto how = abandoning(runtime);
            how.timeout_action = tidefall::timeout_action::wait;
            how.processing_interval = never;
            subject items(std::move(how), {.in_order = true, .one_call_at_once = true}, [](std::span<item> batch) {
                if (batch.front().number == 1) explore::pass(1ms);
            });
            items.push(1);
            items.flush(never);
            items->update_options({.processing_timeout = 1h});
            items.push(2);
            items.flush(never);
            explore::require_nothing_left(*runtime);
            items->stop();
            items.close();
        }
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: a call that returned before it was given up has no successor given up for it") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1});
        auto how = abandoning(runtime);
        how.processing_interval = never;
        how.processing_batch_size = 1;
        how.drain_threshold.reset();
        subject* one = nullptr;
        bool in_time = false;
        subject items(std::move(how), {.in_order = false, .one_call_at_once = false, .gives_up = true},
                      [&](std::span<item> batch) {
                          if (batch.front().number > 1) return;
                          explore::pass(1ms);
                          (*one)->update_options({.processing_timeout = never});
                          in_time = (*one)->stats().abandoned == 0;
                      });
        one = &items;
        items.push(1);
        items.push(2);
        items.push(3);
        items.flush(never);
        items->stop();
        for (int const value : {2, 3}) {
            require(!in_time || !items.book().came_back(value, tidefall::failure_reason::timeout),
                    "only one call took too long");
        }
        items.destroy_and_close();
        explore::until([&] { return explore::threads_alive() == 1 + 3; });
    });
}

TEST_CASE("explored: a buffer destroyed in its processor or in undelivered, also in a call that is given up") {
    struct state {
        ledger book{{.in_order = false, .one_call_at_once = false, .gives_up = true}};
        std::unique_ptr<item_queue> items;
        bool destroyed = false;

        void destroy() {
            if (!std::exchange(destroyed, true)) items.reset();
        }
    };
    explore::schedules([] {
        auto const runtime = flip() ? tidefall::make_runtime({.workers = 1 + draw(2)}) : nullptr;
        auto const all = std::make_shared<state>();  // what runs last keeps it
        auto how = flip() ? abandoning(runtime) : explore::drawn_options(1);
        how.runtime = runtime;
        how.processing_interval = never;
        how.drain_threshold.reset();
        bool const in_undelivered = draw(3) == 0;
        auto const delay = draw(3) * 1ms;
        all->items = std::make_unique<item_queue>(
            std::move(how),
            [all, in_undelivered, delay](std::span<item> batch) {
                ledger::call const here(all->book, batch);
                explore::pass(delay);
                if (in_undelivered && !all->destroyed) throw std::runtime_error("to undelivered");
                all->destroy();
                explore::point();
            },
            [all, in_undelivered](std::span<item> values, tidefall::failure const& why) {
                all->book.undelivered(values, why);
                if (in_undelivered) all->destroy();
                explore::point();
            });
        for (int n = 0; n < 4; ++n) all->book.write(n, [&] { return all->items->push(n); });
        all->items->flush(0s);
        explore::until([&] { return all->items == nullptr; });
        for (int const n : {0, 1, 2, 3}) {
            explore::until([&] { return all->book.has_outcome(n); });
        }
        if (runtime) explore::until([&] { return explore::nothing_is_left(*runtime); });
    });
}

TEST_CASE("explored: the destructor waits for a call that honours its token") {
    explore::schedules([] {
        bool in_call = false;
        {
            auto how = abandoning();
            how.shutdown_timeout = 20min;
            if (flip()) how.timeout_action = tidefall::timeout_action::wait;
            item_queue items(std::move(how), [&](std::span<item>, tidefall::detail::stop_token const& token) {
                in_call = true;
                gate stopped;
                tidefall::detail::stop_callback const opens(token, [&] { stopped.open(); });
                stopped.wait();
                explore::point();
                in_call = false;
            });
            items.push(1);
            if (flip()) items.flush(0s);
            if (flip()) explore::pass(1ms);
        }
        require(!in_call, "no call outlives its buffer");
    });
}

TEST_CASE("explored: the destructor is woken by the end of the last call, also of one that was given up") {
    explore::schedules([] {
        std::vector<thread> others;
        gate go_on;
        bool in_call = false;
        bool const gives_up = flip();
        auto how = abandoning();
        how.shutdown_timeout = never;
        if (!gives_up) how.processing_timeout = never;
        item_queue items(std::move(how), [&](std::span<item>) {
            in_call = true;
            go_on.wait();
            in_call = false;
        });
        items.push(1);
        items.flush(0s);
        explore::until([&] { return in_call && (!gives_up || items.stats().abandoned == 1); });
        items.stop(0s);
        others.emplace_back([&] { go_on.open(); });
    });
}

TEST_CASE("explored: once a call that was given up returns, a worker too many leaves, whatever that thread does next") {
    explore::schedules(
        [] {
            auto const runtime = tidefall::make_runtime({.workers = 1});
            gate inner_goes_on;
            gate outer_goes_on;
            bool between = false;
            auto how = abandoning(runtime);
            how.processing_interval = never;
            item_queue inner(std::move(how), [&](std::span<item>) { inner_goes_on.wait(); });
            item_queue outer(
                {.partitions = 1, .processing_interval = never, .shutdown_timeout = never, .runtime = runtime},
                [&](std::span<item>) {
                    inner.push(1);
                    inner.flush(never);  // on this thread
                    between = true;
                    outer_goes_on.wait();
                });
            outer.push(1);
            outer.flush(0s);
            explore::until([&] { return inner.stats().abandoned == 1; });
            inner_goes_on.open();
            explore::until([&] { return between && explore::threads_alive() == 1 + 3; });
            outer_goes_on.open();
            outer.stop();
        },
        {.clock_jumps = false, .lost_notifications = false});
}
