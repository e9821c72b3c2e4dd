// SPDX-License-Identifier: MIT
//
// The code of 09_named_buffers.md.
#include "check.hpp"

#include <tidefall/definition.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

struct event {
    int id = 0;
    std::string what;
};

struct event_queue : tidefall::definition<event_queue, tidefall::queue<event>> {
    static constexpr std::string_view environment = "MYAPP_EVENTS";  // or tidefall::no_environment
    static tidefall::options defaults() { return {.processing_interval = 1s}; }
};

std::atomic<std::size_t> delivered{0};

void processor(std::span<event> batch) {
    delivered += batch.size();
}

void set_variable(char const* name, char const* value) {
#if defined(_WIN32)
    _putenv_s(name, value);
#else
    setenv(name, value, 1);
#endif
}

void by_name() {
    tidefall::registry<tidefall::queue<event>> tenants;
    tenants.start("tenant-a", {.processing_interval = 1s}, processor);
    tenants.start("tenant-b", {.processing_interval = 5s}, processor);

    if (auto const events = tenants.find("tenant-a")) events->push({1, "signed in"});
    tenants.stop("tenant-a");  // drains
    check(delivered == 1);
    check(tenants.find("tenant-a") == nullptr && tenants.names() == std::vector<std::string>{"tenant-b"});
    tenants.stop_all();  // the destructor does it too
}

void by_type() {
    event_queue::start(processor, {.processing_batch_size = 512});  // at the beginning of main
    event_queue::instance().push({1, "signed in"});                 // anywhere
    auto const report = event_queue::stop();                        // at its end
    check(report.processed == 1);
    check(event_queue::start(processor).name() == "event_queue");
    event_queue::stop();
}

void by_environment() {
    set_variable("MYAPP_EVENTS_PROCESSING_INTERVAL", "500ms");

    auto const how = tidefall::options_from_environment("MYAPP_EVENTS", {.name = "events", .processing_interval = 1s});
    check(how.processing_interval == 500ms && how.name == "events");

    set_variable("MYAPP_EVENTS_PARTITIONS", "many");

    std::string message;
    try {
        tidefall::options_from_environment("MYAPP_EVENTS");
    } catch (tidefall::invalid_options const& error) {
        message = error.what();
    }
    check(message ==
          "tidefall: environment variable MYAPP_EVENTS_PARTITIONS is \"many\", but must be a whole number "
          "from 1 to 65536");

    set_variable("MYAPP_EVENTS_PARTITIONS", "4");
    set_variable("MYAPP_EVENTS_PROCESING_TIMEOUT", "1m");

    try {
        tidefall::options_from_environment("MYAPP_EVENTS");
    } catch (tidefall::invalid_options const& error) {
        message = error.what();
    }
    check(message ==
          "tidefall: environment variable MYAPP_EVENTS_PROCESING_TIMEOUT names no option: did you mean "
          "MYAPP_EVENTS_PROCESSING_TIMEOUT?");
}

int main() {
    by_name();
    by_type();
    by_environment();
}
