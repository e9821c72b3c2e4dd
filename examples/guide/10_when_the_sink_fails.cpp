// SPDX-License-Identifier: MIT
//
// The code of 10_when_the_sink_fails.md.
#include "check.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/spill.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

/// Stands for a database that is away for some calls.
struct database {
    int away = 0;
    std::vector<std::string> stored = {};
    void store(std::span<std::string const> rows) {
        if (away > 0) {
            --away;
            throw std::runtime_error("the database is away");
        }
        stored.insert(stored.end(), rows.begin(), rows.end());
    }
};

void again() {
    auto clock = tidefall::make_manual_runtime();
    database db{2};
    auto const wait = [&](std::chrono::nanoseconds delay, auto const&...) { clock->advance(delay); };
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 1, .processing_timeout = 2min, .runtime = clock},
        tidefall::with_retry(
            [&](std::span<std::string const> batch) { db.store(batch); },
            {.attempts = 5, .first_delay = 100ms, .max_delay = 10s, .wait = wait}));  // `wait` is for this test
    rows.push("a");
    rows.push("b");
    clock->advance(5s);
    check(db.stored.size() == 2 && rows.stats().processed == 2);
}

void aside() {
    std::filesystem::remove("rows.spill");
    std::filesystem::remove("rows.spill.replay");
    auto clock = tidefall::make_manual_runtime();
    database db{1};
    {
        tidefall::queue<std::string> rows(
            {.name = "rows", .partitions = 1, .runtime = clock},
            tidefall::with_spill([&](std::span<std::string const> batch) { db.store(batch); }, "rows.spill",
                                 [](std::string const& row, std::string& to) { to = row; }));
        rows.push("a");
        rows.push("b");
        rows.stop();
        check(db.stored.empty() && rows.stats().processed == 2);
    }

    // At the next start.
    auto const old = tidefall::set_aside_spill("rows.spill");
    std::vector<std::string> again;
    if (old) {
        tidefall::read_spill(*old, [&](std::string_view row) { again.emplace_back(row); });
        db.store(again);
        std::filesystem::remove(*old);
    }
    check(db.stored == std::vector<std::string>{"a", "b"});
}

void one_at_a_time() {
    std::size_t stored = 0;  // no lock
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 4},
        tidefall::serialised([&](std::span<std::string> batch) { stored += batch.size(); }));
    for (int i = 0; i < 100; ++i) rows.push("row", tidefall::partition_key{i});
    rows.stop();
    check(stored == 100);
}

int main() {
    again();
    aside();
    one_at_a_time();
}
