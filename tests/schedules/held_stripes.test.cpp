// SPDX-License-Identifier: MIT
//
// The real engine, where a thread is held in a stripe, or waits for one.
// CMakeLists.txt builds files of this kind against broken engines too, which must fail them.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "held.hpp"

#include <tidefall/detail/write/stripe.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::int_queue;
using tests::latch;
using tests::locks_in;
using tests::until;
using tidefall::detail::time_point;

TEST_CASE("held: a look-up and an erasure wait for the write that is in their stripe") {
    bool const erases = GENERATE(false, true);
    tidefall::hash_map<int, int> map({.partitions = 1, .runtime = tidefall::make_manual_runtime()},
                                     [](std::span<tidefall::entry<int, int>>) {});
    map.put(1, 1);
    latch writes;
    latch go_on;
    std::thread writer([&] {
        map.update(1, [&](int& value) {
            writes.open();
            go_on.wait();
            value = 2;
        });
    });
    writes.wait();
    latch waits_or_is_done;
    std::atomic<bool> done{false};
    bool found = false;
    std::thread other([&] {
        tests::on_sleep = [&] { waits_or_is_done.open(); };
        found = erases ? map.erase(1) : map.get(1) == 2;
        done = true;
        waits_or_is_done.open();
    });
    waits_or_is_done.wait();
    CHECK_FALSE(done);
    go_on.open();
    writer.join();
    other.join();
    CHECK(found);
    CHECK(map.size() == (erases ? 0 : 1));
}

TEST_CASE("held: who waits for a stripe for long has it after the turn that is being taken, whatever the others do") {
    tidefall::detail::stripe_lock lock;
    tidefall::detail::stripe_tickets tickets;
    bool const engine = GENERATE(false, true);  // a swap takes its ticket sooner
    std::vector<char> turns;                    // guarded by the lock
    lock.lock(tickets);
    latch waits;
    std::thread waiter([&] {
        int sleeps = 0;
        tests::on_sleep = [&] {
            // A writer has its ticket after two spells, and asks for the lock at the latest before the next.
            if (++sleeps == 4) waits.open();
        };
        engine ? lock.lock_next(tickets) : lock.lock(tickets);
        turns.push_back('w');
        lock.unlock();
    });
    waits.wait();
    std::thread another([&] {
        lock.lock(tickets);
        turns.push_back('a');
        lock.unlock();
    });
    // Comes back at once, as a bulk write does.
    turns.push_back('b');
    lock.unlock();
    lock.lock(tickets);
    turns.push_back('b');
    lock.unlock();
    waiter.join();
    another.join();
    REQUIRE(turns.size() == 4);
    CHECK(turns[0] == 'b');
    CHECK(turns[1] == 'w');
}

TEST_CASE("held: who takes what was reserved in the meantime puts it back") {
    tidefall::detail::stripe_lock lock;
    tidefall::detail::stripe_tickets tickets;
    std::vector<char> turns;  // guarded by the lock
    latch has_ticket;
    latch put_back;
    std::thread waiter;
    int exchanges = 0;
    lock.lock(tickets);
    tests::before_exchange = [&](std::size_t) {
        if (++exchanges != 2) return;
        // This thread saw the lock open. Before it takes it, another one has it, and leaves it to who has a ticket.
        lock.lock(tickets);
        waiter = std::thread([&] {
            tests::on_sleep = [&] {
                has_ticket.open();
                put_back.wait();
            };
            lock.lock_next(tickets);
            turns.push_back('w');
            lock.unlock();
        });
        has_ticket.wait();
        lock.unlock();
    };
    bool is_open = false;
    tests::on_spin = [&] {
        if (!std::exchange(is_open, true)) lock.unlock();
        if (exchanges > 2) put_back.open();
    };
    lock.lock(tickets);
    tests::before_exchange = nullptr;
    tests::on_spin = nullptr;
    turns.push_back('m');
    lock.unlock();
    waiter.join();
    CHECK(turns == std::vector<char>{'w', 'm'});
}

TEST_CASE("held: those with a ticket are served in their order") {
    tidefall::detail::stripe_lock lock;
    tidefall::detail::stripe_tickets tickets;
    std::vector<int> turns;
    lock.lock(tickets);
    std::vector<std::thread> waiters;
    for (int i = 0; i < 4; ++i) {
        waiters.emplace_back([&, i] {
            lock.lock_next(tickets);
            turns.push_back(i);
            lock.unlock();
        });
        until([&] { return tickets.taken.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(i + 1); });
    }
    lock.unlock();
    for (auto& one : waiters) one.join();
    CHECK(turns == std::vector<int>{0, 1, 2, 3});
    // It is open to all again.
    bool slept = false;
    tests::on_sleep = [&] { slept = true; };
    lock.lock(tickets);
    lock.unlock();
    tests::on_sleep = nullptr;
    CHECK_FALSE(slept);
}

TEST_CASE("held: who stands further back looks at the tickets more seldom, but not a holder that many wait for") {
    tidefall::detail::stripe_lock lock;
    tidefall::detail::stripe_tickets tickets;
    std::vector<std::chrono::microseconds> sleeps;
    lock.lock(tickets);
    tickets.taken.store(3, std::memory_order_relaxed);  // three stand before this thread
    tests::on_sleep_for = [&](std::chrono::microseconds spell) {
        sleeps.push_back(spell);
        if (tickets.taken.load(std::memory_order_relaxed) == 3) return;  // it has no ticket yet
        tickets.served.store(3, std::memory_order_relaxed);
        lock.unlock();
    };
    lock.lock(tickets);
    REQUIRE(sleeps.size() > 1);
    CHECK(sleeps.back() > 3 * sleeps.front());

    tickets.taken.store(7, std::memory_order_relaxed);  // three again
    tests::on_sleep_for = [&](std::chrono::microseconds spell) {
        CHECK(spell == sleeps.front());
        tickets.served.store(7, std::memory_order_relaxed);
        lock.unlock();
    };
    lock.lock_next(tickets);
    tests::on_sleep_for = nullptr;
    lock.unlock();
}

TEST_CASE("held: whoever looks at all stripes of a partition waits for the one that is held") {
    using table = tidefall::queue_table<int>;
    using set = tidefall::detail::stripe_set<table>;
    auto const now = time_point();
    struct look {
        char const* what;
        std::function<void(set&)> at;
    };
    std::vector<table> spare(2);
    tidefall::buffer_stats stats;
    std::vector<look> const looks = {
        {"swap_tables", [&](set& all) { all.swap_tables(spare, false, now); }},
        {"first_write", [](set& all) { static_cast<void>(all.first_write()); }},
        {"expire", [&](set& all) { all.expire(now); }},
        {"close", [](set& all) { all.close(); }},
        {"change_limits", [](set& all) { all.change_limits({.capacity = std::optional<std::size_t>(1)}, false); }},
        {"has_room", [](set& all) { static_cast<void>(all.has_room(0)); }},
        {"give_back_slack", [](set& all) { all.give_back_slack(); }},
        {"end_fullness_by_total", [&](set& all) { all.end_fullness_by_total(now); }},
        {"take_news", [](set& all) { static_cast<void>(all.take_news()); }},
        {"size", [](set& all) { static_cast<void>(all.size()); }},
        {"count_in", [&](set& all) { all.count_in(stats); }},
        {"take_closed", [](set& all) { static_cast<void>(all.take_closed()); }},
        {"free_memory", [](set& all) { all.free_memory(); }},
    };
    for (auto const& one : looks) {
        INFO(one.what);
        std::vector<tidefall::detail::stripe<table>> stripes(2);
        tidefall::detail::total_limit total(1);
        set all(stripes, total);
        stripes[1].enter();
        latch waits_or_is_done;
        std::atomic<bool> done{false};
        std::atomic<bool> has_ticket{false};
        std::thread looks_at_all([&] {
            tests::on_sleep = [&] {
                if (waits_or_is_done.is_open()) return;
                // It has a ticket before it sleeps.
                has_ticket = stripes[1].tickets.taken.load(std::memory_order_relaxed) == 1;
                waits_or_is_done.open();
            };
            one.at(all);
            done = true;
            waits_or_is_done.open();
        });
        waits_or_is_done.wait();
        CHECK_FALSE(done);
        CHECK(has_ticket);
        stripes[1].lock.unlock();
        looks_at_all.join();
        CHECK(done);
    }
}

TEST_CASE("held: the first write after a swap locks nothing but its stripe") {
    auto const clock = tidefall::make_manual_runtime();
    int_queue items({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<int>) {});
    items.push(1);
    items.flush();
    {
        locks_in held(items.partition(0));
        held.check(
            "push", [&] { items.push(2); }, 0);
    }
    clock->advance(1s);
    CHECK(items.stats().processed == 2);
}
