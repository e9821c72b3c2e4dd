// SPDX-License-Identifier: MIT
//
// Code that runs under a lock and calls the same buffer, or ends it, would wait for itself for ever: debug builds say
// so instead.
#undef NDEBUG
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>

#include <csignal>
#include <cstdlib>
#include <span>
#include <string_view>

namespace {

/// An exit destroys what is static.
void exit_under_a_lock() {
    static tidefall::hash_map<int, int> map({.runtime = tidefall::make_manual_runtime()},
                                            [](std::span<tidefall::entry<int, int>>) {});
    map.update(1, [](int&) { std::exit(1); });
}

}  // namespace

int main(int argc, char** argv) {
    // The message of the assertion is what the test looks for.
    std::signal(SIGABRT, [](int) { std::_Exit(0); });
    std::string_view const what = argc == 2 ? argv[1] : "write";
    if (what == "exit") exit_under_a_lock();
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<int, int> other({.runtime = clock}, [](std::span<tidefall::entry<int, int>>) {});
    tidefall::hash_map<int, int> map({.runtime = clock}, [](std::span<tidefall::entry<int, int>>) {});
    map.update(1, [&](int& value) {
        other.put(1, 1);  // another buffer is nobody's fault
        value = 1;
    });
    map.update(1, [&](int&) {
        other.update(1, [&](int&) {
            if (what == "read") map.contains(1);
            if (what == "erase") map.erase(1);
            if (what == "write") map.put(1, 1);
        });
    });
    return 1;
}
