// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/set_table.hpp"
#include "../support/threads.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tests::message_of;
using tests::recorder;
using tests::until;
using tidefall::options;
using tidefall::write_status;

namespace {

using numbers_queue = tidefall::queue<int>;
using numbers_registry = tidefall::registry<numbers_queue>;

static_assert(!std::is_copy_constructible_v<numbers_registry> && !std::is_move_constructible_v<numbers_registry>);
static_assert(!std::is_copy_assignable_v<numbers_registry> && !std::is_move_assignable_v<numbers_registry>);

void ignore(std::span<int>) {
}

/// Held in a call until the test lets it go.
struct held {
    latch entered;
    latch leave;
    void operator()(std::span<int>) {
        entered.open();
        leave.wait();
    }
};

/// Once for each start, from inside of it: where it is copied no lock may be held.
struct looks_while_copied {
    std::function<void()> look;
    explicit looks_while_copied(std::function<void()> f) : look(std::move(f)) {}
    looks_while_copied(looks_while_copied const& other) : look(other.look) { look(); }
    void operator()(std::span<int>) const {}
};

}  // namespace

TEST_CASE("registry: buffers are started, found and stopped by name") {
    recorder<int> const seen;
    numbers_registry all;
    CHECK(all.size() == 0);
    CHECK_FALSE(all.find("a"));

    auto const a = all.start("a", {.name = "other", .partitions = 1, .processing_interval = 1h}, seen);
    auto const b = all.start("b", {.partitions = 2}, ignore);
    CHECK(a->name() == "a");
    CHECK(all.find("a") == a);
    CHECK(all.find(std::string_view("bcd").substr(0, 1)) == b);
    CHECK_FALSE(all.find("bcd"));
    CHECK_FALSE(all.find("other"));
    CHECK(all.size() == 2);
    CHECK(all.names() == std::vector<std::string>{"a", "b"});

    CHECK(all.find("a")->push(7) == write_status::accepted);
    CHECK(all.stop("a") == tidefall::drain_report{.processed = 1});
    CHECK(seen.values() == std::vector<int>{7});
    CHECK_FALSE(all.find("a"));
    CHECK(all.names() == std::vector<std::string>{"b"});
    CHECK(a->push(8) == write_status::stopped);  // whoever holds it is answered
    CHECK(b->push(8) == write_status::accepted);
}

TEST_CASE("registry: a class that gives its buffer another name is found, and let go of, by the registry's") {
    struct prefixed : numbers_queue {
        explicit prefixed(options how, void (*process)(std::span<int>))
            : numbers_queue({.name = "numbers." + how.name, .partitions = 1, .runtime = how.runtime}, process) {}
    };
    tidefall::registry<prefixed> all;
    CHECK(all.start("a", {}, ignore)->name() == "numbers.a");
    CHECK(all.names() == std::vector<std::string>{"a"});
    all.stop("a");
    CHECK_FALSE(all.find("a"));
    all.start("a", {}, ignore);
    all.stop_all();
    CHECK(all.size() == 0);
}

TEST_CASE("registry: the name is free again after its stop") {
    numbers_registry all;
    auto const first = all.start("a", {.partitions = 1}, ignore);
    all.stop("a");
    auto const second = all.start("a", {.partitions = 1}, ignore);
    CHECK(first != second);
    CHECK(all.find("a") == second);
    CHECK(second->push(1) == write_status::accepted);
}

TEST_CASE("registry: a stop destroys the processor, though somebody still holds the buffer") {
    numbers_registry all;
    auto const captured = std::make_shared<int>(0);
    auto const held = all.start("a", {}, [captured](std::span<int>) {});
    CHECK(captured.use_count() == 2);
    all.stop("a");
    CHECK(captured.use_count() == 1);
    CHECK(held->push(1) == write_status::stopped);
    CHECK(held->stop().complete);
}

namespace {

/// A sort key that, from `armed` on, looks at the buffer that it was in when it is destroyed.
struct looking_key {
    using queue = tidefall::queue<int, tidefall::sorted_by_key<looking_key>>;

    int number = 0;
    queue** armed = nullptr;
    int* looks = nullptr;

    looking_key(int of, queue*& when_set, int& count) : number(of), armed(&when_set), looks(&count) {}
    looking_key(looking_key const&) = default;
    looking_key(looking_key&& other) noexcept
        : number(other.number), armed(std::exchange(other.armed, nullptr)), looks(other.looks) {}
    ~looking_key() {
        if (armed == nullptr || *armed == nullptr) return;
        *looks += (*armed)->size() == 0 && (*armed)->stats().dropped == 5 ? 1 : 0;
    }

    friend bool operator<(looking_key const& a, looking_key const& b) { return a.number < b.number; }
};

}  // namespace

TEST_CASE("registry: what a stop destroys of the user's, it destroys without a lock") {
    tidefall::registry<looking_key::queue> all;
    auto const one =
        all.start("a", {.partitions = 1, .runtime = tidefall::make_manual_runtime()}, [](std::span<int>) {});
    looking_key::queue* armed = nullptr;
    int looks = 0;
    auto const push = [&](int i) { one->push(i, tidefall::sort_key{looking_key(i, armed, looks)}); };
    for (int i = 0; i < 3; ++i) push(i);
    one->flush(0s);  // swaps the tables, and no more
    for (int i = 3; i < 5; ++i) push(i);
    armed = one.get();
    CHECK(all.stop("a", 0s).dropped == 5);
    CHECK(looks == 5);
    armed = nullptr;
}

TEST_CASE("registry: a buffer that somebody else stopped keeps its name until the registry stops it") {
    numbers_registry all;
    auto const one = all.start("a", {.partitions = 1, .processing_interval = 1h}, ignore);
    one->push(1);
    auto const report = one->stop();
    CHECK(report.processed == 1);
    CHECK(all.find("a") == one);
    CHECK_THROWS_AS(all.start("a", {}, ignore), std::invalid_argument);
    CHECK(all.stop("a") == report);
    CHECK_FALSE(all.find("a"));
}

TEST_CASE("registry: a taken name throws before anything starts, and the buffer of that name goes on") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<tests::event_log>();
    numbers_registry all;
    auto const one = all.start("a", {.partitions = 1, .runtime = clock}, ignore);
    auto const threads = tests::thread_count();
    int copies = 0;
    looks_while_copied const process([&] { ++copies; });
    auto const message = message_of<std::invalid_argument>([&] { all.start("a", {.telemetry = log}, process); });
    CHECK(message == "tidefall: the name \"a\" is taken in the registry");
    CHECK(copies == 0);
    CHECK(log->lines().empty());
    CHECK(tests::thread_count() == threads);
    CHECK(all.find("a") == one);
    CHECK(one->push(1) == write_status::accepted);
}

TEST_CASE("registry: a start that throws leaves nothing, no thread and no name") {
    numbers_registry all;
    auto const threads = tests::thread_count();
    auto const message =
        message_of<tidefall::invalid_options>([&] { all.start("a", {.processing_batch_size = 0}, ignore); });
    CHECK(message == "tidefall: option processing_batch_size is 0, but must be at least 1");
    CHECK(message_of<tidefall::invalid_options>([&] { all.start("", {}, ignore); }) ==
          "tidefall: option name is empty, but must be a name");
    CHECK_THROWS_AS(all.start("a", {}, std::function<void(std::span<int>)>()), std::invalid_argument);
    CHECK_THROWS_AS(all.start("a", {}, ignore, std::function<void(std::span<int>, tidefall::failure const&)>()),
                    std::invalid_argument);
    CHECK(tests::thread_count() == threads);
    looks_while_copied const throwing([] { throw std::runtime_error("copied"); });
    CHECK_THROWS_AS(all.start("a", {}, throwing), std::runtime_error);
    CHECK(all.size() == 0);
    CHECK_FALSE(all.find("a"));
    all.start("a", {}, ignore);
    CHECK(all.find("a"));
}

TEST_CASE("registry: buffers share one runtime, which the first of them starts") {
    auto const threads = tests::thread_count();
    if (threads == 0) return;
    {
        numbers_registry all({.workers = 3, .thread_name = "shared"});
        CHECK(tests::thread_count() == threads);
        for (auto const* const name : {"a", "b", "c", "d"}) all.start(name, {.partitions = 8}, ignore);
        CHECK(tests::thread_count() == threads + 3 + 2);
        // Each names itself when it comes to run.
        until([] {
            auto const here = tests::threads();
            return std::count_if(here.begin(), here.end(),
                                 [](auto const& one) { return one.name.starts_with("shared/"); }) == 5;
        });
        all.start("e", {.runtime = tidefall::make_manual_runtime()}, ignore);
        CHECK(tests::thread_count() == threads + 3 + 2);
        all.stop_all();
        CHECK(tests::thread_count() == threads + 3 + 2);
    }
    CHECK(tests::thread_count_becomes(threads));
}

TEST_CASE("registry: the runtime that it is given serves its buffers, unless their options name another") {
    auto const clock = tidefall::make_manual_runtime();
    auto const other = tidefall::make_manual_runtime();
    auto const threads = tests::thread_count();
    recorder<int> const seen;
    numbers_registry all(clock);
    all.start("a", {.partitions = 1, .processing_interval = 1s}, seen)->push(1);
    all.start("b", {.partitions = 1, .processing_interval = 1s, .runtime = other}, seen)->push(2);
    CHECK(tests::thread_count() == threads);
    clock->advance(1s);
    CHECK(seen.values() == std::vector<int>{1});
    other->advance(1s);
    CHECK(seen.values() == std::vector<int>{1, 2});
}

TEST_CASE("registry: bad options of its runtime are refused when it is made") {
    CHECK(message_of<tidefall::invalid_options>([] { numbers_registry({.workers = 0}); }) ==
          "tidefall: option workers is 0, but must be 1 to 1024");
    CHECK(message_of<tidefall::invalid_options>([] { numbers_registry({.workers = 1, .thread_name = ""}); }) ==
          "tidefall: option thread_name is empty, but must be a name");
}

TEST_CASE("registry: undelivered, and buffers of every kind") {
    auto const clock = tidefall::make_manual_runtime();
    tests::returns<int> const back;
    numbers_registry queues(clock);
    queues
        .start(
            "q", {.partitions = 1}, [](std::span<int>) { throw std::runtime_error("no"); }, back)
        ->push(5);
    CHECK(queues.stop("q") == tidefall::drain_report{.failed = 1});
    CHECK(back.values() == std::vector<int>{5});
    CHECK(back.all().front().buffer == "q");

    tidefall::registry<tidefall::hash_map<std::string, int>> maps(clock);
    int sum = 0;
    maps.start("m", {}, [&](std::span<tidefall::entry<std::string, int>> batch) {
        for (auto const& one : batch) sum += one.value;
    });
    maps.find("m")->put("x", 3);
    maps.find("m")->put("x", 4);
    maps.stop_all();
    CHECK(sum == 4);

    tidefall::registry<tests::set_buffer<int>> sets(clock);
    sets.start("s", {}, ignore)->insert(1);
    CHECK(sets.stop("s").processed == 1);
}

TEST_CASE("registry: to stop what is not there does nothing") {
    numbers_registry all;
    CHECK(all.stop("a") == tidefall::drain_report{});
    CHECK(all.stop("a", 1s) == tidefall::drain_report{});
    CHECK(all.stop_all() == tidefall::drain_report{});
    all.start("a", {.partitions = 1}, ignore);
    all.stop("a");
    CHECK(all.stop("a") == tidefall::drain_report{});
}

TEST_CASE("registry: a stop with a deadline of its own drops what waits at its end") {
    auto const clock = tidefall::make_manual_runtime();
    numbers_registry all(clock);
    all.start("a", {.partitions = 1}, ignore)->push(1);
    CHECK(all.stop("a", 0s) == tidefall::drain_report{.dropped = 1, .complete = false});
    CHECK_FALSE(all.find("a"));
    all.start("b", {.partitions = 1}, ignore)->push(1);
    all.start("c", {.partitions = 1}, ignore)->push(1);
    CHECK(all.stop_all(0s) == tidefall::drain_report{.dropped = 2, .complete = false});
    all.start("d", {.partitions = 1, .shutdown_timeout = 0s}, ignore)->push(1);
    all.start("e", {.partitions = 1, .shutdown_timeout = 1s}, ignore)->push(1);
    CHECK(all.stop_all() == tidefall::drain_report{.processed = 1, .dropped = 1, .complete = false});
}

TEST_CASE("registry: stop_all stops all and sums their reports") {
    recorder<int> const seen;
    auto const clock = tidefall::make_manual_runtime();
    numbers_registry all(clock);
    for (int i = 0; i < 10; ++i) all.start(std::to_string(i), {.partitions = 1}, seen)->push(i);
    all.start("failing", {.partitions = 1}, [](std::span<int>) { throw 1; })->push(10);  // NOLINT
    CHECK(all.stop_all() == tidefall::drain_report{.processed = 10, .failed = 1});
    CHECK(seen.values().size() == 10);
    CHECK(all.size() == 0);
    all.start("1", {.partitions = 1}, seen);
    CHECK(all.names() == std::vector<std::string>{"1"});
}

TEST_CASE("registry: stop_all closes every buffer before it waits for one") {
    numbers_registry all({.workers = 4});
    held first;
    held second;
    auto const a = all.start("a", {.partitions = 1, .processing_interval = 1ns}, std::ref(first));
    auto const b = all.start("b", {.partitions = 1, .processing_interval = 1ns}, std::ref(second));
    a->push(1);
    b->push(1);
    first.entered.wait();
    second.entered.wait();
    tidefall::drain_report report;
    std::thread stopping([&] { report = all.stop_all(); });
    until([&] { return a->push(0) == write_status::stopped && b->push(0) == write_status::stopped; });
    // Found, taken, until their stops have ended.
    CHECK(all.find("a") == a);
    CHECK(all.find("b") == b);
    CHECK_THROWS_AS(all.start("a", {}, ignore), std::invalid_argument);
    auto const other = all.start("c", {.partitions = 1}, ignore);  // came later: not stopped
    first.leave.open();
    second.leave.open();
    stopping.join();
    CHECK(report == tidefall::drain_report{.processed = a->stats().accepted + b->stats().accepted});
    CHECK(all.names() == std::vector<std::string>{"c"});
    CHECK(other->push(1) == write_status::accepted);
}

TEST_CASE("registry: one deadline for all, from the time of the call on") {
    auto const clock = tidefall::make_manual_runtime();
    numbers_registry all(clock);
    // Each takes 10 s of the 15 s for its only call; the second to be called finds no time left for another.
    auto const slow = [&](std::span<int>) { clock->advance(10s); };
    for (auto const* const name : {"a", "b", "c"}) {
        auto const one = all.start(name, {.partitions = 1, .processing_batch_size = 1}, slow);
        one->push(1);
        one->push(2);
    }
    auto const report = all.stop_all(15s);
    CHECK(report.processed == 2);
    CHECK(report.dropped == 4);
    CHECK_FALSE(report.complete);
    CHECK(clock->now().time_since_epoch() == 20s);
}

TEST_CASE("registry: two stops of one name both wait and get the same report") {
    numbers_registry all;
    held process;
    auto const one = all.start("a", {.partitions = 1, .processing_interval = 1ns}, std::ref(process));
    one->push(1);
    process.entered.wait();
    std::atomic<int> ended{0};
    std::vector<tidefall::drain_report> reports(3);
    std::vector<std::thread> threads;
    for (auto& report : reports) {
        threads.emplace_back([&] {
            report = all.stop("a");
            ++ended;
        });
    }
    until([&] { return one->push(2) == write_status::stopped; });
    CHECK(ended == 0);
    process.leave.open();
    for (auto& each : threads) each.join();
    auto const expected = one->stop();
    CHECK(expected.processed > 0);
    // One that came when all was over found nothing.
    for (auto const& report : reports) CHECK((report == expected || report == tidefall::drain_report{}));
    CHECK(std::count(reports.begin(), reports.end(), expected) > 0);
    CHECK_FALSE(all.find("a"));
}

TEST_CASE("registry: of several starts of one name at once one wins") {
    for (int round = 0; round < 50; ++round) {
        numbers_registry all;
        std::atomic<int> won{0};
        std::atomic<int> lost{0};
        latch go;
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                go.wait();
                try {
                    all.start("a", {.partitions = 1, .runtime = tidefall::make_manual_runtime()}, ignore);
                    ++won;
                } catch (std::invalid_argument const&) {
                    ++lost;
                }
            });
        }
        go.open();
        for (auto& each : threads) each.join();
        CHECK(won == 1);
        CHECK(lost == 3);
        CHECK(all.size() == 1);
    }
}

TEST_CASE("registry: a slow start keeps nobody from finding, starting and stopping others") {
    numbers_registry all;
    all.start("there", {.partitions = 1}, ignore);
    latch entered;
    latch leave;
    looks_while_copied const slow([&] {
        entered.open();
        leave.wait();
    });
    std::thread starting([&] { all.start("slow", {.partitions = 1}, slow); });
    entered.wait();
    CHECK(all.find("there"));
    CHECK_FALSE(all.find("slow"));  // not yet
    CHECK(all.names() == std::vector<std::string>{"there"});
    CHECK(all.size() == 1);
    CHECK(message_of<std::invalid_argument>([&] { all.start("slow", {}, ignore); }) ==
          "tidefall: the name \"slow\" is taken in the registry: it is being started");
    CHECK(all.stop("slow") == tidefall::drain_report{});
    all.start("another", {.partitions = 1}, ignore);
    all.stop_all();
    leave.open();
    starting.join();
    CHECK(all.names() == std::vector<std::string>{"slow"});  // the stop of all came before it
}

TEST_CASE("registry: code of the user may use the registry") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> seen;
    numbers_registry all(clock);
    all.start("a", {.partitions = 1}, [&](std::span<int>) {
        seen = all.names();
        all.find("a")->push(2);
        if (!all.find("b")) all.start("b", {.partitions = 1}, ignore);
        all.stop("c");
    });
    looks_while_copied const process([&] { CHECK_FALSE(all.find("c")); });
    all.start("c", {.partitions = 1}, process)->push(3);
    all.find("a")->push(1);
    clock->advance(5s);
    CHECK(seen == std::vector<std::string>{"a", "c"});
    CHECK(all.names() == std::vector<std::string>{"a", "b"});
}

TEST_CASE("registry: a stop in the buffer's own callback throws, and nothing changes") {
    auto const clock = tidefall::make_manual_runtime();
    numbers_registry all(clock);
    bool one_threw = false;
    bool all_threw = false;
    auto const other = all.start("0", {.partitions = 1}, ignore);
    auto const last = all.start("z", {.partitions = 1}, ignore);
    auto const one = all.start("a", {.partitions = 1}, [&](std::span<int>) {
        one_threw = tests::deadlock_would_occur([&] { all.stop("a"); });
        all_threw = tests::deadlock_would_occur([&] { all.stop_all(); });
    });
    one->push(1);
    clock->advance(5s);
    CHECK(one_threw);
    CHECK(all_threw);
    CHECK(all.size() == 3);
    CHECK(all.find("a") == one);
    CHECK(one->push(2) == write_status::accepted);
    CHECK(other->push(2) == write_status::accepted);
    CHECK(last->push(2) == write_status::accepted);
    CHECK(all.stop_all().processed == 3);
}

TEST_CASE("registry: the destructor stops all, and who holds a buffer has it stopped") {
    recorder<int> const seen;
    std::shared_ptr<numbers_queue> kept;
    {
        numbers_registry all;
        kept = all.start("a", {.partitions = 1, .processing_interval = 1h}, seen);
        all.start("b", {.partitions = 1, .processing_interval = 1h}, seen)->push(1);
        kept->push(2);
    }
    CHECK(seen.values().size() == 2);
    CHECK(kept->push(3) == write_status::stopped);
}

TEST_CASE("registry: destroyed in a callback of one of its buffers, it waits for the others and closes that one") {
    recorder<int> const seen;
    latch destroyed;
    auto all = std::make_unique<numbers_registry>();
    all->start("other", {.partitions = 1, .processing_interval = 1h}, seen)->push(1);
    auto const one = all->start("a", {.partitions = 1, .processing_interval = 1h}, [&](std::span<int>) {
        if (!all) return;
        all.reset();
        CHECK(seen.values() == std::vector<int>{1});
        destroyed.open();
    });
    one->push(2);
    one->flush(0s);
    destroyed.wait();
    CHECK(one->push(3) == write_status::stopped);
    CHECK(one->stop().complete);
}

TEST_CASE("registry: started, found, written to and stopped by many threads") {
    numbers_registry all({.workers = 2});
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> processed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 50; ++i) {
                std::string const name = "tenant-" + std::to_string((i + t) % 3);
                try {
                    all.start(name, {.partitions = 1, .processing_interval = 1ms},
                              [&](std::span<int> batch) { processed += batch.size(); });
                } catch (std::invalid_argument const&) {
                }
                if (auto const one = all.find(name)) {
                    for (int n = 0; n < 20; ++n) accepted += one->push(n) == write_status::accepted ? 1U : 0U;
                }
                if (i % 3 == t % 3) all.stop(name);
                if (i % 25 == 24) all.stop_all();
            }
        });
    }
    for (auto& each : threads) each.join();
    all.stop_all();
    CHECK(accepted == processed);
    CHECK(all.size() == 0);
}
