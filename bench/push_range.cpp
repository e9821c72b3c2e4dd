// SPDX-License-Identifier: MIT
//
// What an item costs that is pushed with 999 others by one call, by one producer while ticks drain, beside an append of
// as many to warm segments, moodycamel's bulk write with a token, and a mutex with two vectors. The same after a rest,
// when a buffer has given its memory back. Runs take turns; every item is counted and summed.
#include "queues.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <span>
#include <thread>
#include <utility>

namespace {

using item = std::uint64_t;
constexpr std::size_t range_size = 1'000;
constexpr std::uint64_t items = 8'000'000;
constexpr int repetitions = 15;

/// What each contestant has beside its ranges: a sink, and a writer that lives through runs that are not timed.
template <typename Storage>
class contestant {
public:
    /// `has_rested`: its first items are timed, after the turns of all others.
    explicit contestant(bool has_rested) : has_rested_(has_rested) {}

    /// Nanoseconds an item, of the writer alone.
    double run() {
        double last = 0;
        std::thread([&] {
            bench::pin_to(0);
            auto push_range = storage_.range_writer();
            for (bench::warm_up warm_up; !has_rested_ && !warm_up.is_over();) write_all(push_range);
            last = write_all(push_range);
        }).join();
        return last;
    }

private:
    template <typename PushRange>
    double write_all(PushRange& push_range) {
        std::array<item, range_size> range{};
        std::chrono::nanoseconds spent{0};
        for (std::uint64_t first = 0; first < items; first += range_size) {
            std::iota(range.begin(), range.end(), first);
            auto const begin = std::chrono::steady_clock::now();
            push_range(range);
            spent += std::chrono::steady_clock::now() - begin;
        }
        while (!processed_.has(items)) {
            storage_.drain();
            std::this_thread::yield();
        }
        if (!processed_.verify(items)) {
            std::fprintf(stderr, "%s lost, doubled or changed what was written\n", Storage::name);
            std::abort();
        }
        return static_cast<double>(spent.count()) / static_cast<double>(items);
    }

    bool has_rested_;
    bench::sink<item> processed_;
    Storage storage_{processed_};
};

class tidefall_ranges {
public:
    static constexpr char const* name = "tidefall::queue::push_range";
    explicit tidefall_ranges(bench::sink<item>& processed) : processed_(processed) {}
    auto range_writer() {
        return [this](std::span<item const> range) { queue_.push_range(range); };
    }
    void drain() { queue_.flush(); }

private:
    bench::sink<item>& processed_;
    tidefall::queue<item> queue_{
        {.partitions = 1, .processing_interval = bench::interval(), .processing_batch_size = bench::batch_size},
        [this](std::span<item const> batch) { processed_(batch); }};
};

class appended_ranges : public bench::unsynchronised_append<item> {
public:
    using unsynchronised_append::unsynchronised_append;
    auto range_writer() {
        return [this](std::span<item const> range) { append(range.data(), range.size()); };
    }
};

class mutex_ranges : public bench::mutex_and_vectors<item> {
public:
    using mutex_and_vectors::mutex_and_vectors;
    auto range_writer() {
        return [this](std::span<item const> range) { append(range); };
    }
};

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
class moodycamel_ranges : public bench::drained_by_a_thread<bench::moodycamel_tokens<item>> {
public:
    static constexpr char const* name = "moodycamel, enqueue_bulk with a token";
    using drained_by_a_thread::drained_by_a_thread;
    auto range_writer() { return moodycamel_tokens::range_writer(); }
};
#endif

}  // namespace

int main() {
    bench::turns all;
    auto const enter = [&]<typename Storage>(std::in_place_type_t<Storage>, bool has_rested) {
        if (has_rested) {
            all.enter("1 producer, after a rest", Storage::name,
                      [one = std::make_shared<contestant<Storage>>(true)] { return one->run(); });
        } else {
            all.enter("1 producer, ranges of 1000", Storage::name, [] { return contestant<Storage>(false).run(); });
        }
    };
    for (bool const has_rested : {false, true}) {
        enter(std::in_place_type<tidefall_ranges>, has_rested);
        if (!has_rested) enter(std::in_place_type<appended_ranges>, has_rested);
        enter(std::in_place_type<mutex_ranges>, has_rested);
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
        enter(std::in_place_type<moodycamel_ranges>, has_rested);
#endif
    }
    all.hold(repetitions, "ns an item");
}
