// SPDX-License-Identifier: MIT
//
// The code of 11_coming_from_a_queue.md.
#include "check.hpp"

#include <tidefall/queue.hpp>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace before {

class rows {
public:
    explicit rows(std::function<void(std::vector<int>&)> store) : store_(std::move(store)) {}
    ~rows() {
        {
            std::lock_guard const lock(mutex_);
            done_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }

    void push(int row) {
        std::lock_guard const lock(mutex_);
        waiting_.push_back(row);
    }

private:
    void run() {
        std::vector<int> taken;
        for (bool last = false; !last;) {
            {
                std::unique_lock lock(mutex_);
                last = wake_.wait_for(lock, 1s, [&] { return done_; });
                taken.swap(waiting_);
            }
            if (!taken.empty()) store_(taken);
            taken.clear();
        }
    }

    std::function<void(std::vector<int>&)> store_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<int> waiting_;
    bool done_ = false;
    std::thread thread_{[this] { run(); }};
};

}  // namespace before

int main() {
    std::vector<int> stored;
    {
        before::rows rows([&](std::vector<int>& taken) { stored.insert(stored.end(), taken.begin(), taken.end()); });
        rows.push(1);
        rows.push(2);
    }
    check(stored == std::vector{1, 2});

    stored.clear();
    auto const store = [&](std::span<int> batch) { stored.insert(stored.end(), batch.begin(), batch.end()); };
    {
        tidefall::queue<int> rows({.name = "rows", .partitions = 1, .processing_interval = 1s}, store);
        rows.push(1);
        rows.push(2);
    }
    check(stored == std::vector{1, 2});

    {
        tidefall::queue<int> work({.name = "work",
                                   .partitions = 1,
                                   .processing_interval = 10ms,
                                   .processing_batch_size = 64,
                                   .drain_threshold = 64},
                                  store);
        std::vector<int> many(1000, 7);
        check(work.push_range(many) == 1000);
    }
    check(stored.size() == 1002);
}
