// SPDX-License-Identifier: MIT
//
// What a push of 8 bytes costs while ticks drain, beside what people write by hand and beside the limit.
//
// Each contestant accumulates, and a drain every 5 ms (TIDEFALL_BENCH_INTERVAL_MS in the environment) hands batches of
// 512 to the same processor. With fewer producers than cores the producer's time is measured, with as many or more the
// time until everything is processed, since a drain that is put off looks fast. Producers take chunks of work from one
// count. Every contestant's items are counted and summed. Each timed run follows untimed ones, so that every
// contestant's memory is warm: tidefall gives its own back after ten idle intervals, which is while the others have
// their turn.
//
// The contestants take turns within each repetition; the last lines are the medians of the ratios of neighbours.
#include <tidefall/queue.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
#include <concurrentqueue/concurrentqueue.h>
#endif

namespace {

using namespace std::chrono_literals;
using item = std::uint64_t;

std::chrono::milliseconds const interval(std::getenv("TIDEFALL_BENCH_INTERVAL_MS") != nullptr
                                             ? std::atoi(std::getenv("TIDEFALL_BENCH_INTERVAL_MS"))
                                             : 5);
constexpr std::size_t batch_size = 512;
constexpr std::uint64_t items_per_run = 8'000'000;
constexpr std::uint64_t chunk = 10'000;
constexpr int repetitions = 15;

/// Counts and sums what it is handed.
struct sink {
    std::atomic<std::uint64_t> count{0};
    std::atomic<std::uint64_t> sum{0};

    void operator()(std::span<item const> batch) {
        std::uint64_t total = 0;
        for (item const one : batch) total += one;
        sum.fetch_add(total, std::memory_order_relaxed);
        count.fetch_add(batch.size(), std::memory_order_release);
    }
};

class tidefall_queue {
public:
    static constexpr char const* name = "tidefall::queue";
    void push(item value) { queue_.push(value); }
    void drain() { queue_.flush(); }
    sink processed;

private:
    tidefall::queue<item> queue_{
        {.partitions = 8, .processing_interval = interval, .processing_batch_size = batch_size},
        [this](std::span<item const> batch) { processed(batch); }};
};

/// What people write by hand: one mutex, two vectors, a thread that swaps them.
class mutex_and_vectors {
public:
    static constexpr char const* name = "mutex and two vectors";

    mutex_and_vectors() : thread_([this] { serve(); }) {}
    ~mutex_and_vectors() {
        {
            std::lock_guard const lock(mutex_);
            stop_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    mutex_and_vectors(mutex_and_vectors const&) = delete;
    mutex_and_vectors& operator=(mutex_and_vectors const&) = delete;

    void push(item value) {
        std::lock_guard const lock(mutex_);
        written_.push_back(value);
    }
    void drain() { wake_.notify_one(); }
    sink processed;

private:
    void serve() {
        std::unique_lock lock(mutex_);
        for (bool last = false; !last;) {
            wake_.wait_for(lock, interval);
            last = stop_;
            drained_.swap(written_);
            lock.unlock();
            for (std::size_t at = 0; at < drained_.size(); at += batch_size) {
                processed(std::span(drained_).subspan(at, std::min(batch_size, drained_.size() - at)));
            }
            drained_.clear();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<item> written_;
    std::vector<item> drained_;
    bool stop_ = false;
    std::thread thread_;
};

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
/// moodycamel::ConcurrentQueue by its implicit path, drained by one thread in the same batches.
class moodycamel_queue {
public:
    static constexpr char const* name = "moodycamel, implicit";

    moodycamel_queue() : thread_([this] { serve(); }) {}
    ~moodycamel_queue() {
        stop_ = true;
        thread_.join();
    }
    moodycamel_queue(moodycamel_queue const&) = delete;
    moodycamel_queue& operator=(moodycamel_queue const&) = delete;

    void push(item value) { queue_.enqueue(value); }
    void drain() { drain_ = true; }
    sink processed;

private:
    void serve() {
        std::vector<item> batch(batch_size);
        while (!stop_) {
            auto const next = std::chrono::steady_clock::now() + interval;
            while (!stop_ && !drain_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(1ms);
            drain_ = false;
            while (auto const size = queue_.try_dequeue_bulk(batch.begin(), batch_size)) {
                processed(std::span(batch).first(size));
            }
        }
    }

    moodycamel::ConcurrentQueue<item> queue_;
    std::atomic<bool> drain_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};
#endif

/// The limit: an append to warm segments without any synchronisation or drain. One thread.
class unsynchronised_append {
public:
    static constexpr char const* name = "unsynchronised append";
    void push(item value) {
        if (table_.size() == 1 << 16) drain();
        table_.emplace_back(value);
    }
    void drain() {
        while (table_.size() > 0) processed(table_.take(batch_size));
        table_.clear();
    }
    sink processed;

private:
    tidefall::queue_table<item> table_;
};

void pin_to(unsigned core) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
#else
    static_cast<void>(core);
#endif
}

/// One run; the seconds that it took.
template <typename Contestant>
double run(Contestant& contestant, unsigned producers) {
    bool const time_pushes = producers < std::thread::hardware_concurrency();
    auto const counted = contestant.processed.count.load();
    auto const summed = contestant.processed.sum.load();
    std::atomic<std::uint64_t> next{0};
    std::atomic<unsigned> ready{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> threads;
    for (unsigned producer = 0; producer < producers; ++producer) {
        threads.emplace_back([&, producer] {
            if (time_pushes) pin_to(producer);
            ++ready;
            while (!go) std::this_thread::yield();
            for (auto first = next.fetch_add(chunk); first < items_per_run; first = next.fetch_add(chunk)) {
                for (auto value = first; value < first + chunk; ++value) contestant.push(value);
            }
        });
    }
    while (ready < producers) std::this_thread::yield();
    auto const begin = std::chrono::steady_clock::now();
    go = true;
    for (auto& thread : threads) thread.join();
    auto end = std::chrono::steady_clock::now();
    while (contestant.processed.count.load(std::memory_order_acquire) - counted < items_per_run) {
        contestant.drain();
        std::this_thread::yield();
    }
    if (!time_pushes) end = std::chrono::steady_clock::now();
    if (contestant.processed.sum - summed != items_per_run * (items_per_run - 1) / 2) {
        std::fprintf(stderr, "%s lost, doubled or changed an item\n", Contestant::name);
        std::abort();
    }
    return std::chrono::duration<double>(end - begin).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// Nanoseconds an item, by contestant and producers, one a repetition.
std::map<std::string, std::map<unsigned, std::vector<double>>> results;

template <typename Contestant>
void compete(benchmark::State& state, std::shared_ptr<Contestant> const& contestant, unsigned producers) {
    for ([[maybe_unused]] auto _ : state) {
        for (int warm_up = 0; warm_up < 4; ++warm_up) run(*contestant, producers);
        auto const seconds = run(*contestant, producers);
        state.SetIterationTime(seconds);
        results[Contestant::name][producers].push_back(seconds * 1e9 / items_per_run);
    }
    state.counters["ns/item"] = results[Contestant::name][producers].back();
}

template <typename Contestant>
void enter(unsigned producers) {
    auto const contestant = std::make_shared<Contestant>();
    auto const name = std::string(Contestant::name) + ", " + std::to_string(producers) + " producers";
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { compete(state, contestant, producers); })
        ->Iterations(1)
        ->UseManualTime()
        ->Repetitions(repetitions)
        ->ReportAggregatesOnly()
        ->Unit(benchmark::kMillisecond);
}

void print_ratios() {
    std::printf("\n%-24s %10s %14s %14s\n", "medians", "producers", "ns an item", "tidefall / it");
    for (auto const& [name, by_producers] : results) {
        for (auto const& [producers, times] : by_producers) {
            std::vector<double> ratios;
            auto const& ours = results[tidefall_queue::name][producers];
            for (std::size_t i = 0; i < std::min(times.size(), ours.size()); ++i) ratios.push_back(ours[i] / times[i]);
            std::printf("%-24s %10u %14.2f", name.c_str(), producers, median(times));
            if (ratios.empty())
                std::printf("\n");
            else
                std::printf(" %14.2f\n", median(ratios));
        }
    }
}

}  // namespace

int main(int count, char** arguments) {
    std::vector<char*> all(arguments, arguments + count);
    char interleave[] = "--benchmark_enable_random_interleaving=true";
    all.insert(all.begin() + 1, interleave);
    int all_count = static_cast<int>(all.size());
    benchmark::Initialize(&all_count, all.data());
    if (benchmark::ReportUnrecognizedArguments(all_count, all.data())) return 1;
    for (unsigned const producers : {1U, 2U, 8U}) {
        enter<tidefall_queue>(producers);
        enter<mutex_and_vectors>(producers);
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
        enter<moodycamel_queue>(producers);
#endif
    }
    enter<unsynchronised_append>(1);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    print_ratios();
}
