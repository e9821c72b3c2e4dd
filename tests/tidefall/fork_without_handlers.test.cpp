// SPDX-License-Identifier: MIT
//
// Children that nobody was told of: _Fork and clone run no handler of pthread_atfork. What a sanitizer keeps in a
// process is not readied for them, so that these cases run without one.
#include "../support/catch.hpp"
#include "../support/latch.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <thread>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;

namespace {

using fork_function = pid_t (*)();

/// As a sandbox or a crash reporter does it.
pid_t fork_by_clone() {
    return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

fork_function each_way() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    return GENERATE(fork_function{_Fork}, fork_function{fork_by_clone});
#else
    return fork_by_clone;
#endif
}

/// Runs `f` in a child, and returns the number of the first of its checks that failed; 0 if none did, -1 if the child
/// ended otherwise. The child exits, which destroys what is static, or just ends.
template <typename F>
int in_a_child(fork_function make, F f, bool exits = false) {
    std::cout.flush();
    auto const child = make();
    if (child == 0) {
        alarm(30);
        int number = 0;
        int failed = 0;
        f([&](bool holds) {
            ++number;
            if (!holds && failed == 0) failed = number;
        });
        if (exits) std::exit(failed);
        _exit(failed);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("fork without handlers: in a child a buffer is as if it were stopped, and the parent goes on") {
    auto const way = each_way();
    std::optional<tidefall::queue<int>> items;
    items.emplace(tidefall::options{.partitions = 2, .processing_interval = 1h}, [](std::span<int>) {});
    items->push(1);
    CHECK(in_a_child(way, [&](auto check) {
              check(items->push(2) == write_status::stopped);
              check(items->size() == 0);
              check(items->stats().refused == 0);
              items->update_options({.processing_interval = 1s});
              check(items->flush() == tidefall::drain_report{});
              check(items->stop() == tidefall::drain_report{});
              items.reset();
          }) == 0);
    CHECK(items->push(3) == write_status::accepted);
    CHECK(items->stop().processed == 2);
}

TEST_CASE("fork without handlers: a child takes no lock that another thread holds, nor waits for one of its threads") {
    auto const way = each_way();
    std::optional<tidefall::hash_map<int, int>> map;
    map.emplace(tidefall::options{.partitions = 1, .processing_interval = 1h},
                [](std::span<tidefall::entry<int, int>>) {});
    auto runtime = tidefall::make_runtime({.workers = 1});
    tidefall::registry<tidefall::queue<int>> all;
    auto const one = all.start("a", {.runtime = runtime}, [](std::span<int>) {});
    latch held;
    latch go_on;
    std::thread holder([&] {
        map->update(1, [&](int&) {
            held.open();
            go_on.wait();
        });
    });
    held.wait();
    int const result = in_a_child(way, [&](auto check) {
        check(map->put(1, 2) == write_status::stopped);
        check(!map->get(1));
        map.reset();
        check(!all.find("a"));
        check(one->push(1) == write_status::stopped);
        runtime.reset();
    });
    go_on.open();
    holder.join();
    CHECK(result == 0);
    CHECK(one->push(1) == write_status::accepted);
}

TEST_CASE("fork without handlers: an exit of the child leaves a static buffer to the parent") {
    auto const way = each_way();
    // In a child of its own, whose statics these are.
    CHECK(in_a_child(fork, [&](auto check) {
              static tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
              items.push(1);
              check(in_a_child(
                        way, [](auto check_there) { check_there(items.push(2) == write_status::stopped); }, true) == 0);
              check(items.stop().processed == 1);
          }) == 0);
}

TEST_CASE("fork without handlers: a buffer that is made in the child works there, with threads of its own") {
    auto const way = each_way();
    tidefall::queue<int> of_the_parent({.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
    CHECK(in_a_child(way, [&](auto check) {
              int processed = 0;
              tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h},
                                         [&](std::span<int>) { ++processed; });
              check(items.push(1) == write_status::accepted);
              check(of_the_parent.push(1) == write_status::stopped);
              check(in_a_child(way, [&](auto check_there) {
                        check_there(items.push(2) == write_status::stopped);
                        check_there(of_the_parent.push(1) == write_status::stopped);
                    }) == 0);
              check(items.stop().processed == 1);
              check(processed == 1);
          }) == 0);
    CHECK(of_the_parent.push(1) == write_status::accepted);
}
