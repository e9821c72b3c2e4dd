// SPDX-License-Identifier: MIT
//
// What the stress tests share: their seed, their size, their threads.
#pragma once

#include "catch.hpp"
#include "checker.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

namespace tests {

/// A chance that is the same for the same seed; TIDEFALL_SEED in the environment repeats a run.
inline std::uint64_t stress_seed() {
    static std::uint64_t const chosen = [] {
        char const* const given = std::getenv("TIDEFALL_SEED");
        auto const value = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
        WARN("TIDEFALL_SEED=" << value);
        return static_cast<std::uint64_t>(value);
    }();
    return chosen;
}

/// Random numbers, the same for the same seed, cheap to begin anew.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed) {}

    /// From 0 up to `limit`, which is not one of them.
    std::uint64_t below(std::uint64_t limit) noexcept { return mixed(++state_ * 0x2545f4914f6cdd1dU) % limit; }
    std::uint64_t between(std::uint64_t least, std::uint64_t most) noexcept { return least + below(most - least + 1); }
    bool one_in(std::uint64_t many) noexcept { return below(many) == 0; }

private:
    std::uint64_t state_;
};

#if defined(__has_feature)
#define TIDEFALL_TESTS_FEATURE(name) __has_feature(name)
#else
#define TIDEFALL_TESTS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || TIDEFALL_TESTS_FEATURE(thread_sanitizer) || \
    TIDEFALL_TESTS_FEATURE(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#undef TIDEFALL_TESTS_FEATURE

/// A number of values, or the part of it that a sanitizer gets through in the same time. TIDEFALL_STRESS_PART=10 in the
/// environment asks for a tenth.
inline std::uint64_t unless_sanitized(std::uint64_t values, std::uint64_t part = 100) {
    if (sanitized) return values / part;
    char const* const given = std::getenv("TIDEFALL_STRESS_PART");
    auto const asked = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    return asked > 0 ? values / asked : values;
}

/// Runs `work(index)` on so many threads at once.
template <typename Work>
void on_threads(std::size_t count, Work work) {
    std::vector<std::thread> all;
    for (std::size_t index = 0; index < count; ++index) all.emplace_back([&work, index] { work(index); });
    for (auto& one : all) one.join();
}

/// Waits for something that is about to happen on another thread; false if it did not in a minute.
template <typename F>
bool in_a_minute(F happened) {
    auto const until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!happened()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::yield();
    }
    return true;
}

}  // namespace tests
