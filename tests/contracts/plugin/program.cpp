// SPDX-License-Identifier: MIT
//
// A program that shares its buffers with a plugin: a buffer works, and knows who calls it, whichever of the two does.
// What goes wrong waits for longer than the alarm.
#include "shared.hpp"

#include "../../support/latch.hpp"

#include <tidefall/manual_runtime.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();

int failures = 0;

void check(bool holds, char const* what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "not so: %s\n", what);
}

/// Runs `f` in a forked child, and adds what fails there.
template <typename F>
void in_a_child(F f) {
    auto const child = fork();
    if (child == 0) {
        alarm(30);
        failures = 0;
        f();
        _exit(failures);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended as it should");
}

void knows_its_own_processor() {
    numbers* self = nullptr;
    latch ready;
    bool by_program = false;
    bool by_plugin = false;
    numbers items({.partitions = 1, .shutdown_timeout = forever}, [&](std::span<int>) {
        ready.wait();
        by_plugin = plugin().is_refused(*self);
        try {
            self->flush();
        } catch (std::system_error const&) {
            by_program = true;
        }
    });
    self = &items;
    ready.open();
    items.push(1);
    items.stop();
    check(by_plugin, "flush and stop in the processor throw in the plugin");
    check(by_program, "flush in the processor throws in the program");
}

/// A buffer, and a child that makes its buffers itself, as a daemon does.
void works_in_a_daemon() {
    {
        numbers early({.partitions = 1}, [](std::span<int>) {});
        early.push(0);
        plugin().push(early, 1);
    }
    in_a_child([] {
        std::size_t processed = 0;
        numbers items({.partitions = 1, .processing_interval = 1h},
                      [&](std::span<int> batch) { processed += batch.size(); });
        bool all = true;
        for (int i = 0; i < 100; ++i) all = all && plugin().push(items, i) == write_status::accepted;
        check(all, "in a daemon the plugin's writes are accepted");
        check(items.push(100) == write_status::accepted, "in a daemon the program's writes are accepted");
        check(items.stop().processed == 101 && processed == 101, "in a daemon all is processed");

        processed = 0;
        auto const made = plugin().make({.partitions = 1, .processing_interval = 1h},
                                        [&](std::span<int> batch) { processed += batch.size(); });
        check(made->push(1) == write_status::accepted, "in a daemon a buffer that the plugin makes takes values");
        check(made->stop().processed == 1 && processed == 1, "in a daemon a buffer that the plugin makes works");
    });
}

void is_stopped_in_a_child() {
    totals map({.partitions = 1, .processing_interval = 1h}, [](std::span<tidefall::entry<int, int>>) {});
    numbers items({.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
    auto const made = plugin().make({.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
    latch held;
    latch go_on;
    std::thread holder([&] {
        map.update(1, [&](int&) {
            held.open();
            go_on.wait();
        });
    });
    held.wait();
    in_a_child([&] {
        check(plugin().push(items, 1) == write_status::stopped, "in a child the plugin's write answers stopped");
        check(items.push(1) == write_status::stopped, "in a child the program's write answers stopped");
        check(made->push(1) == write_status::stopped, "in a child a buffer of the plugin answers stopped");
        check(plugin().put(map, 1, 1) == write_status::stopped, "in a child the plugin takes no lock");
        check(plugin().flush(items) == tidefall::drain_report{}, "in a child the plugin's flush returns at once");
        check(items.stats().refused == 0, "in a child nothing is counted");
    });
    go_on.open();
    holder.join();
    check(plugin().push(items, 1) == write_status::accepted, "the parent goes on");
    check(made->push(1) == write_status::accepted, "the parent's buffer of the plugin goes on");
}

void keeps_a_thread_in_its_place() {
    constexpr std::size_t partitions = 4;
    // Whichever of the two a thread calls first, and whichever made the buffer.
    for (bool const plugin_first : {false, true}) {
        for (bool const made_by_plugin : {false, true}) {
            auto const clock = tidefall::make_manual_runtime();
            std::vector<int> seen;
            consumer const note = [&](std::span<int> batch) { seen.insert(seen.end(), batch.begin(), batch.end()); };
            tidefall::options const how{.partitions = partitions, .processing_batch_size = 1000, .runtime = clock};
            auto const items = made_by_plugin ? plugin().make(how, note) : std::make_unique<numbers>(how, note);
            auto const push = [&](int i) { (i % 2 == 0) == plugin_first ? plugin().push(*items, i) : items->push(i); };
            for (int i = 0; i < 100; ++i) push(i);
            std::size_t used = 0;
            for (std::size_t i = 0; i < partitions; ++i) used += items->partition(i).size() > 0 ? 1U : 0U;
            check(used == 1, "a thread that writes from both has one partition");
            items->flush();
            bool in_order = seen.size() == 100;
            for (std::size_t i = 0; i < seen.size(); ++i) in_order = in_order && seen[i] == static_cast<int>(i);
            check(in_order, "what a thread writes from both keeps its order");

            // This thread has one place of them already.
            for (std::size_t thread = 1; thread < 3 * partitions; ++thread) {
                std::thread([&] {
                    auto const from = static_cast<int>(thread);
                    push(from);
                    push(from + 1);
                }).join();
            }
            push(0);
            push(1);
            bool even = true;
            for (std::size_t i = 0; i < partitions; ++i) even = even && items->partition(i).size() == 6;
            check(even, "threads spread evenly over the partitions, whoever writes");
        }
    }
}

/// A worker that flushes another buffer of its runtime does that work itself: nobody else would.
void shares_a_runtime() {
    for (bool const runtime_of_plugin : {false, true}) {
        auto const runtime = runtime_of_plugin ? plugin().make_runtime()
                                               : tidefall::make_runtime({.workers = 1, .thread_name = "program"});
        for (bool const inner_of_plugin : {false, true}) {
            tidefall::options const how{
                .partitions = 2, .processing_interval = 1h, .shutdown_timeout = forever, .runtime = runtime};
            std::atomic<int> processed{0};
            consumer const count = [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); };
            auto const inner = inner_of_plugin ? plugin().make(how, count) : std::make_unique<numbers>(how, count);
            tidefall::drain_report by_plugin;
            tidefall::drain_report by_program;
            consumer const flushes = [&](std::span<int>) {
                inner->push(1);
                by_plugin = plugin().flush(*inner);
                plugin().push(*inner, 2);
                by_program = inner->flush();
            };
            auto const outer = inner_of_plugin ? std::make_unique<numbers>(how, flushes) : plugin().make(how, flushes);
            outer->push(1);
            check(outer->flush().complete, "a flush of a buffer on a runtime of the other ends");
            check(by_plugin.complete && by_plugin.processed == 1, "the plugin's flush on a worker does the work");
            check(by_program.complete && by_program.processed == 1, "the program's flush on a worker does the work");
            inner->push(3);
            check(inner->stop().complete && processed == 3, "a buffer on a runtime of the other stops");
        }
    }
}

void is_destroyed_in_its_own_processor() {
    for (bool const made_by_plugin : {false, true}) {
        std::unique_ptr<numbers> items;
        latch ready;
        latch destroyed;
        consumer const process = [&](std::span<int>) {
            ready.wait();
            if (!items) return;
            if (made_by_plugin) {
                items.reset();
            } else {
                plugin().destroy(items);
            }
            destroyed.open();
        };
        tidefall::options const how{
            .partitions = 1, .processing_batch_size = 1, .drain_threshold = 1, .shutdown_timeout = forever};
        items = made_by_plugin ? plugin().make(how, process) : std::make_unique<numbers>(how, process);
        items->push(1);
        ready.open();
        destroyed.wait();
        check(!items, "a buffer is destroyed in a call of its own processor");
    }
}

/// Writes to a buffer in a hook of another.
struct writing_hook final : tidefall::telemetry_hook {
    explicit writing_hook(numbers& into) : to(into) {}
    void on_processing_start(tidefall::processing_start const&) override { answer = to.push(3); }

    numbers& to;
    std::atomic<write_status> answer{write_status::accepted};
};

void does_not_wait_in_a_hook() {
    latch entered;
    latch go_on;
    auto const full = plugin().make({.partitions = 1,
                                     .processing_interval = 1h,
                                     .capacity = 1,
                                     .overflow_timeout = forever,
                                     .shutdown_timeout = forever},
                                    [&](std::span<int>) {
                                        entered.open();
                                        go_on.wait();
                                    });
    full->push(1);
    entered.wait();
    full->push(2);
    auto const hook = std::make_shared<writing_hook>(*full);
    numbers own({.partitions = 1, .processing_interval = 1h, .telemetry = hook}, [](std::span<int>) {});
    own.push(1);
    own.stop();
    check(hook->answer == write_status::full, "the program's hook does not wait for room in a buffer of the plugin");
    go_on.open();
}

}  // namespace

int main() {
    alarm(60);
    works_in_a_daemon();
    knows_its_own_processor();
    is_stopped_in_a_child();
    keeps_a_thread_in_its_place();
    shares_a_runtime();
    is_destroyed_in_its_own_processor();
    does_not_wait_in_a_hook();
    return failures == 0 ? 0 : 1;
}
