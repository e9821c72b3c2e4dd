// SPDX-License-Identifier: MIT
//
// What `max_in_flight` brings with a sink that answers 5 ms after it got a batch: batches a second, of one partition,
// on one worker.
#include <tidefall/queue.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using batch = tidefall::async_batch<std::uint64_t>;

/// Answers each batch 5 ms after it came, in their order, on a thread of its own.
class distant_sink {
public:
    void take(batch arrived) {
        std::lock_guard const lock(mutex_);
        waiting_.emplace_back(std::chrono::steady_clock::now() + 5ms, std::move(arrived));
        changed_.notify_one();
    }
    ~distant_sink() {
        {
            std::lock_guard const lock(mutex_);
            closed_ = true;
            changed_.notify_one();
        }
        answers_.join();
    }

private:
    void answer() {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            auto [at, next] = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            std::this_thread::sleep_until(at);
            next.complete();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool closed_ = false;
    std::deque<std::pair<std::chrono::steady_clock::time_point, batch>> waiting_;
    std::thread answers_{[this] { answer(); }};
};

void batches_a_second(benchmark::State& state) {
    auto const in_flight = static_cast<std::size_t>(state.range(0));
    constexpr std::size_t batches = 200;
    constexpr std::size_t batch_size = 512;
    distant_sink sink;
    tidefall::queue<std::uint64_t> items({.partitions = 1,
                                          .processing_interval = 1h,
                                          .processing_batch_size = batch_size,
                                          .max_in_flight = in_flight,
                                          .runtime = tidefall::make_runtime({.workers = 1})},
                                         [&](batch arrived) { sink.take(std::move(arrived)); });
    std::vector<std::uint64_t> const values(batches * batch_size, 1);
    for (auto _ : state) {
        items.push_range(values);
        if (!items.flush().complete) state.SkipWithError("a flush did not end");
    }
    state.counters["batches"] = benchmark::Counter(
        static_cast<double>(batches) * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
BENCHMARK(batches_a_second)
    ->ArgName("max_in_flight")
    ->Arg(1)
    ->Arg(4)
    ->Arg(16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
