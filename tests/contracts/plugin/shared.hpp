// SPDX-License-Identifier: MIT
//
// What a program and its plugin share: buffers, by reference. Both include the library, and where they do not share
// their symbols each has its own copy of what the headers keep for a thread and for the process.
#pragma once

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <functional>
#include <memory>
#include <span>

using numbers = tidefall::queue<int>;
using totals = tidefall::hash_map<int, int>;
using consumer = std::function<void(std::span<int>)>;

/// What the plugin does, in its own code.
struct plugin_functions {
    tidefall::write_status (*push)(numbers& to, int number);
    tidefall::write_status (*put)(totals& to, int key, int value);
    /// Whether `flush`, and `stop`, of the buffer throw that this would be a deadlock.
    bool (*is_refused)(numbers& of);
    tidefall::drain_report (*flush)(numbers& one);
    void (*destroy)(std::unique_ptr<numbers>& one);
    std::unique_ptr<numbers> (*make)(tidefall::options const& how, consumer process);
    std::shared_ptr<tidefall::runtime> (*make_runtime)();
};

extern "C" plugin_functions const* tidefall_test_plugin();
using plugin_entry = plugin_functions const* (*)();

/// The plugin of this program: linked with it, or loaded.
plugin_functions const& plugin();
