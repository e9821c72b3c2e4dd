// SPDX-License-Identifier: MIT
//
// The real engine, where one thread is held at a point that it seldom stands at, while others go on; and waits that
// nobody may need to look again from, since they would do so after an hour. CMakeLists.txt builds this file against
// broken engines too, which must fail it.
#include "../support/catch.hpp"
#include "../support/control.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/detail/drain/drain_control.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__GLIBCXX__)
#include <pthread.h>
#endif

using namespace std::chrono_literals;
using tests::counted_tables;
using tests::idle_task;
using tests::latch;
using tests::some_call;
using tidefall::write_status;
using tidefall::detail::time_point;

namespace {

constexpr auto never = std::chrono::nanoseconds::max();

using int_queue = tidefall::queue<int>;

/// Before any test: one that has just ended may be listed for a moment more.
std::size_t const threads = tests::thread_count();

template <typename Done>
void until(Done done) {
    while (!done()) std::this_thread::yield();
}

/// While it lives, no thread looks again by itself for an hour.
class patience {
public:
    patience() { tidefall::detail::recheck_interval = 1h; }
    ~patience() { tidefall::detail::recheck_interval = 1s; }
    patience(patience const&) = delete;
    patience& operator=(patience const&) = delete;
};

/// Holds the watchdog before it locks the partition for the n-th time from `watch` on, until `release`.
class held_watchdog {
public:
    explicit held_watchdog(int nth) : left_(nth) {
        tests::before_lock = [this](void const* mutex) {
            auto const* const from = from_.load();
            auto const* const at = static_cast<char const*>(mutex);
            if (from == nullptr || at < from || at >= from + sizeof(tidefall::partition<tidefall::queue_table<int>>)) {
                return;
            }
            if (!tests::thread_name.ends_with("/watch") || --left_ != 0) return;
            held.open();
            go_on_.wait();
            from_ = nullptr;
        };
        tests::before_wait = [this] {
            if (go_on_.is_open() && tests::thread_name.ends_with("/watch")) went_on.open();
            if (tests::thread_name.ends_with("/work/1")) replacement_waits.open();
        };
    }
    ~held_watchdog() {
        tests::before_lock = nullptr;
        tests::before_wait = nullptr;
    }
    held_watchdog(held_watchdog const&) = delete;
    held_watchdog& operator=(held_watchdog const&) = delete;

    void watch(int_queue& one) { from_ = reinterpret_cast<char const*>(&one.partition(0)); }
    void release() { go_on_.open(); }

    latch held;
    latch went_on;            ///< it has done what it was about to do
    latch replacement_waits;  ///< for a job, beside the only worker

private:
    latch go_on_;
    std::atomic<char const*> from_{nullptr};
    std::atomic<int> left_;
};

/// Calls that each stop at a latch of their own.
class held_calls {
public:
    explicit held_calls(std::size_t count) : entered(count), go_on(count) {}

    void operator()() {
        auto const call = calls++;
        if (call >= entered.size()) return;
        entered[call].open();
        go_on[call].wait();
    }

    std::atomic<std::size_t> calls{0};
    std::vector<latch> entered;
    std::vector<latch> go_on;
};

/// The scheduler of a runtime.
tidefall::detail::scheduler& schedule_of(tidefall::runtime const& one) {
    struct peek : tidefall::runtime {
        using tidefall::runtime::schedule;
    };
    return (one.*&peek::schedule)();
}

/// Counts how often a mutex in one object is locked.
class locks_in {
public:
    template <typename T>
    explicit locks_in(T const& one) {
        auto const* const from = reinterpret_cast<char const*>(&one);
        tests::before_lock = [this, from](void const* mutex) {
            auto const* const at = static_cast<char const*>(mutex);
            if (at >= from && at < from + sizeof(T)) ++count_;
        };
    }
    ~locks_in() { tests::before_lock = nullptr; }
    locks_in(locks_in const&) = delete;
    locks_in& operator=(locks_in const&) = delete;

    /// Checks that it is locked so often while that is done, and passes on what comes of it.
    template <typename F>
    auto check(std::string const& what, F act, int times = 1) {
        INFO(what);
        struct checks {
            int const& count;
            int times;
            ~checks() { CHECK(count == times); }
        };
        count_ = 0;
        checks const at_the_end{count_, times};
        return act();
    }

private:
    int count_ = 0;
};

tidefall::options abandoning(std::shared_ptr<tidefall::runtime> runtime = {}) {
    return {.partitions = 1,
            .processing_interval = never,
            .processing_batch_size = 1,
            .processing_timeout = 1ms,
            .timeout_action = tidefall::timeout_action::abandon,
            .shutdown_timeout = never,
            .unheard = tidefall::unheard_action::ignore,
            .runtime = std::move(runtime)};
}

}  // namespace

TEST_CASE("held: an alarm that a late watchdog hears leaves none set once the drain has ended") {
    // The hook that is called when the drain's last call has returned waits until the watchdog has looked.
    struct hook final : tidefall::telemetry_hook {
        void on_processing_stop(tidefall::processing_stop const&) override {
            if (++drains == 2) returned.open(), looked.wait();
        }
        std::atomic<int> drains{0};
        latch returned;
        latch looked;
    };
    held_watchdog watchdog(1);
    auto const events = std::make_shared<hook>();
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::atomic<int> calls{0};
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .processing_timeout = 1ms,
                     .unheard = tidefall::unheard_action::ignore,
                     .telemetry = events,
                     .runtime = runtime},
                    [&](std::span<int>) {
                        if (++calls == 1) watchdog.held.wait();  // as long as its timeout
                    });
    watchdog.watch(items);
    items.push(1);
    items.flush();  // its alarm has sounded, and is not heard yet
    items.update_options({.processing_timeout = 1h});
    items.push(2);
    items.flush(0s);  // the next call sets an alarm, and returns
    events->returned.wait();
    watchdog.release();
    watchdog.went_on.wait();
    events->looked.open();
    items.flush();
    CHECK(schedule_of(*runtime).timeouts.next() == tidefall::detail::never);
}

TEST_CASE("held: a call that is about to be given up destroys its buffer, and every value has its outcome") {
    held_watchdog watchdog(2);  // between the start of the replacement and the look at the call
    std::atomic<std::size_t> seen{0};
    latch all_seen;
    auto const see = [&](std::span<int> some) {
        if ((seen += some.size()) == 5) all_seen.open();
    };
    std::atomic<int> calls{0};
    std::atomic<bool> only_these_two{true};
    std::unique_ptr<int_queue> items;
    items = std::make_unique<int_queue>(
        abandoning(),
        [&](std::span<int> batch) {
            if (++calls == 1) {
                watchdog.held.wait();
                items.reset();
                // The timer leaves, and the replacement, which has found nothing to do.
                if (threads != 0) only_these_two = tests::thread_count_becomes(threads + 2);
                watchdog.release();
                watchdog.went_on.wait();
            }
            see(batch);
        },
        [](std::span<int>, tidefall::failure const&) {});  // what timed out, seen by its call already
    watchdog.watch(*items);
    for (int i = 0; i < 5; ++i) items->push(i);
    items->flush(0s);
    all_seen.wait();
    CHECK(only_these_two);
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: a call that returns before it is given up leaves the next call alone, and a worker leaves again") {
    patience const nobody_looks_again;
    {
        held_watchdog watchdog(2);
        held_calls hold(2);
        int_queue items(abandoning(), [&](std::span<int>) { hold(); });
        auto const with_the_buffer = tests::thread_count();
        watchdog.watch(items);
        items.push(1);
        items.push(2);
        items.push(3);
        items.flush(0s);
        hold.entered[0].wait();
        watchdog.held.wait();
        watchdog.replacement_waits.wait();  // or it would leave by itself once the call has returned
        items.update_options({.processing_timeout = never});
        hold.go_on[0].open();
        hold.entered[1].wait();
        watchdog.release();
        CHECK((threads == 0 || tests::thread_count_becomes(with_the_buffer)));
        CHECK(items.stats().abandoned == 0);
        hold.go_on[1].open();
        CHECK(items.stop().abandoned == 0);
        CHECK(items.stats().processed == 2);
        CHECK(items.stats().failed == 1);
    }
    CHECK(tests::thread_count_becomes(threads));
}

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

TEST_CASE("held: a write that waits for room is woken by an erase") {
    patience const nobody_looks_again;
    held_calls hold(1);
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = never, .capacity = 2},
                                     [&](std::span<tidefall::entry<int, int>>) { hold(); });
    map.put(1, 1);
    map.put(2, 2);
    hold.entered[0].wait();  // its call hangs
    map.put(3, 3);
    map.put(4, 4);
    latch waits;
    auto status = write_status::stale;
    std::thread writer([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        status = map.put(5, 5);
    });
    waits.wait();  // it holds the mutex until it can be woken
    CHECK(map.erase(3));
    writer.join();
    CHECK(status == write_status::accepted);
    hold.go_on[0].open();
    CHECK(map.stop().complete);
}

TEST_CASE("held: a write that waits for room is woken by a swap, an update of the options, and a stop") {
    patience const nobody_looks_again;
    auto const how = GENERATE(0, 1, 2);
    held_calls hold(1);
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .capacity = 1,
                     .overflow_timeout = never,
                     .unheard = tidefall::unheard_action::ignore},
                    [&](std::span<int>) { hold(); });
    items.push(1);
    hold.entered[0].wait();
    items.push(2);
    latch waits;
    auto status = write_status::stale;
    std::thread writer([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        status = items.push(3);
    });
    waits.wait();
    if (how == 0) {
        hold.go_on[0].open();
    } else if (how == 1) {
        items.update_options({.capacity = std::optional<std::size_t>{}});
    } else {
        items.stop(0s);
    }
    writer.join();
    CHECK(status == (how == 2 ? write_status::stopped : write_status::accepted));
    hold.go_on[0].open();
}

TEST_CASE("held: a write that loses its room to another waits on until the same time") {
    patience const nobody_looks_again;
    held_calls hold(1);
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .processing_timeout = never,
                     .capacity = 1,
                     .overflow_timeout = 10min,
                     .shutdown_timeout = never},
                    [&](std::span<int>) { hold(); });
    items.push(1);
    hold.entered[0].wait();
    items.push(2);
    std::vector<time_point> deadlines;
    latch waits;
    latch waits_again;
    auto status = write_status::stale;
    std::thread writer([&] {
        int exchanges = 0;
        tests::on_wait = [&](auto at) {
            deadlines.push_back(at);
            exchanges = 0;
            (deadlines.size() == 1 ? waits : waits_again).open();
        };
        tests::before_exchange = [&](std::size_t) {
            // It has locked the stripe twice, to see whether there is room. Before it comes in, the room is gone.
            if (deadlines.size() == 1 && ++exchanges == 3) items.push(3);
        };
        status = items.push(4);
        tests::on_wait = nullptr;
        tests::before_exchange = nullptr;
    });
    waits.wait();
    items.update_options({.capacity = 2});
    waits_again.wait();
    hold.go_on[0].open();
    writer.join();
    CHECK(status == write_status::accepted);
    CHECK(std::set<time_point>(deadlines.begin(), deadlines.end()).size() == 1);
    CHECK(items.stop().complete);
    CHECK(items.stats().accepted == 4);
}

TEST_CASE(
    "held: of two workers that do a buffer's work for their flushes, the second is woken for what the first left") {
    patience const nobody_looks_again;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    held_calls hold(1);
    int_queue inner({.partitions = 1, .processing_interval = never, .processing_batch_size = 1, .runtime = runtime},
                    [&](std::span<int>) { hold(); });
    latch second_is_there;
    latch second_waits;
    latch second_is_done;
    std::atomic<bool> first{true};
    bool second_complete = false;
    int_queue outer({.partitions = 2, .processing_interval = never, .runtime = runtime}, [&](std::span<int>) {
        if (first.exchange(false)) {
            // It makes the first call here, since there is no idle worker, and leaves the second.
            second_is_there.wait();
            while (hold.calls == 0) inner.flush(1ms);
            second_is_done.wait();
        } else {
            second_is_there.open();
            hold.entered[0].wait();
            tests::on_wait = [&](auto) { second_waits.open(); };
            second_complete = inner.flush(never).complete;
            tests::on_wait = nullptr;
            second_is_done.open();
        }
    });
    inner.push(1);
    inner.push(2);
    outer.push(1, tidefall::partition_key{0});
    for (int key = 1; outer.partition(0).size() * outer.partition(1).size() == 0; ++key) {
        outer.push(1, tidefall::partition_key{key});
    }
    outer.flush(0s);
    second_waits.wait();
    auto const over = std::chrono::steady_clock::now() + 2ms;
    until([&] { return std::chrono::steady_clock::now() > over; });  // the first flush has missed its deadline
    hold.go_on[0].open();
    CHECK(outer.flush().complete);
    CHECK(second_complete);
    CHECK(inner.stop().complete);
}

TEST_CASE("held: who settles a manual runtime looks once more for those whom it turned away") {
    auto const clock = tidefall::make_manual_runtime();
    latch about_to_leave;
    latch go_on;
    std::atomic<int> flags{0};
    std::atomic<int> calls{0};
    int_queue items({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<int>) {
        if (++calls > 1) return;
        // From here on this thread exchanges two flags: whether the clock was moved meanwhile, and that it settles no
        // more.
        tests::before_exchange = [&](std::size_t bytes) {
            if (bytes != 1 || ++flags != 2) return;
            about_to_leave.open();
            go_on.wait();
        };
    });
    items.push(1);
    std::thread settles([&] { clock->advance(1s); });
    about_to_leave.wait();
    items.push(2);
    clock->advance(1s);  // is turned away
    auto const meanwhile = calls.load();
    go_on.open();
    settles.join();
    CHECK(meanwhile == 1);
    CHECK(calls == 2);
}

TEST_CASE("held: advance returns beside a processor that waits for it, also where the clock is between two alarms") {
    auto const clock = tidefall::make_manual_runtime();
    latch entered;
    latch other_returned;
    std::atomic<int> calls{0};
    int_queue items({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<int>) {
        if (++calls > 1) return;
        entered.open();
        other_returned.wait();
    });
    int_queue others({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<int>) { ++calls; });
    items.push(1);
    std::thread settles([&] { clock->advance(1s); });
    entered.wait();
    others.push(1);
    // It finds no job running, and then one: what it would settle is being settled.
    clock->advance(5s);
    other_returned.open();
    settles.join();
    CHECK(calls == 2);
    CHECK(clock->now().time_since_epoch() == 6s);
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

TEST_CASE("held: a stop waits by its deadline and by one grace, however many partitions are not done") {
    patience const nobody_looks_again;
    constexpr std::size_t partitions = 4;
    // A hook that hangs in each of them.
    struct hook final : tidefall::telemetry_hook {
        void on_processing_start(tidefall::processing_start const&) override {
            ++entered;
            go_on.wait();
        }
        std::atomic<std::size_t> entered{0};
        latch go_on;
    };
    auto const events = std::make_shared<hook>();
    int_queue items({.partitions = partitions,
                     .processing_interval = never,
                     .telemetry = events,
                     .runtime = tidefall::make_runtime({.workers = partitions})},
                    [](std::span<int>) {});
    for (int key = 0; events->entered < partitions; ++key) {
        items.push(key, tidefall::partition_key{key});
        items.flush(0s);
        if (key > 100) std::this_thread::yield();
    }
    std::set<std::chrono::steady_clock::time_point> deadlines;
    tests::on_wait = [&](auto at) { deadlines.insert(at); };
    auto const report = items.stop(1ms);
    tests::on_wait = nullptr;
    events->go_on.open();
    CHECK_FALSE(report.complete);
    CHECK(deadlines.size() == 2);
}

TEST_CASE("held: the timer has nothing to look at while a call hangs and nothing is written") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    held_calls hold(1);
    int_queue items({.partitions = 1, .processing_interval = 1s, .processing_timeout = never, .runtime = clock},
                    [&](std::span<int>) { hold(); });
    items.push(1);
    std::thread other([&] { items.flush(); });
    hold.entered[0].wait();
    clock->advance(11s);  // beside a call it moves the clock alone
    auto const due = schedule.ticks.take_due(schedule.now());
    REQUIRE(due != nullptr);  // to give back the memory of an idle partition
    due->on_tick(schedule.now());
    CHECK(schedule.ticks.next() == tidefall::detail::never);
    hold.go_on[0].open();
    other.join();
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 10s));
}

TEST_CASE("held: the timer has nothing to look at once a flush found that all was erased") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    map.put(1, 1);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 1s));
    CHECK(map.erase(1));
    CHECK(map.flush().complete);
    CHECK(schedule.ticks.next() == tidefall::detail::never);
    map.put(2, 2);
    CHECK(map.flush().complete);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 1s));  // for what is written next
    clock->advance(1s);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 9s));  // for idle memory
}

TEST_CASE("held: the watchdog has nothing to look at while a drain is paused") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    int_queue items({.partitions = 1, .processing_batch_size = 1, .processing_timeout = 1h, .runtime = clock},
                    [&](std::span<int>) {
                        CHECK(schedule.timeouts.next() != tidefall::detail::never);
                        clock->advance(1s);
                    });
    items.push(1);
    items.push(2);
    CHECK_FALSE(items.flush(1s).complete);
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
    CHECK(items.stop().complete);
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
}

TEST_CASE("held: the watchdog looks when the next batch that is out is too late, and at a stop's deadline") {
    using order = tidefall::detail::next_step::order;
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options(
        {.processing_interval = 1h, .processing_batch_size = 1, .max_in_flight = 2, .processing_timeout = 2s}));
    some_call first;
    some_call second;
    auto const hand_out = [&](some_call& batch) {
        CHECK(control.enter_call(batch, 1, true).ticket);
        CHECK_FALSE(control.leave_later_call(batch).is_free);
    };
    auto const start = schedule.now();
    tables.count = 4;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    hand_out(first);
    schedule.advance(1s);
    hand_out(second);
    CHECK(schedule.timeouts.next() == start + 2s);
    CHECK(control.wait());
    CHECK(schedule.timeouts.next() == start + 2s);
    for (std::uint64_t number = 1; number <= 2; ++number) {
        schedule.advance(1s);  // the alarm sounds
        auto const late = control.look_at_calls(schedule.now());
        CHECK(late.timed_out);
        CHECK(late.call.number == number);
        CHECK(schedule.timeouts.next() == (number == 1 ? start + 3s : tidefall::detail::never));
    }
    auto const deadline = schedule.now() + 5s;
    CHECK_FALSE(control.close(deadline));
    CHECK(schedule.timeouts.next() == deadline);  // by then what waits is to be dropped
    schedule.advance(5s);
    CHECK(schedule.jobs.empty());
    bool const by_watchdog = GENERATE(true, false);
    if (by_watchdog) {
        CHECK_FALSE(control.look_at_calls(schedule.now()).timed_out);
        CHECK(schedule.jobs.take() == task);
        control.start_run();
        auto const next = control.next(tidefall::detail::never, false);
        CHECK(next.what == order::expired);
        CHECK(next.lost == 2);
        CHECK(control.reach_end().announces);
    } else {
        auto const found = control.expire();
        CHECK(found.lost == 2);
        CHECK(found.rest_is_ours);
        CHECK(found.announces);
    }
    schedule.jobs.shut_down();
    CHECK(schedule.jobs.is_deserted());  // nobody comes for what is out
}

TEST_CASE("held: while a batch waits for its time the timer has something to look at, and the watchdog nothing") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options({.processing_interval = 1h, .processing_timeout = 1h}));
    some_call batch;
    tables.count = 1;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    auto const call = control.enter_call(batch, 1, true);
    CHECK(control.leave_call(batch, *call.ticket, {.rejected = 1, .delay = 5s}).offers_again);
    CHECK(control.offer_again(batch));
    CHECK(control.wait());
    CHECK(schedule.timeouts.next() == tidefall::detail::never);
    CHECK(schedule.ticks.next() == tidefall::detail::later(schedule.now(), 5s));
    schedule.jobs.shut_down();
    CHECK_FALSE(schedule.jobs.is_deserted());  // somebody is to offer it again
    static_cast<void>(control.close(schedule.now()));
    bool const is_dropped_at_once = GENERATE(false, true);
    if (is_dropped_at_once) {
        CHECK(control.expire().lost == 1);
        CHECK(schedule.jobs.is_deserted());
        CHECK(schedule.timeouts.next() == tidefall::detail::never);
    } else {
        CHECK(schedule.jobs.take() == task);
        CHECK(control.start_run().what == tidefall::detail::run_start::order::run);
        CHECK(control.next(tidefall::detail::never, false).lost == 1);
        CHECK(control.take_waiting() == &batch);
    }
}

TEST_CASE("held: a write that leaves nothing in its table sets no tick") {
    auto const clock = tidefall::make_manual_runtime();
    auto& schedule = schedule_of(*clock);
    tidefall::hash_map<int, int> map({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    CHECK_THROWS_AS(map.update(1, [](auto&&) { throw std::runtime_error("no value"); }), std::runtime_error);
    CHECK(map.size() == 0);
    CHECK(schedule.ticks.next() == tidefall::detail::never);
}

TEST_CASE("held: a runtime that ends waits for a partition's run by how far its stop has come") {
    using tidefall::detail::grace;
    using tidefall::detail::never;
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    static_cast<void>(control.change_options({.processing_timeout = 1h}));
    auto const deadline = schedule.now() + 5s;
    bool const calls = GENERATE(true, false);
    tables.count = 1;
    control.flush();
    REQUIRE(schedule.jobs.take() == task);
    control.start_run();
    CHECK(control.may_run_until() == never);  // it is open
    some_call batch;
    auto const call = control.enter_call(batch, 1, true);
    CHECK_FALSE(control.close(deadline));
    CHECK(control.may_run_until() == deadline + grace);
    if (!calls) CHECK(control.leave_call(batch, *call.ticket, {}).rest == tidefall::detail::call_end::owner::mine);
    CHECK(control.may_run_until() == deadline + grace);
    auto const found = control.expire();
    CHECK(found.happened);
    CHECK(found.announces == calls);
    CHECK(control.may_run_until() == (calls ? time_point::min() : deadline + grace));
    if (calls) CHECK(control.leave_call(batch, *call.ticket, {}).rest == tidefall::detail::call_end::owner::taken_over);
    control.returned();
    CHECK(control.end_drain() == !calls);
    control.announced();
    CHECK(control.may_run_until() == never);  // it returns by itself
}

TEST_CASE("held: whatever is asked of a partition's control is asked under its mutex") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto const task = std::make_shared<idle_task>();
    counted_tables tables;
    tidefall::detail::drain_control control(*task, schedule, tables);
    locks_in held(control);
    tidefall::detail::worker busy;
    schedule.jobs.want_workers(1);
    schedule.jobs.worker_starts();
    schedule.jobs.worker_starts();
    auto const now = schedule.now();
    some_call batch;
    auto const enter = [&] {
        return held.check("enter_call", [&] { return *control.enter_call(batch, 1, true).ticket; });
    };
    auto const take_up = [&] {
        REQUIRE(schedule.jobs.take() == task);
        return held.check("start_run", [&] { return control.start_run(); });
    };

    held.check("change_options", [&] { return control.change_options({.processing_timeout = 1s}); });
    held.check("value_waits", [&] { control.value_waits(); });
    held.check("limit_reached", [&] { control.limit_reached(tidefall::drain_trigger::threshold); });
    held.check("room_deadline", [&] { return control.room_deadline(now); });
    held.check("tick", [&] { control.tick(now); });
    held.check("begin_if_idle", [&] { return control.begin_if_idle(tidefall::drain_trigger::capacity); });
    tables.count = 7;
    auto const drain = held.check("flush", [&] { return control.flush(); });
    held.check("is_settled", [&] { return control.is_settled(drain); });
    held.check("is_complete", [&] { return control.is_complete(drain); });
    take_up();
    held.check("swapped", [&] { return control.swapped(); });
    held.check("next", [&] { return control.next(tidefall::detail::never, false); });
    held.check("take_idle", [&] { return control.take_idle(); });
    auto call = enter();
    held.check("look_at_calls", [&] { return control.look_at_calls(now); });
    held.check("is_abandoned", [&] { return control.is_abandoned(batch); });
    held.check("settle_call", [&] { return control.settle_call(batch); });
    CHECK_FALSE(held.check("is_token_stopped", [&] { return control.is_token_stopped(batch); }));
    held.check("wait_at", [&] { control.wait_at(batch, nullptr); });
    held.check("leave_call", [&] { return control.leave_call(batch, call, {.rejected = 1}); });
    CHECK(held.check("offer_again", [&] { return control.offer_again(batch); }));
    CHECK(held.check("wait", [&] { return control.wait(); }));
    CHECK(control.tick(now));  // it is offered again
    take_up();
    CHECK(held.check("take_waiting", [&] { return control.take_waiting(); }) == &batch);
    CHECK(held.check("fail_again", [&] { return control.fail_again(1); }) == 1);
    held.check("pause", [&] { return control.pause(); });
    static_cast<void>(schedule.jobs.remove(*task));
    schedule.jobs.post(*task);
    take_up();
    held.check("hand_over", [&] { control.hand_over(); });
    take_up();
    auto& here = schedule.this_thread();
    here.serves = &schedule;
    here.worker = &busy;
    call = enter();
    held.check("abandon_call", [&] { control.abandon_call(batch.who(), std::make_shared<int>(1)); });
    CHECK(held.check("abandoned", [&] { return control.abandoned(); }) == 1);
    CHECK(control.leave_call(batch, call, {}).rest == tidefall::detail::call_end::owner::late);
    held.check("late_call_returned", [&] { control.late_call_returned(batch); });
    here.serves = nullptr;
    here.worker = nullptr;
    CHECK(held.check("take_spare_tables", [&] { return control.take_spare_tables(); }) != nullptr);
    take_up();
    CHECK(control.take_idle() == &batch);
    call = enter();
    CHECK(held.check("complete", [&] { return control.complete(batch, call, {}); }).rest ==
          tidefall::detail::call_end::owner::mine);
    CHECK_FALSE(held.check("finish", [&] { return control.finish(batch); }));
    CHECK(held.check("leave_later_call", [&] { return control.leave_later_call(batch); }).is_free);
    call = enter();
    CHECK_FALSE(held.check("give_up", [&] { return control.give_up(batch); }));
    CHECK(control.leave_later_call(batch).is_given_up);
    CHECK_FALSE(held.check("reach_end", [&] { return control.reach_end(); }).is_over);  // it is still out
    held.check(
        "late_batch_completed",
        [&] {
            control.abandon_call(batch.who(), std::make_shared<int>(1));
            control.late_batch_completed(batch);
        },
        2);
    take_up();
    CHECK(held.check("fail_fresh", [&] { return control.fail_fresh(); }) == 3);
    CHECK(control.take_idle() == &batch);
    held.check("put_aside", [&] { control.put_aside(batch); });
    held.check("end_drain", [&] { return control.end_drain(); });

    tables.count = 1;
    held.check("close", [&] { return control.close(now); });
    held.check("is_closed", [&] { return control.is_closed(); });
    held.check("stop_deadline", [&] { return control.stop_deadline(); });
    held.check("may_run_until", [&] { return control.may_run_until(); });
    held.check("is_in_use", [&] { return control.is_in_use(); });
    held.check("is_running", [&] { return control.is_running(); });
    CHECK(held.check("expire", [&] { return control.expire(); }).announces);
    held.check("is_expired", [&] { return control.is_expired(); });
    held.check("announced", [&] { control.announced(); });
    held.check("returned", [&] { control.returned(); });
    CHECK(held.check("has_ended", [&] { return control.has_ended(); }));
    tidefall::buffer_stats stats;
    held.check("count_in", [&] { control.count_in(stats); });
    CHECK(stats.failed == 6);
    tidefall::drain_report report;
    held.check("count_in", [&] { control.count_in(report); });
    CHECK(report.dropped == 1);
}

TEST_CASE("held: whatever is asked of a queue of jobs is asked under its mutex") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker busy;
    locks_in held(jobs);
    held.check("want_workers", [&] { jobs.want_workers(1); });
    CHECK(held.check("lacks_workers", [&] { return jobs.lacks_workers(); }));
    held.check("worker_starts", [&] { jobs.worker_starts(); });
    held.check("worker_starts", [&] { jobs.worker_starts(); });
    held.check("worker_did_not_start", [&] { jobs.worker_did_not_start(); });
    CHECK(held.check("want_spare", [&] { return jobs.want_spare(); }));
    jobs.worker_starts();
    CHECK(held.check("abandon_call", [&] { return jobs.abandon_call(busy, *task); }));
    held.check("want_no_spare", [&] { jobs.want_no_spare(); });
    CHECK(held.check("is_late", [&] { return jobs.is_late(busy); }));
    CHECK(held.check("has_of", [&] { return jobs.has_of(nullptr); }));
    CHECK(held.check("take_of", [&] { return jobs.take_of(nullptr); }) == task);
    CHECK(held.check("empty", [&] { return jobs.empty(); }));
    held.check("post", [&] { jobs.post(*task); });
    CHECK(held.check("take", [&] { return jobs.take(); }) == task);
    held.check("expect", [&] { jobs.expect(); });
    held.check("post_expected", [&] { jobs.post_expected(*task); });
    CHECK(held.check("size", [&] { return jobs.size(); }) == 1);
    CHECK(jobs.remove(*task));
    jobs.expect();
    held.check("expect_no_more", [&] { jobs.expect_no_more(); });
    held.check("serve_one_more", [&] { jobs.serve_one_more(); });
    CHECK(held.check("begin_wait", [&] { return jobs.begin_wait(); }));
    held.check("end_wait", [&] { jobs.end_wait(); });
    held.check("serve_one_less", [&] { jobs.serve_one_less(); });
    jobs.post(*task);
    CHECK(held.check("wait", [&] { return jobs.wait(); }) == task);
    CHECK_FALSE(held.check("remove", [&] { return jobs.remove(*task); }));
    held.check("late_call_returned", [&] { jobs.late_call_returned(busy); });
    CHECK(jobs.wait() == nullptr);  // there was one more than is wanted
    held.check("worker_ends", [&] { jobs.worker_ends(busy); });
    CHECK_FALSE(held.check("is_deserted", [&] { return jobs.is_deserted(); }));
    held.check("shut_down", [&] { jobs.shut_down(); });
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: a worker in several late calls is one worker, and each of the calls counts") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker busy;
    jobs.want_workers(2);
    for (int i = 0; i < 3; ++i) jobs.worker_starts();
    for (int i = 0; i < 2; ++i) {
        CHECK(jobs.want_spare());
        CHECK(jobs.abandon_call(busy, *task));
        CHECK(jobs.take() == task);
        CHECK_FALSE(jobs.lacks_workers());  // two are left
        jobs.want_no_spare();
    }
    CHECK_FALSE(jobs.want_spare());
    CHECK_FALSE(jobs.abandon_call(busy, *task));
    CHECK(jobs.empty());
    bool const returns = GENERATE(true, false);
    if (returns) {
        jobs.late_call_returned(busy);
        CHECK(jobs.is_late(busy));
        CHECK(jobs.want_spare());
        jobs.want_no_spare();
        jobs.late_call_returned(busy);
        CHECK_FALSE(jobs.is_late(busy));
        CHECK(jobs.wait() == nullptr);  // there is one too many
    } else {
        jobs.worker_ends(busy);
        CHECK(jobs.want_spare());
        jobs.want_no_spare();
    }
    CHECK_FALSE(jobs.lacks_workers());
    jobs.shut_down();
    CHECK_FALSE(jobs.is_deserted());
    for (int i = 0; i < 2; ++i) CHECK(jobs.wait() == nullptr);
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: a call is given up only where another worker is there for the rest") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    tidefall::detail::worker first;
    tidefall::detail::worker second;
    jobs.want_workers(3);
    jobs.worker_starts();
    CHECK_FALSE(jobs.abandon_call(first, *task));
    CHECK(jobs.empty());
    jobs.worker_starts();
    CHECK(jobs.abandon_call(first, *task));
    CHECK(jobs.take() == task);
    CHECK(jobs.abandon_call(first, *task));  // the second of the same worker, which counts no more
    CHECK(jobs.take() == task);
    CHECK_FALSE(jobs.abandon_call(second, *task));
    CHECK(jobs.empty());
}

TEST_CASE("held: a worker may wait for another buffer where its queue serves no other, or has a worker left") {
    tidefall::detail::job_queue jobs;
    jobs.serve_one_more();
    CHECK(jobs.begin_wait());
    jobs.end_wait();
    jobs.serve_one_more();
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.worker_starts();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.end_wait();
    CHECK(jobs.begin_wait());
    CHECK_FALSE(jobs.begin_wait());
    jobs.serve_one_less();
    CHECK(jobs.begin_wait());
}

TEST_CASE("held: workers are wanted while a job is expected, also once their queue is shut down") {
    tidefall::detail::job_queue jobs;
    auto const task = std::make_shared<idle_task>();
    jobs.want_workers(1);
    jobs.expect();
    jobs.expect();
    jobs.shut_down();
    CHECK(jobs.lacks_workers());
    CHECK_FALSE(jobs.is_deserted());
    jobs.post_expected(*task);
    CHECK(jobs.take() == task);
    CHECK(jobs.lacks_workers());
    jobs.expect_no_more();
    CHECK_FALSE(jobs.lacks_workers());
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: whatever is asked of a timer is asked under its mutex") {
    tidefall::detail::scheduler schedule(tidefall::detail::workforce::manual);
    auto& timer = schedule.ticks;
    auto const task = std::make_shared<idle_task>();
    auto const now = schedule.now();
    locks_in held(timer);
    held.check("set", [&] { timer.set(*task, now); });
    CHECK(held.check("next", [&] { return timer.next(); }) == now);
    CHECK(held.check("take_due", [&] { return timer.take_due(now); }) == task);
    held.check("unset", [&] { timer.unset(*task); });
    held.check("shut_down", [&] { timer.shut_down(); });
    held.check(
        "serve", [&] { timer.serve([](auto, auto) {}, [] {}); }, 2);
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

TEST_CASE("held: a flush beside a stop is woken once the stop has returned what it dropped") {
    patience const for_an_hour;
    latch entered;
    latch go_on;
    latch waits;
    latch waits_again;
    int_queue items(
        {.partitions = 1, .processing_interval = never, .processing_batch_size = 1},
        [&](std::span<int>) {
            entered.open();
            go_on.wait();
        },
        // By then the flush was woken by the stop's beginning, and has gone to sleep again.
        [&](std::span<int>, tidefall::failure const&) { waits_again.wait(); });
    items.push(1);
    items.push(2);
    items.flush(0s);
    entered.wait();
    std::thread flushes([&] {
        tests::on_wait = [&](auto) { (waits.is_open() ? waits_again : waits).open(); };
        CHECK_FALSE(items.flush().complete);
    });
    waits.wait();
    CHECK(items.stop(0s).dropped == 1);
    flushes.join();
    go_on.open();
}

TEST_CASE("held: a flush on the only worker goes on once a batch that is out too long is abandoned") {
    patience const for_an_hour;
    held_watchdog watchdog(1);
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::vector<tidefall::async_batch<int>> kept;
    auto how = abandoning(runtime);
    how.processing_timeout = 1h;
    int_queue inner(how, [&](tidefall::async_batch<int> batch) { kept.push_back(std::move(batch)); });
    latch waits;
    latch waits_again;
    bool complete = false;
    int_queue outer({.partitions = 1, .processing_interval = never, .shutdown_timeout = never, .runtime = runtime},
                    [&](std::span<int>) {
                        tests::on_wait = [&](auto) { (waits.is_open() ? waits_again : waits).open(); };
                        complete = inner.flush().complete;
                        tests::on_wait = nullptr;
                    });
    inner.push(1);
    outer.push(1);
    outer.flush(0s);
    waits.wait();
    watchdog.watch(inner);
    inner.update_options({.processing_timeout = 1ns});
    waits_again.wait();  // the update woke it
    watchdog.held.wait();
    watchdog.release();
    CHECK(outer.flush().complete);
    CHECK(complete);
    CHECK(inner.stats().abandoned == 1);
    kept.clear();
    outer.push(2);  // the worker is there as before
    CHECK(outer.flush().complete);
}

#if defined(__GLIBCXX__)
TEST_CASE("held: a flush goes on with a drain whose worker's thread has ended in a call") {
    patience const for_an_hour;
    auto const polled = tidefall::make_polled_runtime();
    latch entered;
    latch waits;
    int calls = 0;
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .processing_batch_size = 1,
                     .unheard = tidefall::unheard_action::ignore,
                     .runtime = polled},
                    [&](std::span<int>) {
                        if (++calls > 1) return;
                        entered.open();
                        waits.wait();
                        pthread_exit(nullptr);
                    });
    items.push(1);
    items.push(2);
    std::thread ends([&] { items.flush(); });
    entered.wait();
    std::thread flushes([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        CHECK(items.flush().complete);
    });
    ends.join();
    flushes.join();
    CHECK(calls == 2);
}
#endif

TEST_CASE("held: once a call has waited for room in another buffer, it does not wait there any more") {
    patience const for_an_hour;
    auto const runtime = tidefall::make_runtime({.workers = 2});
    auto& jobs = schedule_of(*runtime).jobs;
    struct hook final : tidefall::telemetry_hook {};
    auto const told = std::make_shared<hook>();
    held_calls calls(1);
    std::optional<int_queue> narrow;
    narrow.emplace(tidefall::options{.partitions = 1,
                                     .processing_interval = never,
                                     .capacity = 1,
                                     .overflow_timeout = never,
                                     .shutdown_timeout = never,
                                     .telemetry = told},
                   [&](std::span<int>) { calls(); });
    narrow->push(1);
    calls.entered[0].wait();
    narrow->push(2);
    latch waits;
    auto status = write_status::stale;
    tidefall::options const how{
        .partitions = 1, .processing_interval = never, .shutdown_timeout = never, .runtime = runtime};
    int_queue const other(how, [](std::span<int>) {});
    int_queue first(how, [&](std::span<int>, tidefall::batch_info const& info) {
        if (info.drain > 1) return;
        tests::on_wait = [&](auto) { waits.open(); };
        status = narrow->push(3);
        tests::on_wait = nullptr;
    });
    first.push(1);
    first.flush(0s);
    waits.wait();
    CHECK_FALSE(jobs.begin_wait());  // another worker must be left
    calls.go_on[0].open();
    CHECK(first.flush().complete);
    CHECK(status == write_status::accepted);
    CHECK(jobs.begin_wait());
    jobs.end_wait();
    narrow.reset();
    CHECK(told.use_count() == 1);  // nobody keeps what is gone
}

TEST_CASE("held: the destructor is woken by the end of a call that was given up and gave its batch away") {
    patience const for_an_hour;
    latch entered;
    latch go_on;
    std::optional<tidefall::async_batch<int>> kept;
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::optional<int_queue> items(std::in_place, abandoning(runtime), [&](tidefall::async_batch<int> batch) {
        kept.emplace(std::move(batch));
        entered.open();
        go_on.wait();
    });
    items->push(1);
    items->flush(0s);
    entered.wait();
    items->flush();
    CHECK(items->stats().abandoned == 1);
    kept->complete();
    CHECK(items->stats().abandoned == 1);  // its call has not returned
    CHECK(items->stop().complete);
    latch waits;
    std::thread ends([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        items.reset();
    });
    waits.wait();
    go_on.open();
    ends.join();
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

TEST_CASE("held: a worker that stays for a job that is expected is woken where there will be none") {
    patience const for_an_hour;
    tidefall::detail::job_queue jobs;
    jobs.want_workers(1);
    jobs.worker_starts();
    jobs.expect();
    jobs.shut_down();
    latch waits;
    std::thread worker([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        CHECK(jobs.wait() == nullptr);
    });
    waits.wait();
    jobs.expect_no_more();
    worker.join();
    CHECK(jobs.is_deserted());
}

TEST_CASE("held: a write that loses its room in all partitions to others has them drain anew") {
    patience const nobody_looks_again;
    held_calls hold(1);
    int_queue items({.partitions = 1,
                     .processing_interval = never,
                     .total_capacity = 2,
                     .overflow_timeout = never,
                     .shutdown_timeout = never},
                    [&](std::span<int>) { hold(); });
    items.push(0);
    items.flush(0s);
    hold.entered[0].wait();
    items.push(1);
    items.push(2);
    latch waits;
    auto status = write_status::stale;
    std::thread writer([&] {
        int exchanges = 0;
        bool is_taken = false;
        tests::on_wait = [&](auto) {
            exchanges = 0;
            waits.open();
        };
        tests::before_exchange = [&](std::size_t) {
            // As above: it has seen that there is room, and comes in.
            if (is_taken || !waits.is_open() || ++exchanges != 3) return;
            is_taken = true;
            items.push(5);
            items.push(6);
        };
        status = items.push(4);
        tests::on_wait = nullptr;
        tests::before_exchange = nullptr;
    });
    waits.wait();
    hold.go_on[0].open();
    writer.join();
    CHECK(status == write_status::accepted);
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 6);
}

TEST_CASE("held: a write that waits for room by weight starts a drain where another took it, and reached no limit") {
    constexpr auto weight = [](int one) { return static_cast<std::size_t>(one); };
    patience const nobody_looks_again;
    held_calls hold(1);
    tidefall::queue<int, tidefall::insertion_order, tidefall::weighed_by<weight>> items(
        {.partitions = 1,
         .processing_interval = never,
         .capacity_weight = 10,
         .overflow_timeout = never,
         .shutdown_timeout = never},
        [&](std::span<int>) { hold(); });
    items.push(1);
    items.flush(0s);
    hold.entered[0].wait();
    items.push(7);
    latch waits;
    auto status = write_status::stale;
    std::thread writer([&] {
        bool is_taken = false;
        tests::on_wait = [&](auto) { waits.open(); };
        tests::before_exchange = [&](std::size_t) {
            if (!waits.is_open() || std::exchange(is_taken, true)) return;
            items.push(6);  // before it looks whether there is room
        };
        status = items.push(5);
        tests::on_wait = nullptr;
        tests::before_exchange = nullptr;
    });
    waits.wait();
    hold.go_on[0].open();
    writer.join();
    CHECK(status == write_status::accepted);
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 4);
}

TEST_CASE("held: the destructor is woken where the last batch that is out is completed") {
    patience const for_an_hour;
    auto const runtime = tidefall::make_runtime({.workers = 1});
    std::optional<tidefall::async_batch<int>> kept;
    latch is_out;
    tidefall::options const how{
        .partitions = 1, .processing_interval = never, .unheard = tidefall::unheard_action::ignore, .runtime = runtime};
    std::optional<int_queue> items(std::in_place, how, [&](tidefall::async_batch<int> batch) {
        kept.emplace(std::move(batch));
        is_out.open();
    });
    items->push(1);
    items->flush(0s);
    is_out.wait();
    CHECK_FALSE(items->stop(0s).complete);
    latch waits;
    std::thread ends([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        items.reset();
    });
    waits.wait();
    kept->complete();
    ends.join();
}

TEST_CASE("held: a worker that is about to wait returns what it has where a stop's deadline passes first") {
    struct hook final : tidefall::telemetry_hook {
        void on_batch_retried(tidefall::batch_retried const&) override { is_sorted_out = true; }
        void on_items_dropped(tidefall::items_dropped const&) override { dropped.open(); }
        std::atomic<bool> is_sorted_out{false};
        latch dropped;
    };
    auto const told = std::make_shared<hook>();
    latch about_to_wait;
    std::vector<int> back;
    std::optional<int_queue> items;
    items.emplace(
        tidefall::options{.partitions = 1, .processing_interval = never, .telemetry = told},
        [](std::span<int const>, tidefall::batch_info const&) {
            tidefall::batch_result again;
            again.reject_from(0);
            return again.retry_after(1h);
        },
        [&](std::span<int> some, tidefall::failure const&) { back.insert(back.end(), some.begin(), some.end()); });
    auto const* const from = reinterpret_cast<char const*>(&items->partition(0));
    int locks = 0;
    // Set before there is anything for a worker to do.
    tests::before_lock = [&](void const* mutex) {
        auto const* const at = static_cast<char const*>(mutex);
        if (at < from || at >= from + sizeof(items->partition(0)) || !tests::thread_name.ends_with("/work/0")) return;
        if (!told->is_sorted_out || ++locks != 2) return;  // once to have the batch wait
        about_to_wait.open();
        told->dropped.wait();
    };
    items->push(7);
    items->flush(0s);
    about_to_wait.wait();
    CHECK(items->stop(0s).dropped == 1);
    items.reset();
    tests::before_lock = nullptr;
    CHECK(back == std::vector{7});
}
