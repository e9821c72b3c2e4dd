// SPDX-License-Identifier: MIT
//
// The plugin.
#include "shared.hpp"

#include <system_error>
#include <utility>

namespace {

template <typename F>
bool would_deadlock(F act) {
    try {
        act();
    } catch (std::system_error const& error) {
        return error.code() == std::errc::resource_deadlock_would_occur;
    }
    return false;
}

constexpr plugin_functions functions{
    .push = [](numbers& to, int number) { return to.push(number); },
    .put = [](totals& to, int key, int value) { return to.put(key, value); },
    .is_refused = [](numbers& of) { return would_deadlock([&] { of.flush(); }) && would_deadlock([&] { of.stop(); }); },
    .flush = [](numbers& one) { return one.flush(); },
    .destroy = [](std::unique_ptr<numbers>& one) { one.reset(); },
    .make = [](tidefall::options const& how,
               consumer process) { return std::make_unique<numbers>(how, std::move(process)); },
    .make_runtime = [] { return tidefall::make_runtime({.workers = 1, .thread_name = "plugin"}); },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) plugin_functions const* tidefall_test_plugin() {
    return &functions;
}
