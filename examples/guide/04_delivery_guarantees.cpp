// SPDX-License-Identifier: MIT
//
// The code of 04_delivery_guarantees.md.
#include "check.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tidefall::write_status;

bool adds_up(tidefall::buffer_stats const& s) {
    return s.accepted == s.processed + s.failed + s.dropped + s.coalesced + s.erased + s.pending + s.in_flight;
}

void order() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::vector<std::string>> batches;
    tidefall::queue<std::string> words(
        {.name = "words", .partitions = 1, .processing_interval = 1s, .processing_batch_size = 2, .runtime = clock},
        [&](std::span<std::string> batch) { batches.emplace_back(batch.begin(), batch.end()); });
    for (auto word : {"a", "b", "c", "d", "e"}) words.push(word);
    clock->advance(1s);
    check(batches == std::vector<std::vector<std::string>>{{"a", "b"}, {"c", "d"}, {"e"}});
}

void accounts() {
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<std::string> words(
        {.name = "words", .partitions = 1, .processing_interval = 1s, .processing_batch_size = 2, .runtime = clock},
        [&](std::span<std::string const> batch) {
            if (batch[0] == "c") throw std::runtime_error("no");
            tidefall::batch_result result;
            if (batch[0] == "e") result.reject(0);
            return result;
        });
    for (auto word : {"a", "b", "c", "d", "e", "f"}) words.push(word);
    clock->advance(1s);
    words.push("g");

    auto const stats = words.stats();
    check(stats.accepted == 7 && stats.processed == 3 && stats.failed == 3 && stats.pending == 1);
    check(adds_up(stats));
}

void refused() {
    auto clock = tidefall::make_manual_runtime();
    tidefall::queue<std::string> words({.name = "words",
                                        .partitions = 1,
                                        .capacity = 2,
                                        .overflow = tidefall::overflow_policy::reject,
                                        .runtime = clock},
                                       [](std::span<std::string>) {});
    words.push("a");
    words.push("b");
    std::string third = "a string that is long enough to be moved";
    if (words.push(std::move(third)) != write_status::accepted) {
        check(!third.empty());  // untouched: try again, or put it elsewhere
    }
    check(words.stats().accepted == 2 && words.stats().refused == 1);

    words.stop();
    check(words.push(std::move(third)) == write_status::stopped && !third.empty());
}

void oldest() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> gone;
    tidefall::queue<std::string> words(
        {.name = "words",
         .partitions = 1,
         .capacity = 2,
         .overflow = tidefall::overflow_policy::drop_oldest,
         .runtime = clock},
        [](std::span<std::string>) {},
        [&](std::span<std::string> dropped, tidefall::failure const&) { gone.push_back(dropped[0]); });
    for (auto word : {"a", "b", "c"}) words.push(word);
    check(gone == std::vector<std::string>{"a"} && words.stats().dropped == 1);
}

void flush_and_stop() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> lost;
    tidefall::queue<std::string> words(
        {.name = "words", .partitions = 1, .runtime = clock}, [](std::span<std::string>) {},
        [&](std::span<std::string> rest, tidefall::failure const& failure) {
            check(failure.reason == tidefall::failure_reason::stopped);
            lost.insert(lost.end(), rest.begin(), rest.end());
        });
    words.push("a");
    tidefall::drain_report const flushed = words.flush();
    check(flushed.processed == 1 && flushed.complete);

    words.push("b");
    tidefall::drain_report const stopped = words.stop(0s);  // no time: what waits is dropped
    check(stopped.processed == 0 && stopped.dropped == 1 && !stopped.complete);
    check(lost == std::vector<std::string>{"b"});
    check(words.stop() == stopped && adds_up(words.stats()));
}

void further_attempts() {
    auto clock = tidefall::make_manual_runtime();
    bool away = true;
    tidefall::queue<std::string> words({.name = "words", .partitions = 1, .runtime = clock},
                                       tidefall::with_retry([&](std::span<std::string const>) {
                                           if (away) throw std::runtime_error("no");
                                       }));
    words.push("a");
    check(!words.flush().complete && words.stats().in_flight == 1);
    away = false;
    check(words.stop().processed == 1);  // at once
}

void in_order() {
    auto clock = tidefall::make_manual_runtime();
    std::vector<std::string> taken;
    bool away = true;
    tidefall::queue<std::string> words(
        {.name = "words", .partitions = 1, .processing_interval = 1s, .processing_batch_size = 3, .runtime = clock},
        [&](std::span<std::string const> batch) {
            tidefall::batch_result result;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                if (away && i > 0) {
                    result.reject(i);
                } else {
                    taken.push_back(batch[i]);
                }
            }
            away = false;
            result.retry_after(10s);
            return result;
        });
    for (auto word : {"a", "b", "c", "d"}) words.push(word);
    clock->advance(1s);
    words.push("e");
    clock->advance(5s);
    check(taken == std::vector<std::string>{"a"} && words.stats().in_flight == 3);
    check(adds_up(words.stats()));
    clock->advance(10s);
    check(taken == std::vector<std::string>{"a", "b", "c", "d", "e"});
}

int main() {
    order();
    accounts();
    refused();
    oldest();
    flush_and_stop();
    further_attempts();
    in_order();
}
