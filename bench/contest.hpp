// SPDX-License-Identifier: MIT
//
// How the benchmarks compare: contestants take turns, and the ratios of neighbours are what counts.
//
// A contestant has a `name`, `write(number)`, which its writers call at once, or `writer()`, which makes a function of
// that kind for each of them, `finish()`, which returns once all that was written is processed, and `verify(count)`,
// which says whether the last `count` writes arrived. With fewer writers than cores the writers' time is measured, each
// pinned to a core; with as many or more the time until everything is processed, since a drain that is put off looks
// fast. Writers take chunks of work from one count. Each timed run follows untimed ones of the same contestant, so that
// its memory is warm.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace bench {

/// From TIDEFALL_BENCH_INTERVAL_MS in the environment, or `otherwise`.
inline std::chrono::milliseconds interval_or(int otherwise) {
    auto const* const given = std::getenv("TIDEFALL_BENCH_INTERVAL_MS");
    return std::chrono::milliseconds(given != nullptr ? std::atoi(given) : otherwise);
}

inline void pin_to(unsigned core) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
#else
    static_cast<void>(core);
#endif
}

inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// All runs of one program.
class contest {
public:
    contest(std::uint64_t writes, int repetitions, int warm_ups)
        : writes_(writes), repetitions_(repetitions), warm_ups_(warm_ups) {}

    /// `setting` says what differs between groups: the time of a group's one contestant whose name begins with
    /// "tidefall" is divided by that of each other.
    template <typename Contestant, typename... Args>
    void enter(std::string const& setting, unsigned writers, Args const&... args) {
        auto const slot = std::make_shared<std::unique_ptr<Contestant>>();
        auto const name = std::string(Contestant::name) + ", " + setting;
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, this](benchmark::State& state) {
                                         if (!*slot) *slot = std::make_unique<Contestant>(args...);
                                         auto& times = results_[setting][Contestant::name];
                                         for ([[maybe_unused]] auto _ : state) {
                                             for (int i = 0; i < warm_ups_; ++i) run(**slot, writers);
                                             auto const seconds = run(**slot, writers);
                                             state.SetIterationTime(seconds);
                                             times.push_back(seconds * 1e9 / static_cast<double>(writes_));
                                         }
                                         state.counters["ns/write"] = times.back();
                                     })
            ->Iterations(1)
            ->UseManualTime()
            ->Repetitions(repetitions_)
            ->ReportAggregatesOnly()
            ->Unit(benchmark::kMillisecond);
    }

    /// What `main` returns.
    int hold(int count, char** arguments) {
        std::vector<char*> all(arguments, arguments + count);
        char interleave[] = "--benchmark_enable_random_interleaving=true";
        all.insert(all.begin() + 1, interleave);
        int all_count = static_cast<int>(all.size());
        benchmark::Initialize(&all_count, all.data());
        if (benchmark::ReportUnrecognizedArguments(all_count, all.data())) return 1;
        benchmark::RunSpecifiedBenchmarks();
        benchmark::Shutdown();
        print_ratios();
        return 0;
    }

private:
    template <typename Contestant>
    static auto writer_of(Contestant& contestant) {
        if constexpr (requires { contestant.writer(); }) {
            return contestant.writer();
        } else {
            return [&contestant](std::uint64_t number) { contestant.write(number); };
        }
    }

    /// One run; the seconds that it took.
    template <typename Contestant>
    double run(Contestant& contestant, unsigned writers) {
        bool const time_writes = writers < std::thread::hardware_concurrency();
        std::atomic<std::uint64_t> next{0};
        std::atomic<unsigned> ready{0};
        std::atomic<bool> go{false};
        std::vector<std::thread> threads;
        for (unsigned writer = 0; writer < writers; ++writer) {
            threads.emplace_back([&, writer] {
                if (time_writes) pin_to(writer);
                ++ready;
                auto write = writer_of(contestant);
                while (!go) std::this_thread::yield();
                for (auto first = next.fetch_add(chunk); first < writes_; first = next.fetch_add(chunk)) {
                    for (auto number = first; number < first + chunk; ++number) write(number);
                }
            });
        }
        while (ready < writers) std::this_thread::yield();
        auto const begin = std::chrono::steady_clock::now();
        go = true;
        for (auto& thread : threads) thread.join();
        auto end = std::chrono::steady_clock::now();
        if constexpr (requires { contestant.finish(writes_); }) {
            contestant.finish(writes_);
        } else {
            contestant.finish();
        }
        if (!time_writes) end = std::chrono::steady_clock::now();
        if (!contestant.verify(writes_)) {
            std::fprintf(stderr, "%s lost, doubled or changed what was written\n", Contestant::name);
            std::abort();
        }
        return std::chrono::duration<double>(end - begin).count();
    }

    void print_ratios() {
        std::printf("\n%-28s %-28s %12s %16s\n", "medians", "", "ns a write", "tidefall / it");
        for (auto const& [setting, contestants] : results_) {
            auto const ours = std::find_if(contestants.begin(), contestants.end(),
                                           [](auto const& one) { return one.first.rfind("tidefall", 0) == 0; });
            for (auto const& [name, times] : contestants) {
                std::vector<double> ratios;
                for (std::size_t i = 0; ours != contestants.end() && i < times.size(); ++i) {
                    if (i < ours->second.size()) ratios.push_back(ours->second[i] / times[i]);
                }
                std::printf("%-28s %-28s %12.2f", setting.c_str(), name.c_str(), median(times));
                if (ratios.empty())
                    std::printf("\n");
                else
                    std::printf(" %16.2f\n", median(ratios));
            }
        }
    }

    static constexpr std::uint64_t chunk = 10'000;

    std::uint64_t writes_;  ///< a multiple of chunk
    int repetitions_;
    int warm_ups_;
    std::map<std::string, std::map<std::string, std::vector<double>>> results_;  ///< nanoseconds, one a repetition
};

}  // namespace bench
