// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include "../support/parse.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace logger_example {
namespace {

constexpr char const* about =
    "Logs lines from several threads, by spdlog and a sink that has a tidefall queue in it, and counts what is in the\n"
    "file.";

constexpr char const* notes =
    "Exit codes: 0; 1 if lines were lost or something cannot be written; 2 for a wrong command line; 130 after Ctrl-C.";

std::map<std::string, tidefall::overflow_policy> const policies = {
    {"block", tidefall::overflow_policy::block},
    {"drop_newest", tidefall::overflow_policy::reject},
    {"drop_oldest", tidefall::overflow_policy::drop_oldest},
};

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    CLI::App app(about, "08_logger");
    app.footer(notes);
    app.add_option("file", into.file, "The log, which is added to")->type_name("FILE")->capture_default_str();
    app.add_option("--lines", into.lines, "Lines to log in all")->type_name("N")->capture_default_str();
    app.add_option("--threads", into.threads, "Threads that log")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 256));
    app.add_option("--overflow", into.sink.overflow, "What a thread does that finds the queue full")
        ->type_name("POLICY")
        ->default_str("block")
        ->transform(CLI::CheckedTransformer(policies));
    app.add_option("--capacity", into.sink.capacity, "Lines that may wait")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    app.add_option_function<std::int64_t>(
           "--interval", [&](std::int64_t const& count) { into.sink.interval = std::chrono::milliseconds(count); },
           "Milliseconds that a line waits at most")
        ->type_name("MS")
        ->default_str(std::to_string(into.sink.interval.count()))
        ->check(CLI::Range(1, 3'600'000));
    auto* const endings =
        app.add_flag("--endings", into.endings, "End a process in the middle, in several ways; say what each loses");
    app.add_flag("--compare", into.compare, "Measure nanoseconds a line beside spdlog's loggers")->excludes(endings);
    app.add_option("--rounds", into.rounds, "With --compare: runs of each, interleaved")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000));
    return access_log::parse(app, argc, argv);
}

}  // namespace logger_example
