// SPDX-License-Identifier: MIT
//
// A forked child has one thread, and whatever another one held at that instant stays locked: nothing there may wait
// for it. Each child ends by itself, or by its alarm.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"

#include <tidefall/definition.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#if defined(__unix__) || defined(__APPLE__)

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;

namespace {

/// Runs `f` in a forked child, and returns the number of the first of its checks that failed; 0 if none did, -1 if the
/// child ended otherwise.
template <typename F>
int in_a_child(F f) {
    auto const child = fork();
    if (child == 0) {
        alarm(30);
        int number = 0;
        int failed = 0;
        f([&](bool holds) {
            ++number;
            if (!holds && failed == 0) failed = number;
        });
        _exit(failed);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("fork: in a child a buffer is as if it were stopped, and the parent goes on") {
    std::atomic<int> processed{0};
    std::optional<tidefall::queue<int>> items;
    items.emplace(tidefall::options{.partitions = 2, .processing_interval = 1h},
                  [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
    items->push(1);
    items->push(2, tidefall::partition_key{7});
    auto const before = items->stats();
    CHECK(in_a_child([&](auto check) {
              check(items->push(3) == write_status::stopped);
              check(items->push_range(std::vector<int>{4, 5}) == 0);
              check(items->size() == 0);
              check(items->partition(0).size() == 0);
              check(items->stats() == before);
              items->update_options({.processing_interval = 1s});
              check(items->flush().processed == 0);
              check(items->stop().processed == 0);
              check(items->push(3) == write_status::stopped);
              items.reset();
              check(processed == 0);
          }) == 0);
    CHECK(items->push(6) == write_status::accepted);
    CHECK(items->stop().processed == 3);
    CHECK(processed == 3);
}

TEST_CASE("fork: another thread holds a stripe's lock at that instant") {
    std::optional<tidefall::hash_map<int, int>> map;
    map.emplace(tidefall::options{.partitions = 1, .processing_interval = 1h},
                [](std::span<tidefall::entry<int, int>>) {});
    latch held;
    latch go_on;
    std::thread holder([&] {
        map->update(1, [&](int& value) {
            value = 7;
            held.open();
            go_on.wait();
        });
    });
    held.wait();
    int const result = in_a_child([&](auto check) {
        check(map->put(1, 2) == write_status::stopped);
        check(map->update(1, [](int&) {}) == write_status::stopped);
        check(!map->get(1));
        check(!map->contains(1));
        check(!map->erase(1));
        check(map->size() == 0);
        check(map->stats().accepted <= 1);
        map->flush();
        map->stop();
        map->update_options({.capacity = 1});
        map->partition(0).update_options({.capacity = 1});
        map.reset();
    });
    go_on.open();
    holder.join();
    CHECK(result == 0);
    CHECK(map->get(1) == 7);
}

TEST_CASE("fork: a call is running, writers are blocked, and the runtime is shared") {
    auto runtime = tidefall::make_runtime({.workers = 2, .thread_name = "forked"});
    latch begun;
    latch go_on;
    std::optional<tidefall::queue<int>> items;
    items.emplace(tidefall::options{.partitions = 1, .capacity = 1, .runtime = runtime}, [&](std::span<int>) {
        begun.open();
        go_on.wait();
    });
    items->push(1);
    begun.wait();
    items->push(2);
    std::thread blocked([&] { items->push(3); });
    std::thread flushes([&] { items->flush(); });
    int const result = in_a_child([&](auto check) {
        check(items->push(4) == write_status::stopped);
        items.reset();
        runtime.reset();
        check(true);
    });
    go_on.open();
    blocked.join();
    flushes.join();
    CHECK(result == 0);
    CHECK(items->stop().complete);
    CHECK(items->stats().processed == 3);
}

TEST_CASE("fork: in a child a runtime is left to the parent, and so is a batch that is out") {
    auto runtime = tidefall::make_runtime({.workers = 1});
    CHECK(in_a_child([&](auto check) {
              runtime.reset();
              check(true);
          }) == 0);
    auto const clock = tidefall::make_manual_runtime();
    std::vector<tidefall::async_batch<int>> kept;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock},
                               [&](tidefall::async_batch<int> batch) { kept.push_back(std::move(batch)); });
    items.push(1);
    items.flush();
    auto const before = items.stats();
    CHECK(in_a_child([&](auto check) {
              kept.clear();
              check(items.stats() == before);
          }) == 0);
    CHECK(items.stats().in_flight == 1);
    kept[0].complete();
    CHECK(items.stats().processed == 1);
}

TEST_CASE("fork: a buffer that is made in the child works there, and in the child's child it is stopped") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> of_the_parent({.runtime = clock}, [](std::span<int>) {});
    CHECK(in_a_child([&](auto check) {
              int processed = 0;
              auto const own = tidefall::make_manual_runtime();
              tidefall::queue<int> items({.runtime = own}, [&](std::span<int>) { ++processed; });
              check(of_the_parent.push(1) == write_status::stopped);
              check(items.push(1) == write_status::accepted);
              check(in_a_child([&](auto check_there) {
                        check_there(items.push(2) == write_status::stopped);
                        check_there(of_the_parent.push(1) == write_status::stopped);
                    }) == 0);
              own->advance(5s);
              check(processed == 1);
          }) == 0);
    CHECK(of_the_parent.push(1) == write_status::accepted);
}

TEST_CASE("fork: in a child a registry of the parent is empty and starts nothing, whoever holds its lock") {
    using items = tidefall::queue<int>;
    std::optional<tidefall::registry<items>> all;
    all.emplace();
    auto const one = all->start("a", {.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
    std::atomic<bool> over{false};
    std::thread busy([&] {
        while (!over) all->find("a");
    });
    for (int round = 0; round < 20; ++round) {
        CHECK(in_a_child([&](auto check) {
                  check(!all->find("a"));
                  check(all->size() == 0);
                  check(all->names().empty());
                  check(all->stop("a") == tidefall::drain_report{});
                  check(all->stop_all() == tidefall::drain_report{});
                  bool threw = false;
                  try {
                      all->start("b", {}, [](std::span<int>) {});
                  } catch (std::logic_error const&) {
                      threw = true;
                  }
                  check(threw);
                  check(one->push(1) == write_status::stopped);
                  all.reset();
              }) == 0);
    }
    over = true;
    busy.join();
    CHECK(one->push(1) == write_status::accepted);
    CHECK(all->stop_all().processed == 1);
}

namespace {

struct forked_queue : tidefall::definition<forked_queue, tidefall::queue<int>> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static tidefall::options defaults() { return {.partitions = 1, .processing_interval = 1h}; }
};

}  // namespace

TEST_CASE("fork: in a child a definition of the parent is as if stopped, and can be stopped and started anew") {
    forked_queue::start([](std::span<int>) {});
    forked_queue::instance().push(1);
    // This child allocates, and a sanitizer's allocator may be locked for ever where a thread is at its start.
    tests::until([] { return tests::others_are_asleep(); });
    CHECK(in_a_child([](auto check) {
              auto& of_the_parent = forked_queue::instance();
              check(of_the_parent.push(2) == write_status::stopped);
              check(forked_queue::stop() == tidefall::drain_report{});
              int processed = 0;
              auto const clock = tidefall::make_manual_runtime();
              forked_queue::start([&](std::span<int> batch) { processed += static_cast<int>(batch.size()); },
                                  {.runtime = clock});
              check(forked_queue::instance().push(3) == write_status::accepted);
              check(forked_queue::stop().processed == 1);
              check(processed == 1);
              check(of_the_parent.push(4) == write_status::stopped);
          }) == 0);
    CHECK(forked_queue::instance().push(5) == write_status::accepted);
    CHECK(forked_queue::stop().processed == 2);
}

#endif
