// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include "../support/parse.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace statsd {
namespace {

constexpr char const* about =
    "A StatsD server: counters, gauges, timers and sets come as datagrams, are added up for a window of time, and go "
    "to\n"
    "an SQLite database, to Graphite, to Prometheus and to a page with charts.";

constexpr char const* notes =
    "Exit codes: 0; 1 for a port or database that cannot be used, or series that could not be stored in the end; 2 "
    "for\n"
    "a wrong command line; 130 after Ctrl-C and 143 after SIGTERM, with everything stored.";

}  // namespace

std::optional<int> read_command_line(int argc, char** argv, settings& into) {
    CLI::App app(about, "07_statsd");
    app.footer(notes);
    app.add_option("--bind", into.address, "The IPv4 address to listen on")
        ->type_name("ADDRESS")
        ->capture_default_str();
    app.add_option("--port", into.port, "For datagrams; 0: any port that is free, which is printed")
        ->type_name("PORT")
        ->capture_default_str()
        ->check(CLI::Range(0, 65'535));
    app.add_option("--http", into.http_port, "For the page and Prometheus, on 127.0.0.1; 0: any port that is free")
        ->type_name("PORT")
        ->capture_default_str()
        ->check(CLI::Range(0, 65'535));
    app.add_option("--threads", into.threads, "Threads that receive, each with a socket of its own")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 256));
    app.add_option("--receive-buffer", into.receive_buffer,
                   "Bytes for each socket, as far as net.core.rmem_max allows; 0: the system's default")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    app.add_option_function<std::int64_t>(
           "--window", [&](std::int64_t const& count) { into.window = std::chrono::milliseconds(count); },
           "Milliseconds that are added up to one point")
        ->type_name("MS")
        ->default_str(std::to_string(into.window.count()))
        ->check(CLI::Range(10, 3'600'000));
    app.add_option("-d,--database", into.database, "The SQLite file; an empty name: none")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_option_function<std::int64_t>(
           "--keep", [&](std::int64_t const& count) { into.keep = std::chrono::hours(count); },
           "Hours after which the database forgets a point")
        ->type_name("HOURS")
        ->default_str(std::to_string(into.keep.count()))
        ->check(CLI::Range(1, 1'000'000));
    app.add_option("--graphite", into.graphite, "Where to send points by Graphite's plain protocol")
        ->type_name("HOST:PORT");
    app.add_option(
           "--max-series", into.most_series,
           "Series of a kind that wait; one more window goes to the store then, and what is too many is counted")
        ->type_name("N")
        ->capture_default_str()
        ->check(CLI::Range(1, 100'000'000));
    app.add_option_function<std::string>(
           "--table", [&](std::string const& name) { into.with_mutex = name == "mutex"; },
           "tidefall, or mutex: one std::mutex and std::unordered_map, to compare with")
        ->type_name("NAME")
        ->default_str("tidefall")
        ->check(CLI::IsMember({"tidefall", "mutex"}));
    return access_log::parse(app, argc, argv);
}

}  // namespace statsd
