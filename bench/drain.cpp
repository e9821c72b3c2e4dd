// SPDX-License-Identifier: MIT
//
// What a drain costs by the size of its batches: a million values of 8 bytes, or 100,000 entries, wait, and are handed
// to a function that sums each batch. Beside it what takes as many out of moodycamel's queue with a token, and, as the
// limit, the same function called with one part of a vector after another.
#include "queues.hpp"

#include <tidefall/hash_map.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace {

using item = std::uint64_t;
constexpr std::uint64_t items = 1'000'000;
constexpr std::uint64_t keys = 100'000;
constexpr int repetitions = 9;

/// Sums the batches; the compiler can neither see through the call nor leave it out.
class summing {
public:
    [[gnu::noinline]] void operator()(std::span<item const> batch) {
        for (auto const one : batch) sum_ += one;
        count_ += batch.size();
    }
    [[gnu::noinline]] void operator()(std::span<tidefall::entry<item, item> const> batch) {
        for (auto const& one : batch) sum_ += one.key;
        count_ += batch.size();
    }
    /// That it had 0, 1, 2 … up to so many since the last time.
    void verify(std::uint64_t count, char const* who) {
        if (count_ != count || sum_ != count * (count - 1) / 2) {
            std::fprintf(stderr, "%s lost, doubled or changed what was written\n", who);
            std::abort();
        }
        count_ = sum_ = 0;
    }

private:
    std::uint64_t count_ = 0;
    std::uint64_t sum_ = 0;
};

/// No tick comes between: what drains is the flush that is timed.
tidefall::options options_of(std::size_t batch) {
    return {.partitions = 1, .processing_interval = std::chrono::hours(1), .processing_batch_size = batch};
}

void enter(bench::turns& all, std::size_t batch) {
    auto const setting = std::to_string(batch) + " values a batch";
    struct buffers {
        explicit buffers(std::size_t batch)
            : queue(options_of(batch), [this](std::span<item const> values) { sum(values); }),
              map(options_of(batch), [this](std::span<tidefall::entry<item, item> const> values) { sum(values); }) {}
        summing sum;
        tidefall::queue<item> queue;
        tidefall::hash_map<item, item> map;
    };
    auto const ours = std::make_shared<buffers>(batch);
    all.enter(setting, "tidefall::queue", [ours] {
        for (item i = 0; i < items; ++i) ours->queue.push(i);
        auto const time = bench::time_of([&] { ours->queue.flush(); });
        ours->sum.verify(items, "tidefall::queue");
        return time / static_cast<double>(items);
    });
    all.enter(setting, "tidefall::hash_map", [ours] {
        for (item i = 0; i < keys; ++i) ours->map.put(i, i);
        auto const time = bench::time_of([&] { ours->map.flush(); });
        ours->sum.verify(keys, "tidefall::hash_map");
        return time / static_cast<double>(keys);
    });
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
    auto const other = std::make_shared<moodycamel::ConcurrentQueue<item>>();
    all.enter(setting, "moodycamel, tokens", [other, batch] {
        moodycamel::ProducerToken const producer(*other);
        moodycamel::ConsumerToken consumer(*other);
        for (item i = 0; i < items; ++i) other->enqueue(producer, i);
        summing sum;
        std::vector<item> taken(batch);
        auto const time = bench::time_of([&] {
            while (auto const size = other->try_dequeue_bulk(consumer, taken.data(), batch)) {
                sum(std::span(taken).first(size));
            }
        });
        sum.verify(items, "moodycamel");
        return time / static_cast<double>(items);
    });
#endif
    all.enter(setting, "parts of a vector", [batch] {
        std::vector<item> values(items);
        for (item i = 0; i < items; ++i) values[i] = i;
        summing sum;
        auto const time = bench::time_of([&] {
            for (std::size_t at = 0; at < items; at += batch) {
                sum(std::span<item const>(values).subspan(at, std::min<std::size_t>(batch, items - at)));
            }
        });
        sum.verify(items, "the vector");
        return time / static_cast<double>(items);
    });
}

}  // namespace

int main() {
    bench::turns all;
    for (std::size_t const batch : {1U, 10U, 64U, 512U, 4'096U}) enter(all, batch);
    all.hold(repetitions, "ns a value");
}
