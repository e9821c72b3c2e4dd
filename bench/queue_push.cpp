// SPDX-License-Identifier: MIT
//
// What a push of 8 bytes costs while ticks drain, beside what people write by hand and beside the limit.
//
// Each contestant accumulates, and a drain every 5 ms (TIDEFALL_BENCH_INTERVAL_MS in the environment) hands batches of
// 512 to the same processor, which counts and sums the items. contest.hpp says how the runs are made.
#include "contest.hpp"

#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
#include <concurrentqueue/concurrentqueue.h>
#endif

namespace {

using namespace std::chrono_literals;
using item = std::uint64_t;

auto const interval = bench::interval_or(5);
constexpr std::size_t batch_size = 512;
constexpr std::uint64_t writes = 8'000'000;

/// Counts and sums what it is handed.
class sink {
public:
    void operator()(std::span<item const> batch) {
        std::uint64_t total = 0;
        for (item const one : batch) total += one;
        sum_.fetch_add(total, std::memory_order_relaxed);
        count_.fetch_add(batch.size(), std::memory_order_release);
    }

    /// True once it has what one more run writes.
    bool complete() const { return count_.load(std::memory_order_acquire) - counted_ >= writes; }

    /// True if that was exactly 0, 1, 2 …, each once.
    bool verify() {
        bool const right = sum_ - summed_ == writes * (writes - 1) / 2 && count_ - counted_ == writes;
        counted_ = count_;
        summed_ = sum_;
        return right;
    }

private:
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> sum_{0};
    std::uint64_t counted_ = 0;
    std::uint64_t summed_ = 0;
};

/// What the contestants have in common: a `Storage` with `push`, or `writer` as a contestant has it, and `drain`, which
/// hands its items to a sink.
template <typename Storage>
class queue_contestant {
public:
    static constexpr char const* name = Storage::name;
    auto writer() {
        if constexpr (requires { storage_.writer(); }) {
            return storage_.writer();
        } else {
            return [this](item value) { storage_.push(value); };
        }
    }
    void finish() {
        while (!processed_.complete()) {
            storage_.drain();
            std::this_thread::yield();
        }
    }
    bool verify(std::uint64_t) { return processed_.verify(); }

private:
    sink processed_;
    Storage storage_{processed_};
};

template <typename Order>
class tidefall_storage {
public:
    static constexpr char const* name =
        std::is_same_v<Order, tidefall::producer_order> ? "tidefall, producer_order" : "tidefall::queue";
    explicit tidefall_storage(sink& processed) : processed_(processed) {}
    void push(item value) { queue_.push(value); }
    void drain() { queue_.flush(); }

private:
    sink& processed_;
    tidefall::queue<item, Order> queue_{{.partitions = std::is_same_v<Order, tidefall::producer_order> ? 2U : 8U,
                                         .processing_interval = interval,
                                         .processing_batch_size = batch_size},
                                        [this](std::span<item const> batch) { processed_(batch); }};
};

/// What people write by hand: one mutex, two vectors, a thread that swaps them.
class mutex_and_vectors {
public:
    static constexpr char const* name = "mutex and two vectors";

    explicit mutex_and_vectors(sink& processed) : processed_(processed), thread_([this] { serve(); }) {}
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

private:
    void serve() {
        std::unique_lock lock(mutex_);
        for (bool last = false; !last;) {
            wake_.wait_for(lock, interval);
            last = stop_;
            drained_.swap(written_);
            lock.unlock();
            for (std::size_t at = 0; at < drained_.size(); at += batch_size) {
                processed_(std::span(drained_).subspan(at, std::min(batch_size, drained_.size() - at)));
            }
            drained_.clear();
            lock.lock();
        }
    }

    sink& processed_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<item> written_;
    std::vector<item> drained_;
    bool stop_ = false;
    std::thread thread_;
};

/// A queue of somebody else's, drained by one thread in the same batches: a `Queue` with `take(item*, most)`, which
/// returns how many it took.
template <typename Queue>
class drained_by_a_thread : public Queue {
public:
    explicit drained_by_a_thread(sink& processed) : processed_(processed), thread_([this] { serve(); }) {}
    ~drained_by_a_thread() {
        stop_ = true;
        thread_.join();
    }
    drained_by_a_thread(drained_by_a_thread const&) = delete;
    drained_by_a_thread& operator=(drained_by_a_thread const&) = delete;

    void drain() { drain_ = true; }

private:
    void serve() {
        std::vector<item> batch(batch_size);
        while (!stop_) {
            auto const next = std::chrono::steady_clock::now() + interval;
            while (!stop_ && !drain_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(1ms);
            drain_ = false;
            while (auto const size = this->take(batch.data(), batch_size)) processed_(std::span(batch).first(size));
        }
    }

    sink& processed_;
    std::atomic<bool> drain_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
/// moodycamel::ConcurrentQueue by its implicit path.
class moodycamel_implicit {
public:
    static constexpr char const* name = "moodycamel, implicit";
    void push(item value) { queue_.enqueue(value); }

protected:
    std::size_t take(item* to, std::size_t most) { return queue_.try_dequeue_bulk(to, most); }

private:
    moodycamel::ConcurrentQueue<item> queue_;
};

/// The same by its fastest: each producer has a token, and the consumer has one.
class moodycamel_tokens {
public:
    static constexpr char const* name = "moodycamel, tokens";
    auto writer() {
        return [this, token = moodycamel::ProducerToken(queue_)](item value) { queue_.enqueue(token, value); };
    }

protected:
    std::size_t take(item* to, std::size_t most) { return queue_.try_dequeue_bulk(consumer_, to, most); }

private:
    moodycamel::ConcurrentQueue<item> queue_;
    moodycamel::ConsumerToken consumer_{queue_};
};
#endif

/// The limit: an append to warm segments without any synchronisation or drain. One thread.
class unsynchronised_append {
public:
    static constexpr char const* name = "unsynchronised append";
    explicit unsynchronised_append(sink& processed) : processed_(processed) {}
    void push(item value) {
        if (table_.size() == 1 << 16) drain();
        table_.emplace_back(value);
    }
    void drain() {
        while (table_.size() > 0) processed_(table_.take(batch_size));
        table_.clear();
    }

private:
    sink& processed_;
    tidefall::queue_table<item> table_;
};

void enter_rivals(bench::contest& contest, std::string const& setting, unsigned producers) {
    contest.enter<queue_contestant<mutex_and_vectors>>(setting, producers);
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
    contest.enter<queue_contestant<drained_by_a_thread<moodycamel_implicit>>>(setting, producers);
    contest.enter<queue_contestant<drained_by_a_thread<moodycamel_tokens>>>(setting, producers);
#endif
}

}  // namespace

int main(int count, char** arguments) {
    bench::contest contest(writes, 15, 4);
    for (unsigned const producers : {1U, 2U, 8U}) {
        auto const setting = std::to_string(producers) + " producers";
        contest.enter<queue_contestant<tidefall_storage<tidefall::insertion_order>>>(setting, producers);
        enter_rivals(contest, setting, producers);
    }
    contest.enter<queue_contestant<unsynchronised_append>>("1 producers", 1);
    for (unsigned const producers : {8U, 16U, 64U}) {
        auto const setting = std::to_string(producers) + " producers, 2 partitions";
        contest.enter<queue_contestant<tidefall_storage<tidefall::producer_order>>>(setting, producers);
        enter_rivals(contest, setting, producers);
    }
    return contest.hold(count, arguments);
}
