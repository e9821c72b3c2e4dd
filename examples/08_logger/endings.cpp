// SPDX-License-Identifier: MIT
//
// What the end of a process costs: each ending has a child process that logs and ends so, and the lines in its file are
// counted. The number that it has logged is in memory that the child shares, and survives it.
#include "../support/format.hpp"
#include "../support/output.hpp"
#include "../support/stop_request.hpp"
#include "log_file.hpp"
#include "queue_sink.hpp"
#include "settings.hpp"

#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iomanip>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

namespace logger_example {
namespace {

using namespace std::chrono_literals;

/// In memory that parent and child share.
struct progress {
    std::atomic<std::uint64_t> logged = 0;   ///< lines whose call has returned
    std::atomic<std::uint64_t> waiting = 0;  ///< of these, in memory just before the end
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class child_log {
public:
    child_log(settings const& how, std::string const& name, progress& seen)
        : file_(std::make_shared<log_file>(name)),
          sink_(std::make_shared<queue_sink>(how.sink, [to = file_](std::string_view text) { to->append(text); })),
          log_(std::make_shared<spdlog::logger>("child", sink_)),
          seen_(seen) {
        log_->flush_on(spdlog::level::critical);
    }

    /// A line, at some 10,000 a second.
    void info(std::uint64_t number) {
        log_->info("line {}: nothing special", number);
        ++seen_.logged;
        if (number % 10 == 9) std::this_thread::sleep_for(1ms);
    }

    void critical(std::uint64_t number) {
        log_->critical("line {}: this is the end", number);
        ++seen_.logged;
    }

    void note_what_waits() {
        auto const now = sink_->stats();
        seen_.waiting = now.pending + now.in_flight;
    }

    [[nodiscard]] std::shared_ptr<spdlog::logger> const& log() const { return log_; }

private:
    std::shared_ptr<log_file> file_;
    std::shared_ptr<queue_sink> sink_;
    std::shared_ptr<spdlog::logger> log_;
    progress& seen_;
};

struct ending {
    char const* name;
    bool loses;  ///< whether it may
    int signal;  ///< which the parent sends, or 0
    void (*end)(std::unique_ptr<child_log>& log,
                std::uint64_t next);  ///< what the child does, after so many lines; none: it returns
};

/// What std::set_terminate takes: this is no signal handler, and may do what any function may.
[[noreturn]] void flush_and_abort() {
    if (auto const log = spdlog::default_logger()) log->flush();
    std::abort();
}

constexpr ending endings[] = {
    {"the logger goes out of scope", false, 0, nullptr},
    {"std::exit", false, 0,
     [](std::unique_ptr<child_log>& log, std::uint64_t) {
         spdlog::set_default_logger(log->log());
         log.reset();  // the one owner is spdlog's registry now, which goes with the static objects
         std::exit(0);
     }},
    {"SIGTERM, handled", false, SIGTERM, nullptr},
    {"an exception that nobody catches", false, 0,
     [](std::unique_ptr<child_log>& log, std::uint64_t) {
         spdlog::set_default_logger(log->log());
         std::set_terminate(flush_and_abort);
         std::thread([] { throw std::runtime_error("nobody catches this"); }).join();
     }},
    {"a critical line, then abort", false, 0,
     [](std::unique_ptr<child_log>& log, std::uint64_t next) {
         log->critical(next);
         log->note_what_waits();
         std::abort();
     }},
    {"abort", true, 0, [](std::unique_ptr<child_log>&, std::uint64_t) { std::abort(); }},
    {"SIGSEGV", true, 0, [](std::unique_ptr<child_log>&, std::uint64_t) { std::raise(SIGSEGV); }},
    {"_exit", true, 0, [](std::unique_ptr<child_log>&, std::uint64_t) { ::_exit(0); }},
    {"kill -9", true, SIGKILL, nullptr},
};

/// Logs `how.lines`, or where the parent ends it until it does so.
void live(settings const& how, ending const& one, std::string const& file, progress& seen) {
    access_log::stop_request stop;
    auto log = std::make_unique<child_log>(how, file, seen);
    std::uint64_t number = 0;
    for (; (one.signal != 0 || number < how.lines) && !stop.asked(); ++number) log->info(number);
    log->note_what_waits();
    if (one.end != nullptr) one.end(log, number);
}

/// Lines in the file, which must be those from the first one on, without a gap.
std::uint64_t count_lines(std::string const& file) {
    std::ifstream in(file);
    std::uint64_t count = 0;
    for (std::string line; std::getline(in, line); ++count) {
        if (line.find("line " + std::to_string(count) + ": ") == std::string::npos) {
            if (in.eof()) break;  // the end came in the middle of a write
            throw std::runtime_error(file + " has no line " + std::to_string(count) + ": " + line);
        }
    }
    return count;
}

/// Runs a child to that end. True if it lost nothing that it must not lose.
bool show(settings const& how, ending const& one, progress& seen) {
    std::remove(how.file.c_str());
    seen.logged = 0;
    seen.waiting = 0;
    auto const child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        rlimit const none = {0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        live(how, one, how.file, seen);
        std::_Exit(0);
    }
    if (one.signal != 0) {
        while (seen.logged < how.lines) std::this_thread::sleep_for(1ms);
        ::kill(child, one.signal);
    }
    int status = 0;
    if (::waitpid(child, &status, 0) != child) throw std::system_error(errno, std::generic_category(), "waitpid");

    auto const logged = seen.logged.load();
    auto const stored = count_lines(how.file);
    // Of kill -9 nobody knows what waited: no more than the queue and a batch take. (The line that was being logged may
    // be in the file, and not yet in the number.)
    auto const at_most = one.signal == SIGKILL ? 2 * how.sink.capacity : one.loses ? seen.waiting.load() : 0;
    auto const lost = logged - std::min(logged, stored);
    std::ostringstream row;
    row << std::left << std::setw(34) << one.name << std::right << std::setw(10) << access_log::grouped(logged)
        << std::setw(12) << access_log::grouped(stored) << std::setw(8) << access_log::grouped(lost) << std::setw(10)
        << (one.signal == SIGKILL ? "-" : access_log::grouped(seen.waiting)) << '\n';
    output::write(row.str());
    return lost <= at_most;
}

}  // namespace

int show_endings(settings const& how) {
    auto* const place = ::mmap(nullptr, sizeof(progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    auto& seen = *new (place) progress;
    output::write("ending                                logged in the file    lost  waited\n");
    bool right = true;
    for (auto const& one : endings) right = show(how, one, seen) && right;
    std::remove(how.file.c_str());
    output::write(right ? "nothing is lost but what waited in memory, and that by a crash alone\n"
                        : "MORE WAS LOST THAN WAITED\n");
    return right ? 0 : 1;
}

}  // namespace logger_example
