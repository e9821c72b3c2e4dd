// SPDX-License-Identifier: MIT
//
// How long a single push of 8 bytes takes at worst while ticks drain: percentiles over a million pushes of one
// producer, as fast as it can, and one each microsecond. Each time is that of two looks at the clock and the push
// between them, so some 20 ns of each are the clock's. The producer has one core, drains and sinks have the others.
#include "queues.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

using nanoseconds = std::vector<std::uint32_t>;
using clock = std::chrono::steady_clock;

constexpr std::size_t pushes = 1'000'000;
constexpr std::pair<char const*, double> percentiles[] = {
    {"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"worst", 1}};

/// One run of so many pushes, which begin `pace` apart at least.
template <typename Contestant>
nanoseconds measure(Contestant& contestant, std::chrono::nanoseconds pace) {
    nanoseconds all(pushes);
    std::thread producer([&] {
        bench::pin_to(0);
        auto push = contestant.writer();
        auto next = clock::now();
        for (std::size_t i = 0; i < pushes; ++i) {
            auto begin = clock::now();
            for (; begin < next; begin = clock::now()) {
            }
            next = std::max(next + pace, begin);
            push(i);
            all[i] = static_cast<std::uint32_t>((clock::now() - begin).count());
        }
    });
    producer.join();
    contestant.finish(pushes);
    if (!contestant.verify(pushes)) {
        std::fprintf(stderr, "%s lost, doubled or changed what was written\n", Contestant::name);
        std::abort();
    }
    std::sort(all.begin(), all.end());
    return all;
}

struct row {
    std::string name;
    std::function<nanoseconds()> run;
    std::vector<std::vector<double>> found = std::vector<std::vector<double>>(std::size(percentiles));
};

template <typename Contestant>
void enter(std::vector<row>& rows) {
    using namespace std::chrono_literals;
    for (auto const& [pace, what] : {std::pair{0ns, ""}, {1000ns, ", each microsecond"}}) {
        rows.push_back({std::string(Contestant::name) + what, [pace = pace] {
                            Contestant one;
                            measure(one, pace);  // its memory is warm then
                            return measure(one, pace);
                        }});
    }
}

}  // namespace

int main() {
    using namespace bench;
    std::vector<row> rows;
    using item = std::uint64_t;
    enter<queue_contestant<tidefall_storage<item, tidefall::insertion_order, 1>>>(rows);
    enter<queue_contestant<mutex_and_vectors<item>>>(rows);
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
    enter<queue_contestant<drained_by_a_thread<moodycamel_implicit<item>>>>(rows);
    enter<queue_contestant<drained_by_a_thread<moodycamel_tokens<item>>>>(rows);
#endif
    for (auto& one : rows) one.run();
    for (int repetition = 0; repetition < 10; ++repetition) {
        for (auto& one : rows) {
            auto const all = one.run();
            for (std::size_t i = 0; i < std::size(percentiles); ++i) {
                auto const at = static_cast<std::size_t>(percentiles[i].second * static_cast<double>(pushes - 1));
                one.found[i].push_back(all[at]);
            }
        }
    }
    std::printf("%-44s", "nanoseconds, medians of 10 runs");
    for (auto const& [name, share] : percentiles) std::printf(" %10s", name);
    std::printf("\n");
    for (auto const& one : rows) {
        std::printf("%-44s", one.name.c_str());
        for (auto const& found : one.found) std::printf(" %10.0f", median(found));
        std::printf("\n");
    }
}
