// SPDX-License-Identifier: MIT
//
// What the system knows of the library's threads: their names, and the signals that they leave to the program.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/threads.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#if defined(__linux__)

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tests::thread_info;

namespace {

bool is_named(std::vector<thread_info> const& all, std::string const& name) {
    return std::any_of(all.begin(), all.end(), [&](thread_info const& one) { return one.name == name; });
}

/// Waits until there is a thread of each of these names: each names itself. Returns them, in this order.
std::vector<thread_info> threads_named(std::vector<std::string> const& names) {
    std::vector<thread_info> result;
    tests::until([&] {
        auto const all = tests::threads();
        result.clear();
        for (auto const& one : all) {
            if (std::find(names.begin(), names.end(), one.name) != names.end()) result.push_back(one);
        }
        return std::all_of(names.begin(), names.end(), [&](std::string const& name) { return is_named(all, name); });
    });
    return result;
}

std::set<int> blocked_by(std::uint64_t mask) {
    std::set<int> all;
    for (int number = 1; number <= 64; ++number) {
        if ((mask >> (number - 1) & 1U) != 0) all.insert(number);
    }
    return all;
}

std::set<int> members_of(sigset_t const& set) {
    std::set<int> all;
    for (int number = 1; number <= 64; ++number) {
        if (sigismember(&set, number) == 1) all.insert(number);
    }
    return all;
}

std::set<int> blocked_here() {
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return members_of(now);
}

/// All that can be blocked, but for those of a thread's own faults, of abort and of profilers.
std::set<int> for_the_program() {
    sigset_t all;
    sigfillset(&all);
    auto result = members_of(all);
    for (int const one : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF}) {
        result.erase(one);
    }
    return result;
}

}  // namespace

TEST_CASE("thread names: one that the system finds too long keeps its end, and loses of the buffer's") {
    auto const named = [](std::string const& name, std::vector<std::string> const& expected) {
        auto const runtime = tidefall::make_runtime({.workers = 11, .thread_name = name});
        CHECK(threads_named(expected).size() == expected.size());
    };
    named("four", {"four/timer", "four/watch", "four/work/0", "four/work/9", "four/work/10"});
    named("a name of some length", {"a name of/timer", "a name of/watch", "a name o/work/0", "a name /work/10"});
    // Of UTF-8 no character is cut in two.
    named("1234567\xC3\xBC-", {"1234567\xC3\xBC/timer", "1234567/work/0", "1234567/work/10"});
    named("123456\xF0\x9F\x8C\x8A-", {"123456/timer", "123456/watch", "123456/work/0", "123456/work/10"});
}

TEST_CASE("thread names: a buffer's own threads have its name") {
    tidefall::queue<int> const items({.name = "measurements of a sensor", .partitions = 1}, [](std::span<int>) {});
    CHECK(threads_named({"measureme/timer", "measureme/watch", "measurem/work/0"}).size() == 3);
}

TEST_CASE("signals: all threads of the library leave them to the program, workers in the place of others too") {
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR2);
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &own, &before);
    auto const here = std::set<int>{SIGUSR2};
    latch begun;
    latch go_on;
    {
        auto const runtime = tidefall::make_runtime({.workers = 1, .thread_name = "quiet"});
        CHECK(blocked_here() == here);
        tidefall::queue<int> items({.partitions = 1,
                                    .processing_timeout = 1ms,
                                    .timeout_action = tidefall::timeout_action::abandon,
                                    .drain_threshold = 1,
                                    .unheard = tidefall::unheard_action::ignore,
                                    .runtime = runtime},
                                   [&](std::span<int> batch) {
                                       if (batch[0] != 1) return;
                                       begun.open();
                                       go_on.wait();
                                   });
        items.push(1);
        begun.wait();
        std::vector<std::string> const names{"quiet/timer", "quiet/watch", "quiet/work/0", "quiet/work/1"};
        threads_named(names);
        tests::until([] { return tests::others_are_asleep(); });  // who starts a thread blocks all for a moment
        auto const all = threads_named(names);
        CHECK(all.size() == 4);
        for (auto const& one : all) {
            INFO(one.name);
            CHECK(blocked_by(one.blocked_signals) == for_the_program());
        }
        go_on.open();
    }
    CHECK(blocked_here() == here);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("signals: one that the program blocks once its buffer has started, and waits for, comes to it") {
    auto const child = fork();
    if (child == 0) {
        alarm(30);
        signal(SIGTERM, SIG_DFL);
        static tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h}, [](std::span<int>) {});
        sigset_t awaited;
        sigemptyset(&awaited);
        sigaddset(&awaited, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &awaited, nullptr);
        items.push(1);
        kill(getpid(), SIGTERM);
        int number = 0;
        sigwait(&awaited, &number);
        _exit(number == SIGTERM && items.stop().processed == 1 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}

#endif
