// SPDX-License-Identifier: MIT
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

struct event {
    int user;
    std::string what;
};

int main() {
    using namespace std::chrono_literals;

    tidefall::queue<event> events(
        {.name = "events", .partitions = 1, .processing_interval = 1s, .processing_batch_size = 512},
        [](std::span<event> batch) {  // on a worker thread: write to a database, send to a collector
            std::printf("a batch of %zu\n", batch.size());
        });

    std::vector<std::thread> threads;
    for (int user = 0; user < 4; ++user) {
        threads.emplace_back([&events, user] {
            for (int i = 0; i < 250; ++i) events.push({user, "clicked"});  // never waits for a batch
        });
    }
    for (auto& thread : threads) thread.join();

    auto const report = events.stop();  // drains what is left, and counts that; the destructor drains too
    auto const stats = events.stats();  // counts from the first push on
    std::printf("stop: %ju processed, %ju failed\n", std::uintmax_t{report.processed}, std::uintmax_t{report.failed});
    std::printf("in all: %ju of %ju processed\n", std::uintmax_t{stats.processed}, std::uintmax_t{stats.accepted});
}
