// SPDX-License-Identifier: MIT
//
// The code of 06_testing_your_code.md.
#include "check.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

/// Collects lines, and sends them once a second. Lines that could not be sent are kept.
class audit_log {
public:
    using sender = std::function<void(std::span<std::string const>)>;

    explicit audit_log(sender send, std::shared_ptr<tidefall::runtime> runtime = {})
        : send_(std::move(send)),
          lines_(
              {.name = "audit", .partitions = 1, .processing_interval = 1s, .runtime = std::move(runtime)},
              [this](std::span<std::string const> batch) { send_(batch); },
              [this](std::span<std::string> batch, tidefall::failure const&) {
                  for (auto& line : batch) unsent_.push_back(std::move(line));
              }) {}

    void write(std::string line) { lines_.push(std::move(line)); }
    void flush() { lines_.flush(); }
    std::vector<std::string> const& unsent() const { return unsent_; }

private:
    sender send_;
    std::vector<std::string> unsent_;
    tidefall::queue<std::string> lines_;  // last: it is destroyed, and so stopped, before what its processor uses
};

void sends_once_a_second() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> sent;
    audit_log log([&](auto lines) { sent.insert(sent.end(), lines.begin(), lines.end()); }, clock);

    log.write("user 1 signed in");
    log.write("user 1 signed out");
    clock->advance(999ms);
    check(sent.empty());
    clock->advance(1ms);  // the processor has run, on this thread
    check(sent == std::vector<std::string>{"user 1 signed in", "user 1 signed out"});
}

void keeps_what_was_not_sent() {
    auto clock = tidefall::make_manual_runtime();
    audit_log log([](auto) { throw std::runtime_error("no network"); }, clock);
    log.write("user 1 signed in");
    clock->advance(1s);
    check(log.unsent().size() == 1);
}

void a_slow_call_counts_as_failed() {
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<std::string> lines(
        {.name = "lines", .partitions = 1, .processing_interval = 1s, .processing_timeout = 10s, .runtime = clock},
        [&](std::span<std::string>) { clock->advance(11s); });  // takes 11 seconds
    lines.push("user 1 signed in");
    clock->advance(1s);
    check(lines.stats().failed == 1);
    check(clock->now().time_since_epoch() == 12s);
}

void with_threads() {
    std::vector<std::string> sent;
    audit_log log([&](auto lines) { sent.insert(sent.end(), lines.begin(), lines.end()); });
    std::thread writer([&] { log.write("user 1 signed in"); });
    writer.join();
    log.flush();  // returns when the line was sent
    check(sent.size() == 1);
}

int main() {
    sends_once_a_second();
    keeps_what_was_not_sent();
    a_slow_call_counts_as_failed();
    with_threads();
}
