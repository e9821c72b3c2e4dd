// SPDX-License-Identifier: MIT
//
// A collector that fails now and then: a batch is tried again, what still fails is kept in a file, and goes back by
// itself once the collector takes something, here at the next start.
//
//     05_retry_and_spill                       both starts in one go, in the directory for temporary files
//     05_retry_and_spill readings.spill        one start; call it twice
//     05_retry_and_spill readings.spill kill   ends by SIGKILL before it has delivered everything; call it without then
//
// Where a file is given, the server is down at a start that finds nothing left there, and up soon at one that does.
// What it received is in readings.spill.received.
#include "support/output.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

struct reading {
    int sensor;
    int value;
};

/// One line of text; any bytes would do.
void encode(reading const& one, std::string& to) {
    to = std::to_string(one.sensor) + ' ' + std::to_string(one.value);
}

reading decode(std::string_view record) {
    auto const space = record.find(' ');
    return {std::stoi(std::string(record.substr(0, space))), std::stoi(std::string(record.substr(space)))};
}

/// Stands for a server: answers so many calls with an error, and then appends what it gets to a file. Not thread-safe.
class collector {
public:
    collector(std::filesystem::path const& file, int failures) : received_(file, std::ios::app), failures_(failures) {}

    void write(std::span<reading const> batch) {
        if (failures_ > 0) {
            --failures_;
            throw std::runtime_error("503 Service Unavailable");
        }
        for (auto const& one : batch) received_ << one.sensor << ' ' << one.value << '\n';
        if (!received_.flush()) throw std::runtime_error("the server's file cannot be written");
    }

private:
    std::ofstream received_;
    int failures_;
};

/// Where the spilled values and the server's are.
struct places {
    explicit places(std::filesystem::path const& file) : spill(file), received(file) { received += ".received"; }
    std::filesystem::path spill;
    std::filesystem::path received;
};

/// The number after the last reading that the server or the file has, or 0.
int next_value(places const& at) {
    int next = 0;
    auto const look = [&](std::string_view record) { next = std::max(next, decode(record).value + 1); };
    std::ifstream lines(at.received);
    for (std::string line; std::getline(lines, line);) look(line);
    tidefall::read_spill(at.spill, look);
    return next;
}

/// One start of the program, up to its end.
void run(places const& at, bool kill) {
    auto const report = [](std::size_t values, std::exception_ptr const& error) {
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& known) {
            std::printf("  %zu spilled: %s\n", values, known.what());
        }
    };
    auto const spill = tidefall::open_spill<reading>(at.spill, encode, decode, {.on_spill = report});

    // Two failures keep a batch from the server until its third attempt, which is its last one.
    auto const left = static_cast<std::size_t>(spill->stats().records);
    collector server(at.received, left > 0 ? 2 : std::numeric_limits<int>::max());
    if (left > 0) {
        std::printf("an earlier start left %zu; the server fails twice\n", left);
    } else {
        std::printf("no earlier start left anything; the server is down\n");
    }

    // From the inside: one call at a time, up to three times, and then into the file, where what no call was left for
    // goes too.
    auto const deliver = [&](std::span<reading const> batch) { server.write(batch); };
    auto const with_attempts =
        tidefall::with_retry(tidefall::serialised(deliver), {.attempts = 3, .first_delay = 1ms, .max_delay = 100ms});
    int const first = next_value(at);
    tidefall::queue<reading> readings(
        {.name = "readings", .partitions = 1, .processing_interval = 1h, .processing_batch_size = 10},
        tidefall::with_spill(with_attempts, spill), spill->undelivered());
    for (int i = first; i < first + 20; ++i) {
        readings.push({i % 4, i});
        // The first ten leave the memory: they are delivered, or in the file.
        if (kill && i == first + 9) readings.flush();
    }
    if (kill) {
        std::printf("  killed: %zu were in memory alone, and are lost\n", readings.size());
        std::fflush(stdout);
#ifdef SIGKILL
        std::raise(SIGKILL);
#endif
        std::_Exit(137);
    }
    readings.flush();  // waits for all attempts; to stop alone gives each batch one
    readings.stop();
    if (auto const back = spill->stats().replayed) std::printf("  %ju went back\n", std::uintmax_t{back});
}

/// What there is of readings 0 to the last one, at the end of a start.
bool show(places const& at) {
    auto const left = tidefall::read_spill(at.spill, [](std::string_view) {});
    std::size_t received = 0;
    std::ifstream lines(at.received);
    for (std::string line; std::getline(lines, line);) ++received;
    std::printf("  the server has %zu, the file keeps %zu\n", received, static_cast<std::size_t>(left.records));
    return left.records == 0;
}

/// Both starts, without a trace.
bool demonstrate() {
    auto const directory = std::filesystem::temp_directory_path() /
                           ("readings-" + std::to_string(std::chrono::system_clock::now().time_since_epoch().count()));
    std::filesystem::create_directory(directory);
    places const at(directory / "readings.spill");
    run(at, false);
    bool const kept = !show(at);
    run(at, false);
    bool const delivered = show(at);
    std::filesystem::remove_all(directory);
    return kept && delivered;
}

int main(int argc, char** argv) {
    constexpr char const* program = "05_retry_and_spill";
    bool const kill = argc == 3 && argv[2] == std::string_view("kill");
    if (argc > (kill ? 3 : 2) || (argc == 2 && argv[1][0] == '-')) {
        std::fprintf(stderr, "usage: %s [FILE [kill]]\n", program);
        return 2;
    }
    output::let_closed_pipes_fail();
    try {
        bool shown = true;
        if (argc == 1) {
            shown = demonstrate();
        } else {
            places const at(argv[1]);
            run(at, kill);
            show(at);
        }
        return output::written(program) && shown ? 0 : 1;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s: %s\n", program, error.what());
        return 1;
    }
}
