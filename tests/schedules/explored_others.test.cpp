// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: maps, the manual runtime, the registry, a stripe's lock;
// and the explorer itself, which must find what is broken.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

#include <tidefall/registry.hpp>

#include <array>
#include <map>

using explore::draw;
using explore::flip;
using explore::gate;
using explore::item;
using explore::item_queue;
using explore::never;
using explore::require;
using explore::subject;
using explore::thread;
using explore::writers;
using namespace std::chrono_literals;

namespace {

using int_map = tidefall::hash_map<int, int>;

/// What came out of a map: for each key a sum, and no value older than the one before.
struct out_of_map {
    std::map<int, int> sums;
    std::map<int, int> last;

    void see(int key, int value) {
        sums[key] += value;
        last[key] = value;
    }
};

/// As large as the longest segment, so that each lies in one of its own.
struct large {
    explicit large(int of) noexcept : number(of) {}
    large(large&& other) noexcept : number(other.number) {}
    large& operator=(large&&) = delete;
    ~large() = default;

    int number;
    std::array<char, 40'000> rest;  // NOLINT(cppcoreguidelines-pro-type-member-init): nobody reads it
};

}  // namespace

TEST_CASE("explored: a segment is in one table at a time, whoever wants it") {
    explore::schedules([] {
        auto how = explore::drawn_options(2);
        how.shutdown_timeout = never;
        std::map<int, int> seen;
        tidefall::queue<large> items(std::move(how), [&](std::span<large> batch) {
            explore::require_no_lock("the processor");
            for (auto const& one : batch) ++seen[one.number];
            explore::point();
        });
        for (int round = 0; round < 2; ++round) {
            std::vector<thread> all;
            for (int n = 0; n < 2; ++n) {
                all.emplace_back([&, first = 100 * n + 10 * round] {
                    for (int i = 0; i < 3; ++i) {
                        auto const number = first + i;
                        items.emplace(tidefall::partition_key{number}, number);
                    }
                });
            }
            all.emplace_back([&] { items.flush(flip() ? never : std::chrono::nanoseconds(0)); });
            all.clear();
            if (flip()) explore::pass(20ms);  // idle for so long that its memory is freed
        }
        items.stop();
        require(seen.size() == 12, "every value comes out");
        for (auto const& [number, count] : seen) require(count == 1, "a value comes out once");
    });
}

TEST_CASE("explored: updates of a map add up over swaps, erasures and a stop") {
    explore::schedules([] {
        out_of_map seen;
        auto how = explore::drawn_options(1);
        how.shutdown_timeout = never;
        bool const table = flip();
        std::unique_ptr<int_map> map;
        auto const see = [&](auto& values) {
            explore::require_no_lock("the processor");
            for (auto const& one : values) seen.see(one.key, one.value);
            explore::point();
        };
        if (table) {
            map = std::make_unique<int_map>(std::move(how), [&](int_map::table_type all) { see(all); });
        } else {
            map =
                std::make_unique<int_map>(std::move(how), [&](std::span<tidefall::entry<int, int>> all) { see(all); });
        }
        int erased = 0;
        {
            std::vector<thread> all;
            for (int n = 0; n < 2; ++n) {
                all.emplace_back([&] {
                    for (int i = 0; i < 3; ++i) {
                        for (int key : {1, 2}) map->update(key, [](auto&& value) { ++value; });
                    }
                });
            }
            all.emplace_back([&] {
                if (flip() && map->erase(2)) ++erased;
                map->flush(flip() ? never : std::chrono::nanoseconds(0));
            });
        }
        map->stop();
        auto const stats = map->stats();
        require(seen.sums[1] == 6, "every update of key 1 is in what came out");
        require(erased > 0 || seen.sums[2] == 6, "every update of key 2 is in what came out");
        require(stats.accepted == 12 && stats.pending == 0, "every update was accepted");
        require(stats.accepted == stats.processed + stats.failed + stats.coalesced + stats.erased,
                "the books are in order");
        require(stats.erased == static_cast<std::uint64_t>(erased), "what was erased is counted");
    });
}

TEST_CASE("explored: values of one key never go back, over stripes and a stop") {
    explore::schedules([] {
        std::map<int, int> last;
        auto how = explore::drawn_options(1);
        how.shutdown_timeout = never;
        int_map map(std::move(how), [&](std::span<tidefall::entry<int, int>> all) {
            for (auto const& one : all) {
                require(last[one.key] < one.value, "a key's values only grow");
                last[one.key] = one.value;
            }
            explore::point();
        });
        {
            // A writer for each key.
            std::vector<thread> writers;
            for (int key = 0; key < 3; ++key) {
                writers.emplace_back([&, key] {
                    for (int value = 1; value <= 3; ++value) map.put(key, value);
                });
            }
            map.flush(flip() ? never : std::chrono::nanoseconds(0));
        }
        map.stop();
        for (int key = 0; key < 3; ++key) require(last[key] == 3, "the last value of a key comes out");
    });
}

TEST_CASE("explored: a write that waits for room in a map is woken by an erasure") {
    explore::schedules([] {
        gate go_on;
        int_map map({.partitions = 1,
                     .processing_interval = never,
                     .capacity = 2,
                     .overflow_timeout = never,
                     .shutdown_timeout = never,
                     .unheard = tidefall::unheard_action::ignore},
                    [&](std::span<tidefall::entry<int, int>>) { go_on.wait(); });
        map.put(1, 1);
        map.flush(0s);
        auto status = tidefall::write_status::stale;
        {
            thread const writer([&] {
                for (int key = 3; key <= 5; ++key) status = map.put(key, key);
            });
            explore::until([&] { return map.erase(3) || map.erase(4); });
        }
        require(status == tidefall::write_status::accepted, "the third is taken");
        go_on.open();
        map.stop();
    });
}

TEST_CASE("explored: two threads move the clock of a manual runtime") {
    explore::schedules(
        [] {
            auto const clock = tidefall::make_manual_runtime();
            {
                auto how = explore::drawn_options(1);
                how.processing_interval = 1s;
                how.shutdown_timeout = never;
                how.runtime = clock;
                subject items(std::move(how), {.in_order = true, .one_call_at_once = true}, [&](std::span<item> batch) {
                    if (batch.front().number % 3 == 0) clock->advance(1s);
                });
                auto const moves = [&](int first) {
                    for (int n = first; n < first + 2; ++n) {
                        items.push(n);
                        clock->advance(1s);
                    }
                };
                {
                    thread const other([&] { moves(10); });
                    moves(0);
                }
                auto& schedule = explore::schedule_of(*clock);
                require(schedule.jobs.empty() && schedule.ticks.next() > schedule.now(), "what was due is done");
                clock->advance(1s);
                require(items->stats().pending + items->stats().in_flight == 0, "all is due now");
                items->stop();
                items.close();
            }
            explore::require_nothing_left(*clock);
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: what falls due beside a flush is done once both have returned") {
    explore::schedules(
        [] {
            auto const clock = tidefall::make_manual_runtime();
            item_queue items({.partitions = 1, .processing_interval = never, .runtime = clock},
                             [](std::span<item>) { explore::point(); });
            std::size_t seen = 0;
            item_queue ticks({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                             [&](std::span<item> batch) { seen += batch.size(); });
            items.push(1);
            ticks.push(1);
            {
                thread const flushes([&] { items.flush(); });
                clock->advance(1s);
            }
            require(seen == 1, "the tick came");
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: two threads write to a full partition of a manual runtime") {
    explore::schedules(
        [] {
            auto const clock = tidefall::make_manual_runtime();
            subject items({.partitions = 1,
                           .processing_interval = never,
                           .processing_timeout = never,
                           .capacity = 1,
                           .overflow_timeout = never,
                           .shutdown_timeout = never,
                           .runtime = clock},
                          {.in_order = true, .one_call_at_once = true});
            {
                writers const two(items, 2, 3);
                if (flip()) items->stop();
            }
            items->stop();
            items.close();
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: buffers of a registry are found, stopped and taken out by several threads") {
    explore::schedules([] {
        tidefall::registry<item_queue> all;
        std::size_t seen = 0;
        std::size_t accepted = 0;
        auto how = explore::drawn_options(1);
        how.shutdown_timeout = never;
        all.start("one", how, [&](std::span<item> batch) { seen += batch.size(); });
        {
            thread const writer([&] {
                for (int n = 0; n < 3; ++n) {
                    if (auto const one = all.find("one")) {
                        accepted += one->push(n) == tidefall::write_status::accepted ? 1U : 0U;
                    }
                }
            });
            thread const stops([&] { all.stop("one"); });
            if (flip()) all.stop_all();
        }
        all.stop_all();
        require(seen == accepted, "what was accepted came out");
    });
}

TEST_CASE("explored: who waits for a stripe's lock has it after a bounded number of turns") {
    explore::schedules(
        [] {
            tidefall::detail::stripe_lock lock;
            tidefall::detail::stripe_tickets tickets;
            std::size_t turns = 0;
            bool done = false;
            bool held = false;
            auto const take = [&] { require(!std::exchange(held, true), "one has it at a time"); };
            auto const hog = [&] {
                for (int i = 0; i < 200 && !done; ++i) {
                    lock.lock(tickets);
                    take();
                    explore::pass(20us);  // a long turn
                    for (int point = 0; point < 40; ++point) explore::point();
                    ++turns;
                    held = false;
                    lock.unlock();
                }
            };
            std::vector<thread> hogs;
            for (std::size_t i = 0; i < 1 + draw(2); ++i) hogs.emplace_back(hog);
            bool const engine = flip();
            std::size_t seen = 0;
            std::size_t lost = 0;  // sleeps in which others had more than the turn that was being taken
            explore::on_sleep([&] {
                if (turns > seen + 1) ++lost;
                seen = turns;
            });
            engine ? lock.lock_next(tickets) : lock.lock(tickets);
            take();
            require(lost <= 6, "a sleeper is not overtaken again and again");
            held = false;
            lock.unlock();
            done = true;
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: a stripe's lock is had by one at a time, and by each in the end") {
    explore::schedules(
        [] {
            tidefall::detail::stripe_lock lock;
            tidefall::detail::stripe_tickets tickets;
            bool held = false;
            std::vector<thread> all;
            for (std::size_t i = 0; i < 3 + draw(2); ++i) {
                all.emplace_back([&] {
                    for (int turn = 0; turn < 4; ++turn) {
                        flip() ? lock.lock_next(tickets) : lock.lock(tickets);
                        require(!std::exchange(held, true), "one has it at a time");
                        for (std::size_t point = draw(100); point > 0; --point) explore::point();
                        held = false;
                        lock.unlock();
                    }
                });
            }
        },
        {.clock_jumps = false});
}

TEST_CASE("explored: a push, a tick and a stop, every way") {
    explore::schedules(
        [] {
            std::size_t seen = 0;
            item_queue items({.partitions = 1, .processing_interval = 1ms, .shutdown_timeout = never},
                             [&](std::span<item> batch) { seen += batch.size(); });
            bool accepted = false;
            {
                thread const writer([&] { accepted = items.push(1) == tidefall::write_status::accepted; });
                items.stop();
            }
            require(seen == (accepted ? 1U : 0U), "an accepted value comes out");
        },
        {.exhaustively = true});
}

TEST_CASE("explored: two pushes and two swaps without threads, every way") {
    explore::schedules(
        [] {
            auto const clock = tidefall::make_manual_runtime();
            std::size_t seen = 0;
            item_queue items({.partitions = 1, .processing_interval = 1s, .shutdown_timeout = never, .runtime = clock},
                             [&](std::span<item> batch) { seen += batch.size(); });
            {
                thread const writer([&] {
                    items.push(1);
                    items.push(2);
                });
                clock->advance(1s);
                items.flush();
            }
            clock->advance(1s);
            require(seen == 2, "both come out");
        },
        {.exhaustively = true});
}

// ---- the explorer itself

TEST_CASE("explorer: a write that is lost between a load and a store is found, and its seed repeats it") {
    auto const counts = [] {
        tidefall::detail::atomic<int> count{0};
        auto const add = [&] { count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); };
        {
            thread const other(add);
            add();
        }
        require(count.load(std::memory_order_relaxed) == 2, "both were counted");
    };
    auto const found = explore::fault(counts, 1'000);
    CHECK_THAT(found, tests::ContainsSubstring("both were counted"));
    CHECK_THAT(found, tests::ContainsSubstring("TIDEFALL_SEED="));
    CHECK_THAT(explore::fault_in_any_way(counts, 1), tests::ContainsSubstring("TIDEFALL_CHOICES="));
}

TEST_CASE("explorer: a deadlock, a wait that only looking again ends, and an endless spin are found") {
    auto const deadlock = [] {
        tidefall::detail::mutex a;
        tidefall::detail::mutex b;
        thread const other([&] {
            tidefall::detail::lock_guard const first(b);
            tidefall::detail::lock_guard const second(a);
        });
        tidefall::detail::lock_guard const first(a);
        tidefall::detail::lock_guard const second(b);
    };
    CHECK_THAT(explore::fault(deadlock, 1'000), tests::ContainsSubstring("nobody can go on"));
    auto const unnotified = [] {
        tidefall::detail::mutex mutex;
        tidefall::detail::condition_variable changed;
        bool done = false;
        thread const other([&] {
            tidefall::detail::lock_guard const lock(mutex);
            done = true;
        });
        tidefall::detail::unique_lock lock(mutex);
        while (!done)
            changed.wait_until(lock, tidefall::detail::later(explore::now(), tidefall::detail::recheck_interval));
    };
    CHECK_THAT(explore::fault(unnotified, 1'000, {.clock_jumps = false, .lost_notifications = false}),
               tests::ContainsSubstring("nobody can go on"));
    auto const spins = [] {
        for (;;) explore::yield();
    };
    CHECK_THAT(explore::fault(spins, 1), tests::ContainsSubstring("does not end"));
}

TEST_CASE("explorer: threads have their own exceptions in flight, and state of their own") {
    struct state {
        int number = 0;
    };
    CHECK(explore::fault(
              [] {
                  auto const catches = [](int number) {
                      tidefall::detail::of_this_thread<state>().number = number;
                      try {
                          throw number;
                      } catch (int) {
                          explore::yield();
                          try {
                              throw;
                          } catch (int again) {
                              require(again == number, "an exception stays its thread's");
                          }
                      }
                      require(tidefall::detail::of_this_thread<state>().number == number, "so does its state");
                  };
                  thread const one([&] { catches(1); });
                  thread const two([&] { catches(2); });
                  catches(3);
              },
              300) == "");
}
