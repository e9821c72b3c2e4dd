// SPDX-License-Identifier: MIT
//
// Nanoseconds a line: the sink beside spdlog's asynchronous logger, of both policies, and its direct one. All write the
// same lines, by spdlog's default pattern, to a new file each, and take turns over several rounds.
#include "../support/format.hpp"
#include "../support/output.hpp"
#include "log_file.hpp"
#include "queue_sink.hpp"
#include "settings.hpp"

#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <sys/resource.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iomanip>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace logger_example {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

/// A logger, and how to end it: everything is in the file then that will ever be.
struct under_test {
    std::shared_ptr<spdlog::logger> log;
    std::function<void()> finish;
};

struct contestant {
    char const* name;
    std::function<under_test(std::string const& file, std::size_t capacity)> make;
};

under_test make_direct(std::string const& file, std::size_t) {
    auto const sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file, true);
    return {std::make_shared<spdlog::logger>("server", sink), [sink] { sink->flush(); }};
}

auto make_async(spdlog::async_overflow_policy policy) {
    return [policy](std::string const& file, std::size_t capacity) -> under_test {
        auto const sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file, true);
        auto pool = std::make_shared<spdlog::details::thread_pool>(capacity, 1);
        auto const log = std::make_shared<spdlog::async_logger>("server", sink, pool, policy);
        return {log, [sink, pool]() mutable {
                    pool.reset();  // hands on what waits, and ends its thread
                    sink->flush();
                }};
    };
}

auto make_queue(tidefall::overflow_policy policy) {
    return [policy](std::string const& name, std::size_t capacity) -> under_test {
        std::remove(name.c_str());
        auto const sink = std::make_shared<queue_sink>(
            sink_options{.overflow = policy, .capacity = capacity},
            [file = std::make_shared<log_file>(name)](std::string_view text) { file->append(text); });
        return {std::make_shared<spdlog::logger>("server", sink), [sink] { sink->close(); }};
    };
}

std::vector<contestant> contestants() {
    return {
        {"direct", make_direct},
        {"async, block", make_async(spdlog::async_overflow_policy::block)},
        {"async, overrun_oldest", make_async(spdlog::async_overflow_policy::overrun_oldest)},
        {"queue_sink, block", make_queue(tidefall::overflow_policy::block)},
        {"queue_sink, drop_oldest", make_queue(tidefall::overflow_policy::drop_oldest)},
        {"queue_sink, drop_newest", make_queue(tidefall::overflow_policy::reject)},
    };
}

struct figures {
    double caller = 0;     ///< ns a line, of one thread's time
    double in_file = 0;    ///< ns a line, from the first to the last in the file
    double processor = 0;  ///< ns a line, of all threads' processor time
    double lost = 0;       ///< percent
};

double nanoseconds(steady::duration time) {
    return std::chrono::duration<double, std::nano>(time).count();
}

double processor_time() {
    rusage used = {};
    ::getrusage(RUSAGE_SELF, &used);
    auto const of = [](timeval const& time) {
        return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
    };
    return of(used.ru_utime) + of(used.ru_stime);
}

std::uint64_t lines_in(std::string const& file) {
    std::ifstream in(file, std::ios::binary);
    std::vector<char> block(1 << 20);
    std::uint64_t lines = 0;
    while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
        auto const end = block.begin() + in.gcount();
        lines += static_cast<std::uint64_t>(std::count(block.begin(), end, '\n'));
    }
    return lines;
}

/// Each thread logs `bursts` times `lines` lines; between two bursts it waits for the next multiple of `every`.
figures measure(contestant const& one, settings const& how, std::size_t threads, std::uint64_t bursts,
                std::uint64_t lines, steady::duration every) {
    auto tested = one.make(how.file, how.sink.capacity);
    std::vector<steady::duration> spent(threads);
    auto const before = processor_time();
    auto const began = steady::now();
    std::barrier start(static_cast<std::ptrdiff_t>(threads));
    std::vector<std::thread> running;
    for (std::size_t thread = 0; thread < threads; ++thread) {
        running.emplace_back([&, thread] {
            start.arrive_and_wait();
            auto const first = steady::now();
            for (std::uint64_t burst = 0; burst < bursts; ++burst) {
                if (every > 0s) std::this_thread::sleep_until(first + burst * every);
                auto const from = steady::now();
                for (std::uint64_t line = 0; line < lines; ++line) {
                    tested.log->info("line {} of thread {}: GET /index.html took {} us", line, thread, line % 977);
                }
                spent[thread] += steady::now() - from;
            }
        });
    }
    for (auto& thread : running) thread.join();
    tested.finish();
    auto const in_file = steady::now() - began;
    auto const used = processor_time() - before;

    auto const each = static_cast<double>(bursts * lines);
    auto const all = each * static_cast<double>(threads);
    figures result;
    for (auto const time : spent) result.caller += nanoseconds(time) / all;
    result.in_file = nanoseconds(in_file) / all;
    result.processor = used / all;
    // The notes of what is lost are lines, too, some dozens.
    result.lost = std::max(0.0, 100 * (all - static_cast<double>(lines_in(how.file))) / all);
    std::remove(how.file.c_str());
    return result;
}

/// "median (least to most)"
std::string spread(std::vector<figures> const& runs, double figures::*of) {
    std::vector<double> sorted;
    for (auto const& one : runs) sorted.push_back(one.*of);
    std::sort(sorted.begin(), sorted.end());
    std::ostringstream text;
    text << std::fixed << std::setprecision(sorted.back() < 10 ? 1 : 0) << sorted[sorted.size() / 2] << " ("
         << sorted.front() << " to " << sorted.back() << ')';
    return text.str();
}

void show(char const* title, settings const& how, std::size_t threads, std::uint64_t bursts, std::uint64_t lines,
          steady::duration every) {
    auto const all = contestants();
    std::vector<std::vector<figures>> runs(all.size());
    for (std::size_t round = 0; round < how.rounds; ++round) {
        for (std::size_t turn = 0; turn < all.size(); ++turn) {
            auto const which = (round + turn) % all.size();  // none is always first
            runs[which].push_back(measure(all[which], how, threads, bursts, lines, every));
        }
    }
    std::ostringstream table;
    table << title << ", " << access_log::counted(threads, "thread", "threads")
          << ":\n\n| | ns a line for its caller | ns a line until all are in the file | processor ns a line | lost % "
             "|\n| --- | --- | --- | --- | --- |\n";
    for (std::size_t i = 0; i < all.size(); ++i) {
        table << "| " << all[i].name << " | " << spread(runs[i], &figures::caller) << " | "
              << (every > 0s ? "" : spread(runs[i], &figures::in_file)) << " | " << spread(runs[i], &figures::processor)
              << " | " << spread(runs[i], &figures::lost) << " |\n";
    }
    output::write(table.str() + '\n');
}

}  // namespace

int compare(settings const& how) {
    auto const lines = [&](std::size_t threads) { return how.lines / threads; };
    output::write("Medians of " + std::to_string(how.rounds) + " runs (least to most); a queue of " +
                  access_log::grouped(how.sink.capacity) + " lines.\n\n");
    for (std::size_t const threads : {1U, 2U, 4U}) {
        show("As fast as they can", how, threads, 1, lines(threads), 0s);
    }
    for (std::size_t const threads : {1U, 4U}) {
        show("1,000 lines each 10 ms, in bursts", how, threads, std::clamp<std::uint64_t>(how.lines / 1'000, 1, 50),
             1'000 / threads, 10ms);
    }
    return 0;
}

}  // namespace logger_example
