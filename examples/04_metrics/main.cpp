// SPDX-License-Identifier: MIT
//
// What a buffer does, for Prometheus: several threads write events, a sink takes them in batches and fails now and
// then, and the counters are served on loopback.
//
//     04_metrics --port 9464 &                    until Ctrl-C
//     curl http://127.0.0.1:9464/metrics          / is a page for people
//
// prometheus.yml:
//
//     scrape_configs:
//       - job_name: events
//         static_configs:
//           - targets: ["127.0.0.1:9464"]
#include "../support/descriptors.hpp"
#include "../support/output.hpp"
#include "../support/parse.hpp"
#include "../support/stop_request.hpp"
#include "endpoint.hpp"

#include <poll.h>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/queue.hpp>

#include <CLI/CLI.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace metrics_example {
namespace {

using namespace std::chrono_literals;
using access_log::stop_request;

constexpr char const* program = "04_metrics";

struct settings {
    int port = 9464;
    std::string name = "events";
    std::size_t writers = 4;
    std::uint64_t events = 0;
    std::uint64_t fail_every = 50;
    int duration = 0;
};

struct event {
    std::size_t writer;
    std::uint64_t number;
};

/// Stands for a database or a collector.
class sink {
public:
    explicit sink(std::uint64_t fail_every) : fail_every_(fail_every) {}

    void store(std::span<event const> batch) {
        auto const call = ++calls_;
        std::this_thread::sleep_for(std::chrono::microseconds(batch.size()));
        if (fail_every_ != 0 && call % fail_every_ == 0) throw std::runtime_error("the connection was reset");
    }

private:
    std::uint64_t const fail_every_;
    std::atomic<std::uint64_t> calls_ = 0;
};

/// Writes its share, or until the end is asked for, at some 100 events a millisecond.
void write(tidefall::queue<event>& events, std::size_t writer, std::uint64_t share, stop_request const& stop) {
    for (std::uint64_t number = 0; number < share && !stop.asked(); ++number) {
        events.push({writer, number});
        if (number % 100 == 99) std::this_thread::sleep_for(1ms);
    }
}

void wait(stop_request const& stop, int seconds) {
    pollfd asked = {.fd = stop.descriptor(), .events = POLLIN, .revents = 0};
    auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!stop.asked() && (seconds == 0 || std::chrono::steady_clock::now() < until)) ::poll(&asked, 1, 100);
}

int serve(settings const& how) {
    stop_request stop;
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    sink stored_in(how.fail_every);
    tidefall::queue<event> events({.name = how.name,
                                   .processing_interval = 200ms,
                                   .processing_batch_size = 100,
                                   .drain_threshold = 1'000,
                                   .telemetry = metrics},
                                  [&](std::span<event const> batch) { stored_in.store(batch); });

    // Each scrape has the events that the hook counted, and the buffer's own counters: how many values wait, say.
    endpoint const served(how.port, tidefall::metrics_telemetry::content_type,
                          [&] { return metrics->prometheus(events); });
    output::write("serving http://127.0.0.1:" + std::to_string(served.port()) + "/metrics\n");

    std::vector<std::thread> writers;
    for (std::size_t writer = 0; writer < how.writers; ++writer) {
        auto const share = how.events == 0 ? std::numeric_limits<std::uint64_t>::max()
                                           : how.events / how.writers + (writer < how.events % how.writers ? 1 : 0);
        writers.emplace_back([&, writer, share] { write(events, writer, share, stop); });
    }
    wait(stop, how.duration);
    int const signal = stop.signal();
    stop.ask();
    for (auto& writer : writers) writer.join();
    events.stop();

    auto const stats = events.stats();
    output::write(std::to_string(stats.accepted) + " accepted, " + std::to_string(stats.processed) + " processed, " +
                  std::to_string(stats.failed) + " failed\n");
    return signal == 0 ? 0 : 128 + signal;
}

int run(int argc, char** argv) {
    settings how;
    CLI::App app("Writes events into a buffer and serves what it counts to Prometheus, on loopback.", program);
    app.footer(
        "Exit codes: 0; 1 for a port that is taken, or an output that cannot be written; 2 for a wrong command line; "
        "130 after Ctrl-C.");
    app.add_option("--port", how.port, "Where to serve; 0: any port that is free, which is printed")
        ->capture_default_str()
        ->check(CLI::Range(0, 65'535));
    app.add_option("--name", how.name, "The label of the counters")->capture_default_str();
    app.add_option("--writers", how.writers, "Threads that write")->capture_default_str()->check(CLI::Range(1, 256));
    app.add_option("--events", how.events, "To write in all; 0: until the end")->capture_default_str();
    app.add_option("--fail-every", how.fail_every, "This call of the sink fails, and its multiples; 0: none")
        ->capture_default_str();
    app.add_option("--duration", how.duration, "Seconds; 0: until Ctrl-C")
        ->capture_default_str()
        ->check(CLI::Range(0, 86'400));
    if (auto const code = access_log::parse(app, argc, argv)) return *code;
    return serve(how);
}

}  // namespace
}  // namespace metrics_example

int main(int argc, char** argv) {
    try {
        access_log::keep_standard_descriptors();
        output::let_closed_pipes_fail();
        return metrics_example::run(argc, argv);
    } catch (std::exception const& error) {
        std::cerr << metrics_example::program << ": " << error.what() << '\n';
        return 1;
    }
}
