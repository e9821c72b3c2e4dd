// SPDX-License-Identifier: MIT
//
// How the benchmarks compare: contestants take turns, and the ratios of neighbours are what counts.
//
// A contestant has a `name`, `write(number)`, which its writers call at once, or `writer()`, which makes a function of
// that kind for each of them, `finish()`, which returns once all that was written is processed, and `verify(count)`,
// which says whether the last `count` writes arrived; one that is far slower than others has `fewer`, by which its
// count of writes is divided. With fewer writers than cores the writers' time is measured, each pinned to a core; with
// as many or more the time until everything is processed, since a drain that is put off looks fast. Writers take chunks
// of work from one count. A contestant is made for its turn and gone after it, since an idle one's threads wake
// up too. Each timed run follows untimed ones by the same threads, so that memory is warm: threads of a program that
// writes live long.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
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

template <typename Contestant>
auto writer_of(Contestant& contestant) {
    if constexpr (requires { contestant.writer(); }) {
        return contestant.writer();
    } else {
        return [&contestant](std::uint64_t number) { contestant.write(number); };
    }
}

/// What precedes a timed round of a contestant: untimed ones, until its memory is there that the last ones needed.
/// After a rest that takes many, where the system is slow to give pages: who accumulates what a drain is behind with
/// needs more with each, until it has the room for all.
class warm_up {
public:
    /// Asked before each round: true before the one that counts.
    bool is_over() { return ++rounds_ > least_rounds && std::chrono::steady_clock::now() >= end_; }

private:
    static constexpr int least_rounds = 4;
    static constexpr std::chrono::milliseconds least_time{500};

    std::chrono::steady_clock::time_point const end_ = std::chrono::steady_clock::now() + least_time;
    int rounds_ = 0;
};

/// Has so many threads write 0, 1, 2 … up to `writes`, many times over; the seconds that the last round took.
template <typename Contestant>
double last_of_rounds(Contestant& contestant, unsigned writers, std::uint64_t writes) {
    bool const time_writes = writers < std::thread::hardware_concurrency();
    auto const chunk = std::clamp<std::uint64_t>(writes / writers / 10, 1, 10'000);
    warm_up warm_up;
    bool is_last = false;  // changes between rounds
    std::atomic<std::uint64_t> next{0};
    std::barrier begin(writers + 1);
    std::barrier end(writers + 1);
    std::vector<std::thread> threads;
    for (unsigned writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
            if (time_writes) pin_to(writer);
            auto write = writer_of(contestant);
            for (bool was_last = false; !was_last;) {
                begin.arrive_and_wait();
                was_last = is_last;
                for (auto first = next.fetch_add(chunk); first < writes; first = next.fetch_add(chunk)) {
                    auto const last = std::min(first + chunk, writes);
                    for (auto number = first; number < last; ++number) write(number);
                }
                end.arrive_and_wait();
            }
        });
    }
    double seconds = 0;
    while (!is_last) {
        is_last = warm_up.is_over();
        next = 0;
        auto const from = std::chrono::steady_clock::now();
        begin.arrive_and_wait();
        end.arrive_and_wait();
        auto to = std::chrono::steady_clock::now();
        if constexpr (requires { contestant.finish(writes); }) {
            contestant.finish(writes);
        } else {
            contestant.finish();
        }
        if (!time_writes) to = std::chrono::steady_clock::now();
        if (!contestant.verify(writes)) {
            std::fprintf(stderr, "%s lost, doubled or changed what was written\n", Contestant::name);
            std::abort();
        }
        seconds = std::chrono::duration<double>(to - from).count();
    }
    for (auto& thread : threads) thread.join();
    return seconds;
}

/// All runs of one program.
class contest {
public:
    contest(std::uint64_t writes, int repetitions) : writes_(writes), repetitions_(repetitions) {}

    /// `setting` says what differs between groups: the time of a group's one contestant whose name begins with
    /// "tidefall" is divided by that of each other.
    template <typename Contestant, typename... Args>
    void enter(std::string const& setting, unsigned writers, Args const&... args) {
        auto const name = std::string(Contestant::name) + ", " + setting;
        auto writes = writes_;
        if constexpr (requires { Contestant::fewer; }) writes /= Contestant::fewer;
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=, this](benchmark::State& state) {
                                         auto& times = results_[setting][Contestant::name];
                                         for ([[maybe_unused]] auto _ : state) {
                                             Contestant one(args...);
                                             auto const seconds = last_of_rounds(one, writers, writes);
                                             state.SetIterationTime(seconds);
                                             times.push_back(seconds * 1e9 / static_cast<double>(writes));
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

    std::uint64_t writes_;
    int repetitions_;
    std::map<std::string, std::map<std::string, std::vector<double>>> results_;  ///< nanoseconds, one a repetition
};

/// Contestants that measure themselves: each is called once untimed, and then takes its turns. What a call returns is a
/// time or a size, the smaller the better. The ratio is that of a setting's first contestant to each other.
class turns {
public:
    void enter(std::string const& setting, std::string const& name, std::function<double()> run) {
        all_.push_back({setting, name, std::move(run), {}});
    }

    void hold(int repetitions, char const* unit) {
        for (auto const& one : all_) one.run();
        for (int repetition = 0; repetition < repetitions; ++repetition) {
            for (auto& one : all_) one.found.push_back(one.run());
        }
        std::printf("\n%-28s %-38s %12s %16s\n", "medians", "", unit, "first / it");
        for (auto const& one : all_) {
            auto const first =
                std::find_if(all_.begin(), all_.end(), [&](auto const& other) { return other.setting == one.setting; });
            std::vector<double> ratios;
            for (std::size_t i = 0; i < one.found.size(); ++i) ratios.push_back(first->found[i] / one.found[i]);
            std::printf("%-28s %-38s %12.2f %16.2f\n", one.setting.c_str(), one.name.c_str(), median(one.found),
                        median(ratios));
        }
    }

private:
    struct contestant {
        std::string setting;
        std::string name;
        std::function<double()> run;
        std::vector<double> found;
    };
    std::vector<contestant> all_;
};

/// Nanoseconds that a call takes.
template <typename Work>
double time_of(Work const& work) {
    auto const begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace bench
