// SPDX-License-Identifier: MIT
//
// What the system says of this process's threads. Linux; elsewhere the counts are 0, which makes their checks void.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tests {

struct thread_info {
    std::string name;
    long voluntary_switches = 0;
    std::uint64_t blocked_signals = 0;  ///< a bit each, that of number 1 the lowest
};

inline std::vector<thread_info> threads() {
    std::vector<thread_info> all;
    std::error_code error;
    for (auto const& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
        std::ifstream status(entry.path() / "status");
        thread_info info;
        for (std::string word; status >> word;) {
            if (word == "Name:") {
                status >> std::ws;
                std::getline(status, info.name);
            } else if (word == "voluntary_ctxt_switches:") {
                status >> info.voluntary_switches;
            } else if (word == "SigBlk:") {
                status >> std::hex >> info.blocked_signals >> std::dec;
            }
        }
        all.push_back(info);
    }
    return all;
}

/// The calling thread, as the system numbers it.
inline long this_thread_number() {
#if defined(__linux__)
    return syscall(SYS_gettid);
#else
    return 0;
#endif
}

/// True while that thread waits for something; true always where the system does not say.
inline bool is_asleep([[maybe_unused]] long thread) {
#if defined(__linux__)
    std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
    for (std::string word; status >> word;) {
        if (word == "State:") return status >> word && word == "S";
    }
    return false;
#else
    return true;
#endif
}

/// True while all threads but the calling one wait for something.
inline bool others_are_asleep() {
    std::error_code error;
    for (auto const& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
        auto const number = std::stol(entry.path().filename());
        if (number != this_thread_number() && !is_asleep(number)) return false;
    }
    return true;
}

/// The threads listed now, but for one that a sanitizer starts for itself with the program's first: that is there
/// before.
inline std::size_t threads_listed() {
    static bool const started = [] {
        long number = 0;
        std::thread([&] { number = this_thread_number(); }).join();
        // It may be listed for a moment more.
        std::error_code error;
        auto const place = "/proc/self/task/" + std::to_string(number);
        while (number != 0 && std::filesystem::exists(place, error)) std::this_thread::yield();
        return true;
    }();
    static_cast<void>(started);
    return threads().size();
}

/// The threads, without those that have been joined and are listed for a moment more: these run, to their end. So it
/// waits, at most for a second, until all others are asleep.
inline std::size_t thread_count() {
    auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    for (;;) {
        auto const count = threads_listed();
        if (others_are_asleep() && threads_listed() == count) return count;
        if (std::chrono::steady_clock::now() > until) return count;
        std::this_thread::yield();
    }
}

/// Waits until there are as many: a thread that has been joined may be listed for a moment more. False after a minute.
inline bool thread_count_becomes(std::size_t count) {
    auto const until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (threads_listed() != count) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::yield();
    }
    return true;
}

}  // namespace tests
