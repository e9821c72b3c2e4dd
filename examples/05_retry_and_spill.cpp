// SPDX-License-Identifier: MIT
//
// A collector that fails now and then: a batch is tried again, what still fails is kept in a file, and the next start
// delivers it.
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

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

/// Stands for a server: answers so many calls with an error, and takes what it gets after that. Not thread-safe.
class collector {
public:
    explicit collector(int failures) : failures_(failures) {}

    void write(std::span<reading const> batch) {
        if (failures_ > 0) {
            --failures_;
            throw std::runtime_error("503 Service Unavailable");
        }
        received_.insert(received_.end(), batch.begin(), batch.end());
    }
    std::size_t received() const { return received_.size(); }

private:
    int failures_;
    std::vector<reading> received_;
};

/// One run of the program, from its start to its end.
std::size_t run(std::filesystem::path const& file, collector& server, int from, int to) {
    auto const old = tidefall::set_aside_spill(file);  // of the run before, if it left anything

    // From the inside: one call at a time, up to three times, and then into the file.
    auto const deliver = [&](std::span<reading const> batch) { server.write(batch); };
    auto const with_attempts =
        tidefall::with_retry(tidefall::serialised(deliver), {.attempts = 3, .first_delay = 1ms, .max_delay = 100ms});
    auto const report = [](std::size_t values, std::exception_ptr const& error) {
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& known) {
            std::printf("  %zu spilled: %s\n", values, known.what());
        }
    };
    tidefall::queue<reading> readings(
        {.name = "readings", .partitions = 1, .processing_interval = 1h, .processing_batch_size = 10},
        tidefall::with_spill(with_attempts, file, encode, {.on_spill = report}));

    if (old) {
        auto const found = tidefall::read_spill(*old, [&](std::string_view record) { readings.push(decode(record)); });
        std::printf("  %zu read back\n", static_cast<std::size_t>(found.records));
        bool const drained = readings.flush().complete;
        auto const stats = readings.stats();  // what went wrong before the flush, too
        if (drained && stats.refused + stats.failed + stats.dropped == 0) std::filesystem::remove(*old);
    }
    for (int i = from; i < to; ++i) readings.push({i % 4, i});
    readings.stop();
    std::printf("  %zu received\n", server.received());
    return server.received();
}

int main() {
    auto const file = std::filesystem::temp_directory_path() /
                      ("readings-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()));
    std::puts("first run: five calls fail");  // three lose the first batch, the second gets through at its third
    collector failing(5);
    auto received = run(file, failing, 0, 20);
    std::puts("second run: all is well");
    collector well(0);
    received += run(file, well, 20, 30);

    auto const left = tidefall::read_spill(file, [](std::string_view) {});
    std::filesystem::remove(file);
    std::printf("%zu of 30 received in the end, %zu left in the file\n", received,
                static_cast<std::size_t>(left.records));
    return received == 30 && left.records == 0 ? 0 : 1;
}
