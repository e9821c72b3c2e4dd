// SPDX-License-Identifier: MIT
//
// The threads of a runtime by themselves, with tasks of the test's own: what their mutex is taken for, what is let go
// of when, and how long the end of a runtime waits for whom. Nobody looks again by himself for an hour.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"
#include "held.hpp"

#include <tidefall/detail/drain/buffer_core.hpp>
#include <tidefall/detail/drain/partition_set.hpp>
#include <tidefall/detail/threads/crew.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#if defined(__GLIBCXX__)
#include <pthread.h>
#endif

using namespace std::chrono_literals;
using tests::latch;
using tests::patience;
using tests::until;
using tidefall::detail::crew;
using tidefall::detail::never;
using tidefall::detail::scheduler;
using tidefall::detail::time_point;

namespace {

/// Before any test: one that has just ended may be listed for a moment more.
std::size_t const threads = tests::thread_count();

/// A task that does what the test says.
struct told_task final : tidefall::detail::task {
    explicit told_task(std::function<void()> runs, std::function<void()> is_overdue = {}, time_point until = never)
        : task(nullptr), runs_(std::move(runs)), is_overdue_(std::move(is_overdue)), until_(until) {}
    void on_tick(time_point) noexcept override {}
    void on_overdue(time_point) noexcept override { is_overdue_(); }
    bool run(time_point) override {
        runs_();
        return false;
    }
    time_point may_run_until() noexcept override { return until_; }

private:
    std::function<void()> runs_;
    std::function<void()> is_overdue_;
    time_point until_;
};

std::shared_ptr<told_task> told(std::function<void()> runs) {
    return std::make_shared<told_task>(std::move(runs));
}

std::shared_ptr<scheduler> schedule_with_threads() {
    return std::make_shared<scheduler>(tidefall::detail::workforce::threads);
}

/// Calls the function at the end of the thread that sets it.
struct at_end_of_thread {
    std::function<void()> act;
    ~at_end_of_thread() {
        if (act) act();
    }
};
thread_local at_end_of_thread last;

using table = tidefall::queue_table<int>;
using core = tidefall::detail::buffer_core<table>;

std::shared_ptr<core> core_on(std::shared_ptr<scheduler> schedule) {
    auto const process = [](std::span<int>) {};
    return std::make_shared<core>(
        tidefall::options{.partitions = 1}, 0, std::move(schedule),
        std::make_unique<tidefall::detail::processor_of<table, std::remove_const_t<decltype(process)>>>(process),
        nullptr);
}

/// Counts the locks of mutexes that lie in an object.
template <typename T>
class locks_in {
public:
    explicit locks_in(T const& one) {
        auto const* const from = reinterpret_cast<char const*>(&one);
        tests::before_lock = [this, from](void const* mutex) {
            auto const* const at = static_cast<char const*>(mutex);
            if (at >= from && at < from + sizeof(T)) ++count;
        };
    }
    ~locks_in() { tests::before_lock = nullptr; }
    locks_in(locks_in const&) = delete;
    locks_in& operator=(locks_in const&) = delete;

    int count = 0;
};

}  // namespace

TEST_CASE("held: whatever is asked of the threads of a runtime is asked under their mutex") {
    auto const schedule = schedule_with_threads();
    auto const* const from = reinterpret_cast<char const*>(schedule.get());
    std::atomic<int> by_this_thread{0};
    std::atomic<int> by_worker{0};
    std::atomic<int> by_watchdog{0};
    std::atomic<int> by_timer{0};
    bool ends = false;
    auto const here = std::this_thread::get_id();
    tests::before_lock = [&](void const* mutex) {
        auto const* const at = static_cast<char const*>(mutex);
        if (at >= from && at < from + sizeof(scheduler)) return;  // its timers' and jobs'
        if (std::this_thread::get_id() == here) {
            // Once it has told all to leave it finds that they have.
            if (++by_this_thread == 2 && ends) CHECK(tests::thread_count_becomes(threads));
        } else {
            ++(tests::thread_name.ends_with("/work/0")  ? by_worker
               : tests::thread_name.ends_with("/watch") ? by_watchdog
                                                        : by_timer);
        }
    };
    auto const job = told([] {});
    auto const overdue = std::make_shared<told_task>([] {}, [] {});
    {
        std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
        CHECK(by_this_thread == 3);  // each thread is started under it
        schedule->jobs.post(*job);
        until([&] { return by_worker == 2; });  // it takes the job in hand, and puts it away
        schedule->timeouts.set(*overdue, time_point::min());
        until([&] { return by_watchdog == 2; });
        by_this_thread = 0;
        ends = true;
        some.reset();
    }
    tests::before_lock = nullptr;
    CHECK(by_this_thread == 8);  // keep_members, three times next, twice wait_for, next, disown
    CHECK(by_worker == 3);
    CHECK(by_watchdog == 3);
    CHECK(by_timer == 1);
}

TEST_CASE("held: a task that was done is let go of") {
    auto const schedule = schedule_with_threads();
    crew some(schedule, 1, {"held"});
    auto task = told([] {});
    std::weak_ptr const alive = task;
    schedule->jobs.post(*task);
    task.reset();
    until([&] { return alive.expired(); });
    CHECK(schedule->jobs.empty());
}

TEST_CASE("held: what the watchdog had in hand is let go of") {
    auto const schedule = schedule_with_threads();
    crew some(schedule, 1, {"held"});
    latch sounded;
    auto task = std::make_shared<told_task>([] {}, [&] { sounded.open(); });
    std::weak_ptr const alive = task;
    schedule->timeouts.set(*task, time_point::min());
    sounded.wait();
    task.reset();
    until([&] { return alive.expired(); });
    CHECK(schedule->timeouts.next() == never);
}

TEST_CASE("held: the end of a runtime looks again when its worker takes up another task, which hangs") {
    patience const for_an_hour;
    auto const schedule = schedule_with_threads();
    std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
    latch begun;
    latch go_on;
    latch hangs;
    latch let_go;
    auto const first = told([&] {
        begun.open();
        go_on.wait();
    });
    auto const second = std::make_shared<told_task>(
        [&] {
            hangs.open();
            let_go.wait();
        },
        nullptr, time_point::min());
    schedule->jobs.post(*first);
    begun.wait();
    schedule->jobs.post(*second);
    latch waits;
    std::thread ends([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        some.reset();
    });
    waits.wait();
    go_on.open();
    ends.join();  // it leaves the worker where it is
    CHECK(hangs.is_open());
    let_go.open();
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: the end of a runtime sees that a worker has left between its look and its wait") {
    patience const for_an_hour;
    auto const schedule = schedule_with_threads();
    auto const* const from = reinterpret_cast<char const*>(schedule.get());
    std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
    latch about_to_wait;
    latch set;
    std::atomic<int> locks{0};
    std::thread ends([&] {
        set.wait();
        some.reset();
    });
    auto const by_whom = ends.get_id();
    tests::before_lock = [&, by_whom](void const* mutex) {
        auto const* const at = static_cast<char const*>(mutex);
        if (at >= from && at < from + sizeof(scheduler)) return;
        if (std::this_thread::get_id() == by_whom) {
            if (++locks != 4) return;  // keep_members, next, the look
            about_to_wait.open();
            CHECK(tests::thread_count_becomes(threads + 1));
        } else if (tests::thread_name.ends_with("/work/0")) {
            about_to_wait.wait();
        }
    };
    set.open();
    ends.join();
    tests::before_lock = nullptr;
    CHECK(locks > 4);
}

TEST_CASE("held: while a runtime ends, what it looks at stays, whoever starts a worker") {
    auto const schedule = schedule_with_threads();
    auto const* const from = reinterpret_cast<char const*>(schedule.get());
    std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
    latch looks;
    latch go_on;
    latch set;
    int locks = 0;
    std::thread ends([&] {
        set.wait();
        some.reset();
    });
    auto const by_whom = ends.get_id();
    tests::before_lock = [&, by_whom](void const* mutex) {
        auto const* const at = static_cast<char const*>(mutex);
        if ((at >= from && at < from + sizeof(scheduler)) || std::this_thread::get_id() != by_whom) return;
        if (++locks != 3) return;  // keep_members, next
        looks.open();
        go_on.wait();
    };
    set.open();
    looks.wait();
    CHECK(tests::thread_count_becomes(threads + 1));  // its worker has left
    CHECK(schedule->start_replacement());
    schedule->end_replacement();
    go_on.open();
    ends.join();
    tests::before_lock = nullptr;
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: the end of a runtime does not wait for a watchdog whose task has outstayed its deadline") {
    patience const for_an_hour;
    auto const schedule = schedule_with_threads();
    std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
    latch hangs;
    latch let_go;
    auto const task = std::make_shared<told_task>([] {},
                                                  [&] {
                                                      hangs.open();
                                                      let_go.wait();
                                                  },
                                                  time_point::min());
    schedule->timeouts.set(*task, time_point::min());
    hangs.wait();
    some.reset();
    let_go.open();
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("held: a runtime whose workers have gone has its watchdog leave") {
    patience const for_an_hour;
    auto const schedule = schedule_with_threads();
    std::optional<crew> some(std::in_place, schedule, 1, tidefall::detail::crew_names{"held"});
    auto const job = told([] {});
    schedule->jobs.want_workers(0);
    schedule->jobs.post(*job);  // wakes the worker, who is one too many
    CHECK(tests::thread_count_becomes(threads + 2));
    CHECK(schedule->jobs.remove(*job));
    some.reset();
    CHECK(tests::thread_count_becomes(threads));
}

#if defined(__GLIBCXX__)
TEST_CASE("held: what a worker had in hand is let go of where its thread ends in it") {
    auto const schedule = schedule_with_threads();
    crew some(schedule, 1, {"held"});
    auto task = told([] { pthread_exit(nullptr); });
    std::weak_ptr const alive = task;
    schedule->jobs.post(*task);
    task.reset();
    until([&] { return alive.expired(); });
    latch done;
    auto const next = told([&] { done.open(); });
    schedule->jobs.post(*next);
    done.wait();
}

TEST_CASE("held: a thread that ends slowly keeps nobody from work, whoever joins it") {
    auto const schedule = schedule_with_threads();
    crew some(schedule, 1, {"held"});
    latch ends;
    latch let_go;
    auto const slow = told([&] {
        last.act = [&] {
            ends.open();
            let_go.wait();
        };
        pthread_exit(nullptr);
    });
    schedule->jobs.post(*slow);
    ends.wait();
    auto const quick = told([] { pthread_exit(nullptr); });
    schedule->jobs.post(*quick);  // whoever starts the next thread joins the slow one
    latch done;
    auto const next = told([&] { done.open(); });
    schedule->jobs.post(*next);
    done.wait();
    let_go.open();
}
#endif

TEST_CASE("held: a worker's thread serves no runtime any more once it has left") {
    auto const schedule = schedule_with_threads();
    bool serves = true;
    {
        crew const some(schedule, 1, {"held"});
        latch done;
        auto const job = told([&] {
            last.act = [&] { serves = schedule->serves_this_thread(); };
            done.open();
        });
        schedule->jobs.post(*job);
        done.wait();
    }
    CHECK_FALSE(serves);
}

TEST_CASE("held: what stops say of a buffer is asked under its mutex") {
    auto const schedule = std::make_shared<scheduler>(tidefall::detail::workforce::manual);
    auto const one = core_on(schedule);
    locks_in held(*one);
    one->note_stop("first");
    CHECK(held.count == 1);
    one->note_stop("second");
    CHECK(held.count == 2);
    CHECK(one->stop_note() == "first");
    CHECK(held.count == 3);
    static_cast<void>(one->settle_report([] { return tidefall::drain_report{}; }));
    CHECK(held.count == 4);
}

TEST_CASE("held: one thread at a time changes the limit of all partitions") {
    auto const schedule = std::make_shared<scheduler>(tidefall::detail::workforce::manual);
    auto const one = core_on(schedule);
    tidefall::detail::partition_set<table> const all(one, {.partitions = 1}, 1);
    locks_in held(all);
    all.apply({.total_capacity = std::optional<std::size_t>(5)});
    CHECK(held.count == 1);
    all.apply({.processing_interval = 1s});
    CHECK(held.count == 1);
}

TEST_CASE("held: who waits for a call's end looks again, where its wake-up is lost") {
    auto const schedule = std::make_shared<scheduler>(tidefall::detail::workforce::manual);
    auto const one = core_on(schedule);
    tidefall::detail::recheck_interval = 1ms;
    tests::wake_ups_are_lost = true;
    std::atomic<bool> has_ended{false};
    latch waits;
    latch returned;
    std::thread ends([&] {
        tests::on_wait = [&](auto) { waits.open(); };
        CHECK(one->wait_for([&] { return has_ended.load(); }, 10min));
        returned.open();
    });
    waits.wait();
    has_ended = true;
    one->changed();
    returned.wait();
    ends.join();
    tests::wake_ups_are_lost = false;
    tidefall::detail::recheck_interval = 1s;
}
