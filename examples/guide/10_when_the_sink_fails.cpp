// SPDX-License-Identifier: MIT
//
// The code of 10_when_the_sink_fails.md.
#include "check.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/spill.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

struct bad_row : std::runtime_error {
    using runtime_error::runtime_error;
};

/// Stands for a database that is away for some calls, and takes no batch that has an empty row.
struct database {
    int away = 0;
    int calls = 0;
    std::vector<std::string> stored = {};
    void store(std::span<std::string const> rows) {
        ++calls;
        if (away > 0) {
            --away;
            throw std::runtime_error("the database is away");
        }
        if (std::find(rows.begin(), rows.end(), "") != rows.end()) throw bad_row("a row is empty");
        stored.insert(stored.end(), rows.begin(), rows.end());
    }
};

void again() {
    auto clock = tidefall::make_manual_runtime();
    database db{2};
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 1, .processing_timeout = 30s, .capacity = 100'000, .runtime = clock},
        tidefall::with_retry([&](std::span<std::string const> batch) { db.store(batch); },
                             {.attempts = 5, .first_delay = 100ms, .max_delay = 10s}));
    rows.push("a");
    rows.push("b");
    clock->advance(5s);
    check(db.stored.empty() && rows.stats().in_flight == 2);  // no thread waits
    clock->advance(300ms);                                    // at most 100 ms, and then 200 ms
    check(db.stored.size() == 2 && rows.stats().processed == 2 && db.calls == 3);
}

void last_attempts() {
    auto clock = tidefall::make_manual_runtime();
    database db{1000};
    std::vector<std::string> lost;
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 1, .processing_batch_size = 2, .runtime = clock},
        tidefall::with_retry([&](std::span<std::string const> batch) { db.store(batch); }, {.attempts = 5}),
        [&](std::span<std::string> batch, tidefall::failure const& failure) {
            check(failure.reason == tidefall::failure_reason::exception);
            lost.insert(lost.end(), batch.begin(), batch.end());
        });
    for (auto row : {"a", "b", "c", "d", "e"}) rows.push(row);
    auto const report = rows.stop();
    check(db.calls == 3 && report.failed == 5 && lost.size() == 5);  // one attempt for each batch
}

void aside() {
    std::filesystem::remove("rows.spill");
    auto clock = tidefall::make_manual_runtime();
    database db{1};
    {
        auto const spill = tidefall::open_spill<std::string>(
            "rows.spill",                                               // made where it is missing
            [](std::string const& row, std::string& to) { to = row; },  // a record of a value
            [](std::string_view record) { return std::string(record); });
        tidefall::queue<std::string> rows(
            {.name = "rows", .partitions = 1, .runtime = clock},
            tidefall::with_spill([&](std::span<std::string const> batch) { db.store(batch); }, spill),
            spill->undelivered());
        rows.push("a");
        rows.flush();  // the database is away
        check(db.stored.empty() && spill->stats().records == 1 && rows.stats().processed == 1);
        rows.push("b");
        rows.flush();  // it is back
        check(db.stored == std::vector<std::string>{"b", "a"} && spill->stats().records == 0);
        rows.push("c");
        rows.stop(0s);  // no time for "c"
        check(spill->stats().records == 1 && rows.stats().dropped == 1);
    }

    // At the next start.
    auto const spill = tidefall::open_spill<std::string>(
        "rows.spill", [](std::string const& row) { return row; },
        [](std::string_view record) { return std::string(record); });
    auto const delivered = spill->replay([&](std::span<std::string const> batch) { db.store(batch); });
    check(delivered == 1 && db.stored.back() == "c" && spill->stats().records == 0);
}

void bad_rows() {
    auto clock = tidefall::make_manual_runtime();
    database db;
    std::vector<std::string> bad;
    auto const is_bad_row = [](std::exception_ptr const& error) {
        try {
            std::rethrow_exception(error);
        } catch (bad_row const&) {
            return true;
        } catch (...) {
            return false;
        }
    };
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 1, .processing_batch_size = 1000, .runtime = clock},
        tidefall::with_split([&](std::span<std::string const> batch) { db.store(batch); }, is_bad_row),
        [&](std::span<std::string> values, tidefall::failure const&) {
            bad.insert(bad.end(), values.begin(), values.end());
        });
    for (int i = 0; i < 1000; ++i) rows.push(i == 700 ? "" : std::to_string(i));
    rows.flush();
    check(db.stored.size() == 999 && bad.size() == 1 && db.calls <= 21);
}

void bad_rows_beside_a_file() {
    std::filesystem::remove("bad_rows.spill");
    auto clock = tidefall::make_manual_runtime();
    database db;
    std::vector<std::string> bad;
    auto const spill = tidefall::open_spill<std::string>(
        "bad_rows.spill", [](std::string const& row) { return row; },
        [](std::string_view record) { return std::string(record); });
    auto const store = [&](std::span<std::string const> batch) {
        try {
            db.store(batch);
        } catch (bad_row const&) {
            if (batch.size() > 1) throw;
            bad.push_back(batch[0]);  // taken, to another place
        }
    };
    auto const is_bad_row = [](std::exception_ptr const& error) {
        try {
            std::rethrow_exception(error);
        } catch (bad_row const&) {
            return true;
        } catch (...) {
            return false;
        }
    };
    tidefall::queue<std::string> rows(
        {.name = "rows", .partitions = 1, .processing_batch_size = 100, .runtime = clock},
        tidefall::with_spill(tidefall::with_retry(tidefall::with_split(store, is_bad_row)), spill),
        spill->undelivered());
    for (int i = 0; i < 100; ++i) rows.push(i == 70 ? "" : std::to_string(i));
    rows.flush();
    check(db.stored.size() == 99 && bad.size() == 1 && spill->stats().records == 0);
}

/// Stands for a connection to a database, which one call at a time may use.
struct connection {
    std::shared_ptr<std::atomic<std::size_t>> stored;
    void store(std::span<std::string const> batch) { *stored += batch.size(); }
};

void connections() {
    auto const stored = std::make_shared<std::atomic<std::size_t>>(0);
    std::atomic<int> opened{0};
    auto const connect = [&] {
        ++opened;
        return connection{stored};
    };
    auto const make = [&](std::size_t) {
        return [own = connect()](std::span<std::string const> batch) mutable { own.store(batch); };
    };
    tidefall::queue<std::string> rows({.name = "rows", .partitions = 4}, tidefall::per_partition(make));
    for (int i = 0; i < 100; ++i) rows.push("row", tidefall::partition_key{i});
    rows.stop();
    check(*stored == 100 && opened > 1 && opened <= 4);
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
    last_attempts();
    aside();
    bad_rows();
    bad_rows_beside_a_file();
    connections();
    one_at_a_time();
    std::filesystem::remove("rows.spill");
    std::filesystem::remove("bad_rows.spill");
}
