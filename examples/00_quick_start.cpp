// SPDX-License-Identifier: MIT
#include <tidefall/queue.hpp>

#include <chrono>
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

    auto const report = events.stop();  // drains what is left; the destructor does it too
    std::printf("%zu processed, %zu failed\n", std::size_t{report.processed}, std::size_t{report.failed});
}
