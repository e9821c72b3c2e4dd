// SPDX-License-Identifier: MIT
#include "thread_starts.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<std::uint64_t> started{0};
std::atomic<std::uint64_t> joined{0};
std::atomic<std::uint64_t> detached{0};
std::atomic<std::uint64_t> until_failure{0};

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

using create_function = int(pthread_t*, pthread_attr_t const*, void* (*)(void*), void*);
using join_function = int(pthread_t, void**);
using detach_function = int(pthread_t);

}  // namespace

namespace tests {

thread_starts thread_starts_so_far() noexcept {
    return {started, joined, detached};
}
void fail_thread_start(std::uint64_t nth) noexcept {
    until_failure = nth;
}

}  // namespace tests

extern "C" int pthread_create(pthread_t* thread, pthread_attr_t const* attributes, void* (*start)(void*),
                              void* argument) {
    if (until_failure > 0 && --until_failure == 0) return EAGAIN;
    static auto* const create = next<create_function>("pthread_create");
    int const error = create(thread, attributes, start, argument);
    if (error == 0) ++started;
    return error;
}

extern "C" int pthread_join(pthread_t thread, void** result) {
    static auto* const join = next<join_function>("pthread_join");
    int const error = join(thread, result);
    if (error == 0) ++joined;
    return error;
}

extern "C" int pthread_detach(pthread_t thread) {
    static auto* const detach = next<detach_function>("pthread_detach");
    int const error = detach(thread);
    if (error == 0) ++detached;
    return error;
}
