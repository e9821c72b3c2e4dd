// SPDX-License-Identifier: MIT
//
// The queues that are compared, each with the same processor behind it: tidefall's, what people write by hand, what
// they take from a package, and the limit. Each accumulates, and a drain every 5 ms (TIDEFALL_BENCH_INTERVAL_MS in the
// environment) hands batches of 512 to a sink, which counts and sums the items.
#pragma once

#include "contest.hpp"

#include <tidefall/queue.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
#include <concurrentqueue/concurrentqueue.h>
#endif
#if defined(TIDEFALL_BENCH_READERWRITERQUEUE)
#include <readerwriterqueue/readerwriterqueue.h>
#endif
#if defined(TIDEFALL_BENCH_LOCKFREE)
#include <boost/lockfree/spsc_queue.hpp>
#endif
#if defined(TIDEFALL_BENCH_TBB)
#include <oneapi/tbb/concurrent_queue.h>
#endif
#if defined(TIDEFALL_BENCH_SPDLOG)
#include <spdlog/async.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>
#endif

namespace bench {

using namespace std::chrono_literals;

inline std::chrono::milliseconds interval() {
    static auto const value = interval_or(5);
    return value;
}
inline constexpr std::size_t batch_size = 512;

/// An item of so many bytes.
template <std::size_t Size>
struct record {
    std::uint64_t number;
    std::array<std::uint64_t, Size / 8 - 1> rest;
};
using line = record<64>;
using page = record<256>;

/// An item that holds a number. A string is longer than what it holds without an allocation.
template <typename Item>
Item make_item(std::uint64_t number) {
    if constexpr (std::is_same_v<Item, std::string>) {
        std::string text(24, ' ');
        std::memcpy(text.data(), &number, sizeof number);
        return text;
    } else if constexpr (std::is_same_v<Item, std::uint64_t>) {
        return number;
    } else {
        return {number, {}};
    }
}
inline std::uint64_t number_of(std::uint64_t item) {
    return item;
}
template <std::size_t Size>
std::uint64_t number_of(record<Size> const& item) {
    return item.number;
}
inline std::uint64_t number_of(std::string const& item) {
    std::uint64_t number = 0;
    std::memcpy(&number, item.data(), sizeof number);
    return number;
}

/// Counts and sums what it is handed.
template <typename Item>
class sink {
public:
    void operator()(std::span<Item const> batch) {
        std::uint64_t total = 0;
        for (auto const& one : batch) total += number_of(one);
        sum_.fetch_add(total, std::memory_order_relaxed);
        count_.fetch_add(batch.size(), std::memory_order_release);
    }

    /// True once it has so many more than at the last `verify`.
    bool has(std::uint64_t writes) const { return count_.load(std::memory_order_acquire) - counted_ >= writes; }

    /// True if that was exactly 0, 1, 2 … up to so many, each once.
    bool verify(std::uint64_t writes) {
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

/// Whether one row of a storage would take as long as all others' together.
template <typename Storage>
inline constexpr bool far_slower = false;

/// What the contestants have in common: a `Storage` with `push`, or `writer` as a contestant has it, and `drain`, which
/// hands its items to a sink.
template <typename Storage>
class queue_contestant {
public:
    using item = typename Storage::item;
    static constexpr char const* name = Storage::name;
    static constexpr std::uint64_t fewer = far_slower<Storage> ? 10 : 1;

    /// `more`: what the storage takes beside a sink.
    template <typename... More>
    explicit queue_contestant(More... more) : storage_(processed_, more...) {}

    auto writer() {
        if constexpr (requires { storage_.writer(); }) {
            return [push = storage_.writer()](std::uint64_t number) mutable { push(make_item<item>(number)); };
        } else {
            return [this](std::uint64_t number) { storage_.push(make_item<item>(number)); };
        }
    }
    void finish(std::uint64_t writes) {
        while (!processed_.has(writes)) {
            storage_.drain();
            std::this_thread::yield();
        }
    }
    bool verify(std::uint64_t writes) { return processed_.verify(writes); }

private:
    sink<item> processed_;
    Storage storage_;
};

/// Tidefall's, with so many partitions; `OneKey`: all items have the same routing key.
template <typename Item, typename Order, std::size_t Partitions, bool OneKey = false>
class tidefall_storage {
public:
    using item = Item;
    static constexpr char const* name =
        std::is_same_v<Order, tidefall::producer_order> ? "tidefall, producer_order" : "tidefall::queue";

    explicit tidefall_storage(sink<item>& processed) : processed_(processed) {}
    void push(item&& value) {
        if constexpr (OneKey) {
            queue_.push(std::move(value), tidefall::partition_key{7});
        } else {
            queue_.push(std::move(value));
        }
    }
    void drain() { queue_.flush(); }

private:
    sink<item>& processed_;
    tidefall::queue<item, Order> queue_{
        {.partitions = Partitions, .processing_interval = interval(), .processing_batch_size = batch_size},
        [this](std::span<item const> batch) { processed_(batch); }};
};

/// What people write by hand: one mutex, two vectors, a thread that swaps them.
template <typename Item>
class mutex_and_vectors {
public:
    using item = Item;
    static constexpr char const* name = "mutex and two vectors";

    explicit mutex_and_vectors(sink<item>& processed) : processed_(processed), thread_([this] { serve(); }) {}
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

    void push(item&& value) {
        std::lock_guard const lock(mutex_);
        written_.push_back(std::move(value));
    }
    void drain() { wake_.notify_one(); }

protected:
    void append(std::span<item const> range) {
        std::lock_guard const lock(mutex_);
        written_.insert(written_.end(), range.begin(), range.end());
    }

private:
    void serve() {
        std::unique_lock lock(mutex_);
        for (bool last = false; !last;) {
            wake_.wait_for(lock, interval());
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

    sink<item>& processed_;
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
    using item = typename Queue::item;

    explicit drained_by_a_thread(sink<item>& processed) : processed_(processed), thread_([this] { serve(); }) {}
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
            auto const next = std::chrono::steady_clock::now() + interval();
            while (!stop_ && !drain_ && std::chrono::steady_clock::now() < next) std::this_thread::sleep_for(1ms);
            drain_ = false;
            while (auto const size = this->take(batch.data(), batch_size)) processed_(std::span(batch).first(size));
        }
    }

    sink<item>& processed_;
    std::atomic<bool> drain_{false};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
/// moodycamel::ConcurrentQueue by its implicit path.
template <typename Item>
class moodycamel_implicit {
public:
    using item = Item;
    static constexpr char const* name = "moodycamel, implicit";
    void push(item&& value) { queue_.enqueue(std::move(value)); }

protected:
    std::size_t take(item* to, std::size_t most) { return queue_.try_dequeue_bulk(to, most); }

private:
    moodycamel::ConcurrentQueue<item> queue_;
};

/// The same by its fastest: each producer has a token, and the consumer has one.
template <typename Item>
class moodycamel_tokens {
public:
    using item = Item;
    static constexpr char const* name = "moodycamel, tokens";
    auto writer() {
        return [this, token = moodycamel::ProducerToken(queue_)](item&& value) {
            queue_.enqueue(token, std::move(value));
        };
    }

protected:
    auto range_writer() {
        return [this, token = std::make_shared<moodycamel::ProducerToken>(queue_)](std::span<item const> range) {
            queue_.enqueue_bulk(*token, range.data(), range.size());
        };
    }
    std::size_t take(item* to, std::size_t most) { return queue_.try_dequeue_bulk(consumer_, to, most); }

private:
    moodycamel::ConcurrentQueue<item> queue_;
    moodycamel::ConsumerToken consumer_{queue_};
};
#endif

/// One queue for each producer, of the kind that has one producer and one consumer: `Lane` has `push(item&&)` and
/// `take(item*, most)`. A producer that leaves gives its lane to the next.
template <typename Lane>
class lane_a_producer {
public:
    using item = typename Lane::item;
    static constexpr char const* name = Lane::name;

    auto writer() {
        return [lane = std::shared_ptr<Lane>(get(), [this](Lane* one) { give_back(one); })](item&& value) {
            lane->push(std::move(value));
        };
    }

protected:
    std::size_t take(item* to, std::size_t most) {
        std::lock_guard const lock(mutex_);
        for (auto const& lane : all_) {
            if (auto const size = lane->take(to, most)) return size;
        }
        return 0;
    }

private:
    Lane* get() {
        std::lock_guard const lock(mutex_);
        if (free_.empty()) {
            all_.push_back(std::make_unique<Lane>());
            return all_.back().get();
        }
        auto* const one = free_.back();
        free_.pop_back();
        return one;
    }
    void give_back(Lane* one) {
        std::lock_guard const lock(mutex_);
        free_.push_back(one);
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Lane>> all_;
    std::vector<Lane*> free_;
};

#if defined(TIDEFALL_BENCH_READERWRITERQUEUE)
template <typename Item>
class readerwriterqueue_lane {
public:
    using item = Item;
    static constexpr char const* name = "readerwriterqueue a producer";
    void push(item&& value) { queue_.enqueue(std::move(value)); }
    std::size_t take(item* to, std::size_t most) {
        std::size_t count = 0;
        while (count < most && queue_.try_dequeue(to[count])) ++count;
        return count;
    }

private:
    moodycamel::ReaderWriterQueue<item> queue_{std::size_t{1} << 15};
};
#endif

#if defined(TIDEFALL_BENCH_LOCKFREE)
/// It has a fixed size: who finds it full waits.
template <typename Item>
class lockfree_lane {
public:
    using item = Item;
    static constexpr char const* name = "boost spsc_queue a producer";
    void push(item&& value) {
        while (!queue_.push(value)) std::this_thread::yield();
    }
    std::size_t take(item* to, std::size_t most) { return queue_.pop(to, most); }

private:
    boost::lockfree::spsc_queue<item> queue_{std::size_t{1} << 21};
};
#endif

#if defined(TIDEFALL_BENCH_TBB)
template <typename Item>
class tbb_queue {
public:
    using item = Item;
    static constexpr char const* name = "tbb::concurrent_queue";
    void push(item&& value) { queue_.push(std::move(value)); }

protected:
    std::size_t take(item* to, std::size_t most) {
        std::size_t count = 0;
        while (count < most && queue_.try_pop(to[count])) ++count;
        return count;
    }

private:
    tbb::concurrent_queue<item> queue_;
};
template <typename Item>
inline constexpr bool far_slower<drained_by_a_thread<tbb_queue<Item>>> = true;
#endif

#if defined(TIDEFALL_BENCH_SPDLOG)
/// spdlog's asynchronous logger: a message is the bytes of an item, without a format and without a look at the clock,
/// and who finds its 8,192 places full waits. Its thread takes each message as it comes, and its sink collects them.
template <typename Item>
class spdlog_async {
public:
    using item = Item;
    static_assert(std::is_trivially_copyable_v<item>);
    static constexpr char const* name = "spdlog, async_logger";

    explicit spdlog_async(sink<item>& processed)
        : collector_(std::make_shared<collector>(processed)),
          pool_(std::make_shared<spdlog::details::thread_pool>(spdlog::details::default_async_q_size, 1)),
          logger_(std::make_shared<spdlog::async_logger>("bench", collector_, pool_)) {}
    void push(item&& value) {
        logger_->log(spdlog::log_clock::time_point{}, spdlog::source_loc{}, spdlog::level::info,
                     spdlog::string_view_t(reinterpret_cast<char const*>(&value), sizeof value));
    }
    void drain() {
        if (!collector_->asked.exchange(true)) logger_->flush();
    }

private:
    /// Its one thread calls it.
    class collector : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
    public:
        explicit collector(bench::sink<item>& processed) : processed_(processed) { batch_.reserve(batch_size); }
        std::atomic<bool> asked{false};

    private:
        void sink_it_(spdlog::details::log_msg const& message) override {
            item value;
            std::memcpy(&value, message.payload.data(), sizeof value);
            batch_.push_back(value);
            if (batch_.size() == batch_size) hand_over();
        }
        void flush_() override {
            asked = false;
            hand_over();
        }
        void hand_over() {
            processed_(batch_);
            batch_.clear();
        }

        bench::sink<item>& processed_;
        std::vector<item> batch_;
    };

    std::shared_ptr<collector> collector_;
    std::shared_ptr<spdlog::details::thread_pool> pool_;
    std::shared_ptr<spdlog::async_logger> logger_;
};
template <typename Item>
inline constexpr bool far_slower<spdlog_async<Item>> = true;
#endif

/// The limit: an append to warm segments without any synchronisation or drain. One thread.
template <typename Item>
class unsynchronised_append {
public:
    using item = Item;
    static constexpr char const* name = "unsynchronised append";
    explicit unsynchronised_append(sink<item>& processed) : processed_(processed) {}
    void push(item&& value) {
        if (table_.size() == 1 << 16) drain();
        table_.emplace_back(std::move(value));
    }
    void drain() {
        while (table_.size() > 0) {
            auto const batch = table_.take(batch_size);
            processed_(batch);
            std::destroy(batch.begin(), batch.end());
        }
        table_.clear();
    }

protected:
    void append(item const* first, std::size_t count) {
        if (table_.size() + count > 1 << 16) drain();
        table_.append(first, count);
    }

private:
    sink<item>& processed_;
    tidefall::queue_table<item> table_;
};

/// The rivals of a queue of such items, as far as they are installed.
template <typename Item>
void enter_rivals(contest& all, std::string const& setting, unsigned producers) {
    all.enter<queue_contestant<mutex_and_vectors<Item>>>(setting, producers);
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
    all.enter<queue_contestant<drained_by_a_thread<moodycamel_implicit<Item>>>>(setting, producers);
    all.enter<queue_contestant<drained_by_a_thread<moodycamel_tokens<Item>>>>(setting, producers);
#endif
#if defined(TIDEFALL_BENCH_READERWRITERQUEUE)
    all.enter<queue_contestant<drained_by_a_thread<lane_a_producer<readerwriterqueue_lane<Item>>>>>(setting, producers);
#endif
#if defined(TIDEFALL_BENCH_LOCKFREE)
    all.enter<queue_contestant<drained_by_a_thread<lane_a_producer<lockfree_lane<Item>>>>>(setting, producers);
#endif
}

}  // namespace bench
