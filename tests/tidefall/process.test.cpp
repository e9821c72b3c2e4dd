// SPDX-License-Identifier: MIT
//
// Buffers that live as long as their process or their thread. Each case is a process of its own, which ends by itself
// or by its alarm: a wait for anything but work would last longer.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#if defined(__unix__) || defined(__APPLE__)

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::options;
using tidefall::write_status;
using items_queue = tidefall::queue<int>;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();

/// Where this process says what its parent is to read.
int voice = -1;

void say(std::string const& word) {
    auto const text = word + " ";
    if (write(voice, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::_Exit(99);
}

void say_each(std::span<int> batch) {
    for (int const item : batch) say(std::to_string(item));
}

/// How a process ended.
struct ending {
    int status = -1;  ///< of its exit; -1 if it was a signal
    int signal = 0;
    std::string said;
};

/// Runs `live` in a child process, which exits with 0 where that returns.
template <typename F>
ending process_of(F live) {
    int ends[2];
    if (pipe(ends) != 0) return {};
    std::cout.flush();
    std::fflush(nullptr);  // nothing is said twice
    auto const child = fork();
    if (child == 0) {
        for (int const each : {SIGABRT, SIGSEGV, SIGTERM, SIGFPE, SIGILL, SIGINT}) std::signal(each, SIG_DFL);
        alarm(30);
        close(ends[0]);
        voice = ends[1];
        live();
        std::exit(0);
    }
    close(ends[1]);
    ending result;
    char text[256];
    for (ssize_t n = 0; (n = read(ends[0], text, sizeof text)) > 0;) {
        result.said.append(text, static_cast<std::size_t>(n));
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
    return result;
}

/// Ends nothing and waits for nobody.
[[noreturn]] void hang() {
    for (;;) pause();
}

/// Calls `f` when it is destroyed.
template <typename F>
class at_the_end {
public:
    explicit at_the_end(F f) : f_(std::move(f)) {}
    at_the_end(at_the_end const&) = delete;
    at_the_end& operator=(at_the_end const&) = delete;
    ~at_the_end() { f_(); }

private:
    F f_;
};

/// Set up such that only the end of the buffer drains it, and such that a wait for its deadline would not end.
options undisturbed(std::shared_ptr<tidefall::runtime> on = nullptr) {
    return {.partitions = 1, .processing_interval = 1h, .shutdown_timeout = forever, .runtime = std::move(on)};
}

enum class served { by_its_own, by_a_shared_one, by_hand };

std::shared_ptr<tidefall::runtime> runtime_of(served how) {
    if (how == served::by_a_shared_one) return tidefall::make_runtime({.workers = 2});
    if (how == served::by_hand) return tidefall::make_manual_runtime();
    return nullptr;
}

}  // namespace

TEST_CASE("process: a static buffer drains what waits when main has ended") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const end = process_of([&] {
        static items_queue items(undisturbed(runtime_of(how)), say_each);
        items.push(1);
        items.push(2);
    });
    CHECK(end.said == "1 2 ");
    CHECK(end.status == 0);
}

TEST_CASE("process: the status of the exit stays, and a runtime that is static too may go before or after") {
    SECTION("after") {
        auto const end = process_of([] {
            static auto const runtime = tidefall::make_runtime({.workers = 1});
            static items_queue items(undisturbed(runtime), say_each);
            items.push(1);
            std::exit(7);
        });
        CHECK(end.said == "1 ");
        CHECK(end.status == 7);
    }
    SECTION("before") {
        auto const end = process_of([] {
            static std::shared_ptr<items_queue> items;
            static auto const runtime = tidefall::make_runtime({.workers = 1});
            items = std::make_shared<items_queue>(undisturbed(runtime), say_each);
            items->push(1);
            std::exit(7);
        });
        CHECK(end.said == "1 ");
        CHECK(end.status == 7);
    }
}

TEST_CASE("process: a static that was made after a static buffer writes into it when it is destroyed") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const end = process_of([&] {
        static items_queue items(undisturbed(runtime_of(how)), say_each);
        static at_the_end const later([] {
            say("later");
            if (items.push(2) != write_status::accepted) say("refused");
        });
        static at_the_end const last([] {
            say("last");
            if (items.push(1) != write_status::accepted) say("refused");
            if (!items.flush().complete) say("incomplete");
        });
    });
    CHECK(end.said == "last 1 later 2 ");
    CHECK(end.status == 0);
}

TEST_CASE("process: a static that was made before a static buffer writes into it where it shares it") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const end = process_of([&] {
        static std::shared_ptr<items_queue> shared;
        static at_the_end const earlier([] {
            say("earlier");
            if (shared->push(2) != write_status::accepted) say("refused");
        });
        static auto const items = std::make_shared<items_queue>(undisturbed(runtime_of(how)), say_each);
        shared = items;
        items->push(1);
    });
    CHECK(end.said == "earlier 1 2 ");
    CHECK(end.status == 0);
}

TEST_CASE("process: static buffers that write into each other drain in turn") {
    auto const end = process_of([] {
        static tidefall::hash_map<int, int> totals(undisturbed(), [](std::span<tidefall::entry<int, int>> batch) {
            for (auto const& each : batch) say(std::to_string(each.key) + "=" + std::to_string(each.value));
        });
        static items_queue items(undisturbed(), [](std::span<int> batch) {
            for (int const item : batch) totals.update(7, [&](int& total) { total += item; });
        });
        for (int i = 1; i <= 100; ++i) items.push(i);
    });
    CHECK(end.said == "7=5050 ");
    CHECK(end.status == 0);
}

TEST_CASE("process: an exit waits for a call that is running, and not for one that hangs") {
    auto const end = process_of([] {
        static latch begun;
        static latch go_on;
        static items_queue items({.partitions = 1, .drain_threshold = 1, .shutdown_timeout = forever},
                                 [](std::span<int> batch) {
                                     begun.open();
                                     go_on.wait();
                                     say_each(batch);
                                 });
        static at_the_end const later([] { go_on.open(); });
        items.push(1);
        begun.wait();
        items.push(2);
    });
    CHECK(end.said == "1 2 ");
    CHECK(end.status == 0);

    auto const hung = process_of([] {
        static latch begun;
        static items_queue items(
            {.partitions = 1,
             .drain_threshold = 1,
             .shutdown_timeout = 10ms,
             .calls_at_destruction = tidefall::destruction_action::leave},
            [](std::span<int>) {
                begun.open();
                hang();
            },
            [](std::span<int> rest, tidefall::failure const&) { say_each(rest); });
        items.push(1);
        begun.wait();
        items.push(2);
        std::exit(7);
    });
    CHECK(hung.said == "2 ");
    CHECK(hung.status == 7);
}

TEST_CASE("process: a thread_local buffer drains when its thread ends") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    SECTION("any thread") {
        auto const end = process_of([&] {
            for (int first : {1, 3}) {
                std::thread([&] {
                    thread_local items_queue items(undisturbed(runtime_of(how)), say_each);
                    items.push(first);
                    items.push(first + 1);
                }).join();
                say("joined");
            }
        });
        CHECK(end.said == "1 2 joined 3 4 joined ");
        CHECK(end.status == 0);
    }
    SECTION("the main thread") {
        auto const end = process_of([&] {
            static at_the_end const last([] { say("statics"); });
            thread_local items_queue items(undisturbed(runtime_of(how)), say_each);
            items.push(1);
        });
        CHECK(end.said == "1 statics ");
        CHECK(end.status == 0);
    }
    SECTION("a worker of another buffer") {
        auto const end = process_of([&] {
            items_queue outer(undisturbed(), [&](std::span<int> batch) {
                thread_local items_queue inner(undisturbed(runtime_of(how)), say_each);
                for (int const item : batch) inner.push(item + 1);
            });
            outer.push(1);
            outer.flush();
            say("flushed");
        });
        CHECK(end.said == "flushed 2 ");
        CHECK(end.status == 0);
    }
}

TEST_CASE("process: the destructor of a writer's thread_local still writes") {
    auto const end = process_of([] {
        static items_queue items(undisturbed(), say_each);
        std::thread([] {
            thread_local at_the_end const last([] {
                if (items.push(2) != write_status::accepted) say("refused");
            });
            items.push(1);
        }).join();
        items.flush();
        say("flushed");
    });
    CHECK(end.said == "1 2 flushed ");
    CHECK(end.status == 0);
}

// Where another thread than the one that exits uses the buffer, it is inside `flush` or `stop` already: these begin the
// call.

TEST_CASE("process: exit in the processor of a static buffer ends the process with its status") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    // It is not waited for, however long the deadline.
    auto const patience = GENERATE(std::chrono::nanoseconds(10ms), forever);
    auto const exits_where_main = [&](void (*uses)(items_queue&)) {
        return process_of([&] {
            static at_the_end const last([] { say("statics"); });
            auto with = undisturbed(runtime_of(how));
            with.partitions = 2;
            with.shutdown_timeout = patience;
            static items_queue items(with, [](std::span<int>) {
                say("exit");
                std::exit(3);
            });
            items.push(1);
            uses(items);
            hang();
        });
    };
    auto const flushes = exits_where_main([](items_queue& items) { items.flush(forever); });
    CHECK(flushes.said == "exit statics ");
    CHECK(flushes.status == 3);
    auto const stops = exits_where_main([](items_queue& items) { items.stop(forever); });
    CHECK(stops.said == "exit statics ");
    CHECK(stops.status == 3);
    if (how == served::by_hand) return;
    auto const does_other_things = exits_where_main([](items_queue& items) { items.flush(0s); });
    CHECK(does_other_things.said == "exit statics ");
    CHECK(does_other_things.status == 3);
}

TEST_CASE("process: exit in a processor drains the other static buffers of the same runtime, and of others") {
    auto const end = process_of([] {
        static auto const runtime = tidefall::make_runtime({.workers = 1});
        static items_queue same(undisturbed(runtime), say_each);
        static items_queue other(undisturbed(), say_each);
        static items_queue exits(undisturbed(runtime), [](std::span<int>) { std::exit(3); });
        same.push(1);
        other.push(2);
        exits.push(3);
        exits.flush();
        hang();
    });
    CHECK(end.said == "2 1 ");
    CHECK(end.status == 3);
}

TEST_CASE("process: exit in a hook of a static buffer ends the process with its status") {
    std::string const at = GENERATE(as<std::string>(), "partition_start", "processing_start", "processing_stop",
                                    "processing_exception", "processing_failed", "partition_stop");
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const end = process_of([&] {
        static at_the_end const last([] { say("statics"); });
        auto with = undisturbed(runtime_of(how));
        auto const log = std::make_shared<tests::event_log>();
        log->then = [at](std::string const& what) {
            if (what != at) return;
            say(what);
            std::exit(3);
        };
        with.telemetry = log;
        static items_queue items(with, [](std::span<int>) { throw std::runtime_error("bad"); });
        items.push(1);
        if (at == "partition_stop") items.stop();
        items.flush();
        hang();
    });
    CHECK(end.said == at + " statics ");
    CHECK(end.status == 3);
}

TEST_CASE("process: exit in a hook on the watchdog's thread, beside a call that hangs") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one);
    auto const end = process_of([&] {
        static at_the_end const last([] { say("statics"); });
        auto with = undisturbed(runtime_of(how));
        auto const log = std::make_shared<tests::event_log>();
        log->then = [](std::string const& what) {
            if (what != "processing_failed") return;
            say(what);
            std::exit(3);
        };
        with.telemetry = log;
        with.processing_timeout = 1ms;
        static items_queue items(with, [](std::span<int>) { hang(); });
        items.push(1);
        items.flush();
    });
    CHECK(end.said == "processing_failed statics ");
    CHECK(end.status == 3);
}

TEST_CASE("process: exit in undelivered, on a worker's thread and on a writer's") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const exits = [](std::span<int> rest, tidefall::failure const&) {
        say_each(rest);
        say("undelivered");
        std::exit(3);
    };
    auto const on_a_worker = process_of([&] {
        static items_queue items(
            undisturbed(runtime_of(how)), [](std::span<int>) { throw 1; }, exits);
        items.push(1);
        items.flush();
        hang();
    });
    CHECK(on_a_worker.said == "1 undelivered ");
    CHECK(on_a_worker.status == 3);

    auto const on_a_writer = process_of([&] {
        auto with = undisturbed(runtime_of(how));
        with.capacity = 2;
        with.overflow = tidefall::overflow_policy::drop_oldest;
        static latch begun;
        static latch go_on;
        static items_queue items(
            std::move(with),
            [](std::span<int> batch) {
                begun.open();
                go_on.wait();
                say_each(batch);
            },
            exits);
        static at_the_end const later([] { go_on.open(); });
        items.push(1);
        items.push(2);
        if (how != served::by_hand) {
            begun.wait();
            items.push(3);
            items.push(4);
        }
        items.push(5);
        hang();
    });
    // With threads, the last to leave their runtime waits for them.
    CHECK(on_a_writer.said == (how == served::by_hand ? "1 undelivered " : "3 undelivered 1 2 4 5 "));
    CHECK(on_a_writer.status == 3);
}

TEST_CASE("process: _Exit, quick_exit and abort in a processor end it at once") {
    auto const how = GENERATE(served::by_its_own, served::by_a_shared_one, served::by_hand);
    auto const ends_by = [&](void (*call)()) {
        return process_of([&] {
            static at_the_end const last([] { say("statics"); });
            static items_queue items(undisturbed(runtime_of(how)), [call](std::span<int>) { call(); });
            items.push(1);
            items.flush();
            hang();
        });
    };
    auto const exited = ends_by([] { std::_Exit(4); });
    CHECK(exited.said.empty());
    CHECK(exited.status == 4);
#if !defined(__APPLE__)
    auto const quick = ends_by([] { std::quick_exit(5); });
    CHECK(quick.said.empty());
    CHECK(quick.status == 5);
#endif
    auto const aborted = ends_by([] { std::abort(); });
    CHECK(aborted.said.empty());
    CHECK(aborted.signal == SIGABRT);
}

#endif
