// SPDX-License-Identifier: MIT
//
// The real engine, where a thread waits for room, for a drain or for an end, and has to be woken.
// CMakeLists.txt builds files of this kind against broken engines too, which must fail them.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"
#include "held.hpp"

#include <tidefall/detail/threads/job_queue.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#if defined(__GLIBCXX__)
#include <pthread.h>
#endif

using namespace std::chrono_literals;
using tests::abandoning;
using tests::held_calls;
using tests::int_queue;
using tests::latch;
using tests::never;
using tests::patience;
using tests::schedule_of;
using tests::until;
using tidefall::write_status;
using tidefall::detail::time_point;

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
