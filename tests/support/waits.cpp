// SPDX-License-Identifier: MIT
#include "waits.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<std::uint64_t> by_steady_clock{0};
std::atomic<std::uint64_t> by_system_clock{0};

/// The condition variables that wait by the steady clock unless a call says otherwise. Every other one waits by the
/// system's: it was made without attributes, by an initialiser, say.
class steady_conditions {
public:
    void add(pthread_cond_t const* one) noexcept {
        for (auto& each : all_) {
            pthread_cond_t const* none = nullptr;
            if (each.compare_exchange_strong(none, one)) return;
        }
        std::fputs("there are more condition variables than the test has room for\n", stderr);
        std::abort();
    }
    void remove(pthread_cond_t const* one) noexcept {
        for (auto& each : all_) {
            auto const* expected = one;
            each.compare_exchange_strong(expected, nullptr);
        }
    }
    [[nodiscard]] bool has(pthread_cond_t const* one) const noexcept {
        for (auto const& each : all_) {
            if (each == one) return true;
        }
        return false;
    }

private:
    std::array<std::atomic<pthread_cond_t const*>, 1024> all_{};
};

constinit steady_conditions steady;

void count(bool is_steady) noexcept {
    ++(is_steady ? by_steady_clock : by_system_clock);
}

/// The function of that name which this program's own stands before.
template <typename F>
F* next(char const* name) {
    auto* const found = reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
    if (found == nullptr) {
        std::fprintf(stderr, "there is no %s\n", name);
        std::abort();
    }
    return found;
}

using init_function = int(pthread_cond_t*, pthread_condattr_t const*);
using destroy_function = int(pthread_cond_t*);
using timedwait_function = int(pthread_cond_t*, pthread_mutex_t*, timespec const*);
using clockwait_function = int(pthread_cond_t*, pthread_mutex_t*, clockid_t, timespec const*);

}  // namespace

namespace tests {

timed_waits timed_waits_so_far() noexcept {
    return {by_steady_clock, by_system_clock};
}

}  // namespace tests

extern "C" int pthread_cond_init(pthread_cond_t* condition, pthread_condattr_t const* attributes) noexcept {
    static auto* const init = next<init_function>("pthread_cond_init");
    clockid_t clock = CLOCK_REALTIME;
    if (attributes != nullptr) pthread_condattr_getclock(attributes, &clock);
    int const error = init(condition, attributes);
    steady.remove(condition);
    if (error == 0 && clock == CLOCK_MONOTONIC) steady.add(condition);
    return error;
}

extern "C" int pthread_cond_destroy(pthread_cond_t* condition) noexcept {
    static auto* const destroy = next<destroy_function>("pthread_cond_destroy");
    steady.remove(condition);
    return destroy(condition);
}

extern "C" int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, timespec const* until) {
    static auto* const wait = next<timedwait_function>("pthread_cond_timedwait");
    count(steady.has(condition));
    return wait(condition, mutex, until);
}

extern "C" int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                                      timespec const* until) {
    static auto* const wait = next<clockwait_function>("pthread_cond_clockwait");
    // Where a C library has no such call, the condition variable's own clock counts.
    count(clock == CLOCK_MONOTONIC && steady.has(condition));
    return wait(condition, mutex, clock, until);
}
