// SPDX-License-Identifier: MIT
#include "../support/common.hpp"
#include "../support/files.hpp"
#include "../support/latch.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <locale>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::ContainsSubstring;
using tests::numbers;

namespace {

std::shared_ptr<tidefall::metrics_telemetry> with_bounds(std::vector<std::chrono::nanoseconds> bounds) {
    return std::make_shared<tidefall::metrics_telemetry>(
        tidefall::metrics_options{.duration_bounds = std::move(bounds)});
}

std::string refusal(std::vector<std::chrono::nanoseconds> bounds) {
    try {
        with_bounds(std::move(bounds));
    } catch (tidefall::invalid_options const& error) {
        return error.what();
    }
    return "";
}

/// The lines of the text that are no comments.
std::vector<std::string> samples(std::string const& text) {
    std::istringstream in(text);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) {
        if (line.front() != '#') all.push_back(line);
    }
    return all;
}

bool has(std::string const& text, std::string const& line) {
    auto const all = samples(text);
    return std::find(all.begin(), all.end(), line) != all.end();
}

/// The value of the sample that is named so.
std::uint64_t value_of(std::string const& text, std::string const& name) {
    for (auto const& line : samples(text)) {
        if (line.rfind(name + " ", 0) == 0) return std::stoull(line.substr(name.size() + 1));
    }
    FAIL("no sample " << name << " in\n" << text);
    return 0;
}

std::uint64_t count_of(tidefall::partition_metrics const& of, tidefall::drain_trigger why) {
    return of.drains[static_cast<std::size_t>(why)];
}

std::uint64_t count_of(tidefall::partition_metrics const& of, tidefall::failure_reason why) {
    return of.undelivered[static_cast<std::size_t>(why)];
}

}  // namespace

TEST_CASE("metrics: the whole text of one buffer") {
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = with_bounds({10ms, 1500ms, 2s});
    CHECK(metrics->prometheus().empty());

    auto takes = std::chrono::nanoseconds(0);
    bool fails = false;
    tidefall::queue<int> orders({.name = "orders",
                                 .partitions = 1,
                                 .processing_timeout = 10s,
                                 .drain_threshold = 8,
                                 .telemetry = metrics,
                                 .runtime = clock},
                                [&](std::span<int>) {
                                    clock->advance(takes);
                                    if (fails) throw std::runtime_error("sink");
                                });
    takes = 10ms;  // a bound is inclusive
    orders.push_range(numbers(0, 3));
    clock->advance(5s);
    takes = 10ms + 1ns;
    orders.push_range(numbers(0, 8));
    clock->advance(0s);
    takes = 750ms;
    fails = true;
    orders.push_range(numbers(0, 13));  // two batches: 1.5 s
    orders.flush();
    fails = false;
    takes = 11s;
    orders.push(1);
    orders.flush();
    orders.push(1);  // waits

    CHECK(metrics->prometheus() ==
          R"(# HELP tidefall_partitions_running Partitions that started and did not stop.
# TYPE tidefall_partitions_running gauge
tidefall_partitions_running{buffer="orders",partition="0"} 1
# HELP tidefall_drains_total Drained tables whose processing began, by what drained them.
# TYPE tidefall_drains_total counter
tidefall_drains_total{buffer="orders",partition="0",trigger="interval"} 1
tidefall_drains_total{buffer="orders",partition="0",trigger="threshold"} 1
tidefall_drains_total{buffer="orders",partition="0",trigger="capacity"} 0
tidefall_drains_total{buffer="orders",partition="0",trigger="flush"} 2
tidefall_drains_total{buffer="orders",partition="0",trigger="stop"} 0
# HELP tidefall_drained_values_total Values in drained tables whose processing began.
# TYPE tidefall_drained_values_total counter
tidefall_drained_values_total{buffer="orders",partition="0"} 25
# HELP tidefall_undelivered_values_total Values that the processor lost (exception, timeout, rejected) or never got (overflow, stopped).
# TYPE tidefall_undelivered_values_total counter
tidefall_undelivered_values_total{buffer="orders",partition="0",reason="exception"} 13
tidefall_undelivered_values_total{buffer="orders",partition="0",reason="timeout"} 1
tidefall_undelivered_values_total{buffer="orders",partition="0",reason="overflow"} 0
tidefall_undelivered_values_total{buffer="orders",partition="0",reason="stopped"} 0
tidefall_undelivered_values_total{buffer="orders",partition="0",reason="rejected"} 0
# HELP tidefall_partitions_full Partitions in which a write found no room, and no swap has made any since.
# TYPE tidefall_partitions_full gauge
tidefall_partitions_full{buffer="orders",partition="0"} 0
# HELP tidefall_partition_full_total Times that a write found no room, until the next swap.
# TYPE tidefall_partition_full_total counter
tidefall_partition_full_total{buffer="orders",partition="0"} 0
# HELP tidefall_full_seconds_total How long those times took that are over.
# TYPE tidefall_full_seconds_total counter
tidefall_full_seconds_total{buffer="orders",partition="0"} 0
# HELP tidefall_refused_values_total Values answered full in those times that are over.
# TYPE tidefall_refused_values_total counter
tidefall_refused_values_total{buffer="orders",partition="0"} 0
# HELP tidefall_exceptions_total Exceptions of the processor, or of the sorting before it.
# TYPE tidefall_exceptions_total counter
tidefall_exceptions_total{buffer="orders",partition="0"} 2
# HELP tidefall_retried_batches_total Calls whose batch was to be offered again, or a part of it.
# TYPE tidefall_retried_batches_total counter
tidefall_retried_batches_total{buffer="orders",partition="0"} 0
# HELP tidefall_retried_values_total Values that were to be offered again.
# TYPE tidefall_retried_values_total counter
tidefall_retried_values_total{buffer="orders",partition="0"} 0
# HELP tidefall_spilled_values_total Values that went to a spill file.
# TYPE tidefall_spilled_values_total counter
tidefall_spilled_values_total{buffer="orders",partition="0"} 0
# HELP tidefall_replayed_values_total Values of a spill file that were delivered.
# TYPE tidefall_replayed_values_total counter
tidefall_replayed_values_total{buffer="orders",partition="0"} 0
# HELP tidefall_processing_duration_seconds How long the processing of a drained table took.
# TYPE tidefall_processing_duration_seconds histogram
tidefall_processing_duration_seconds_bucket{buffer="orders",partition="0",le="0.01"} 1
tidefall_processing_duration_seconds_bucket{buffer="orders",partition="0",le="1.5"} 3
tidefall_processing_duration_seconds_bucket{buffer="orders",partition="0",le="2"} 3
tidefall_processing_duration_seconds_bucket{buffer="orders",partition="0",le="+Inf"} 4
tidefall_processing_duration_seconds_sum{buffer="orders",partition="0"} 12.520000001
tidefall_processing_duration_seconds_count{buffer="orders",partition="0"} 4
)");

    // With the buffer's own counters, which follow the events' families.
    auto const events = metrics->prometheus();
    auto const all = metrics->prometheus(orders);
    REQUIRE(all.substr(0, events.size()) == events);
    CHECK(all.substr(events.size()) == R"(# HELP tidefall_buffer_accepted_values_total Values that the buffer took.
# TYPE tidefall_buffer_accepted_values_total counter
tidefall_buffer_accepted_values_total{buffer="orders"} 26
# HELP tidefall_buffer_refused_values_total Writes answered stale, full or stopped.
# TYPE tidefall_buffer_refused_values_total counter
tidefall_buffer_refused_values_total{buffer="orders"} 0
# HELP tidefall_buffer_coalesced_values_total Accepted writes that changed a value already held.
# TYPE tidefall_buffer_coalesced_values_total counter
tidefall_buffer_coalesced_values_total{buffer="orders"} 0
# HELP tidefall_buffer_erased_values_total Values erased before they were drained.
# TYPE tidefall_buffer_erased_values_total counter
tidefall_buffer_erased_values_total{buffer="orders"} 0
# HELP tidefall_buffer_processed_values_total Values that the processor took.
# TYPE tidefall_buffer_processed_values_total counter
tidefall_buffer_processed_values_total{buffer="orders"} 11
# HELP tidefall_buffer_failed_values_total Values lost by an exception or a timeout, or rejected.
# TYPE tidefall_buffer_failed_values_total counter
tidefall_buffer_failed_values_total{buffer="orders"} 14
# HELP tidefall_buffer_dropped_values_total Values dropped by overflow or at a stop.
# TYPE tidefall_buffer_dropped_values_total counter
tidefall_buffer_dropped_values_total{buffer="orders"} 0
# HELP tidefall_buffer_abandoned_values Failed values whose calls have not returned.
# TYPE tidefall_buffer_abandoned_values gauge
tidefall_buffer_abandoned_values{buffer="orders"} 0
# HELP tidefall_buffer_pending_values Values that wait for a drain.
# TYPE tidefall_buffer_pending_values gauge
tidefall_buffer_pending_values{buffer="orders"} 1
# HELP tidefall_buffer_pending_weight What these weigh, where values have a weight.
# TYPE tidefall_buffer_pending_weight gauge
tidefall_buffer_pending_weight{buffer="orders"} 0
# HELP tidefall_buffer_in_flight_values Drained values without an outcome.
# TYPE tidefall_buffer_in_flight_values gauge
tidefall_buffer_in_flight_values{buffer="orders"} 0
# HELP tidefall_buffer_ticks_total Swaps of a table that was not empty.
# TYPE tidefall_buffer_ticks_total counter
tidefall_buffer_ticks_total{buffer="orders"} 4
# HELP tidefall_buffer_hook_failures_total Exceptions of telemetry hooks and undelivered.
# TYPE tidefall_buffer_hook_failures_total counter
tidefall_buffer_hook_failures_total{buffer="orders"} 0
)");
}

TEST_CASE("metrics: one hook serves several buffers, a family is said once, and series stay when a buffer is gone") {
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = with_bounds({});
    std::string text;
    {
        tidefall::queue<int> b({.name = "b", .partitions = 2, .telemetry = metrics, .runtime = clock},
                               [](std::span<int>) {});
        tidefall::hash_map<int, int> a({.name = "a", .partitions = 1, .telemetry = metrics, .runtime = clock},
                                       [](std::span<tidefall::entry<int, int>>) {});
        b.push_range(numbers(0, 7), tidefall::partition_key{1});
        a.put(1, 1);
        a.put(1, 2);
        text = metrics->prometheus(b, a);
        CHECK(has(text, R"(tidefall_buffer_pending_values{buffer="a"} 1)"));
        CHECK(has(text, R"(tidefall_buffer_pending_values{buffer="b"} 7)"));
        CHECK(has(text, R"(tidefall_buffer_coalesced_values_total{buffer="a"} 1)"));
        // By name, then by number.
        CHECK(text.find(R"(running{buffer="a",partition="0"})") < text.find(R"(running{buffer="b",partition="0"})"));
        CHECK(text.find(R"(running{buffer="b",partition="0"})") < text.find(R"(running{buffer="b",partition="1"})"));
        // A family's samples stand together, after its one HELP and TYPE.
        std::istringstream in(text);
        std::vector<std::string> families;
        for (std::string line; std::getline(in, line);) {
            if (line.rfind("# TYPE ", 0) == 0) {
                families.push_back(line.substr(7, line.find(' ', 7) - 7));
                CHECK(std::count(families.begin(), families.end(), families.back()) == 1);
            } else if (line.front() != '#') {
                CHECK(line.rfind(families.back(), 0) == 0);
            }
        }
        CHECK(families.size() == 14 + 13);
    }
    auto const all = metrics->snapshot();
    REQUIRE(all.size() == 3);
    CHECK(all[0].buffer == "a");
    CHECK(all[0].drained_values == 1);
    CHECK(all[1].buffer == "b");
    CHECK(all[2].partition == 1);
    CHECK(all[1].drained_values + all[2].drained_values == 7);
    for (auto const& one : all) CHECK(one.running == 0);
    CHECK(metrics->prometheus().find("tidefall_partitions_running{buffer=\"b\",partition=\"1\"} 0\n") !=
          std::string::npos);
    // No bounds: count and sum.
    CHECK(has(metrics->prometheus(),
              R"(tidefall_processing_duration_seconds_bucket{buffer="a",partition="0",le="+Inf"} 1)"));
    CHECK(all[0].durations == std::vector<std::uint64_t>{1});
}

TEST_CASE("metrics: a snapshot has every event") {
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = with_bounds({1s, 2s});
    CHECK(metrics->duration_bounds() == std::vector<std::chrono::nanoseconds>{1s, 2s});
    tidefall::queue<int> items({.name = "items",
                                .partitions = 1,
                                .capacity = 4,
                                .overflow = tidefall::overflow_policy::drop_oldest,
                                .telemetry = metrics,
                                .runtime = clock},
                               [&](std::span<int>) { clock->advance(2s); });
    items.push_range(numbers(0, 10));  // six are displaced
    clock->advance(0s);
    items.push(1);
    items.stop(0s);  // dropped
    auto const all = metrics->snapshot();
    REQUIRE(all.size() == 1);
    auto const& one = all.front();
    CHECK(one.buffer == "items");
    CHECK(one.partition == 0);
    CHECK(one.running == 0);
    CHECK(count_of(one, tidefall::drain_trigger::capacity) == 1);
    CHECK(count_of(one, tidefall::drain_trigger::stop) == 0);
    CHECK(one.drained_values == 4);
    CHECK(count_of(one, tidefall::failure_reason::overflow) == 6);
    CHECK(count_of(one, tidefall::failure_reason::stopped) == 1);
    CHECK(one.durations == std::vector<std::uint64_t>{0, 1, 0});
    CHECK(one.duration_sum == 2s);
    CHECK(items.stats().hook_failures == 0);
}

TEST_CASE("metrics: what is rejected, offered again, spilled and replayed") {
    tests::temporary_directory const directory;
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = with_bounds({1s});
    auto const spill = tidefall::open_spill<int>(
        directory / "spill", [](int value) { return std::to_string(value); },
        [](std::string_view record) { return std::stoi(std::string(record)); });
    int calls = 0;
    auto const process = [&](std::span<int const> batch) {
        tidefall::batch_result result;
        if (++calls < 3) result.reject_from(batch.size() - 1);
        if (calls == 4) result.refuse(0);
        return result;
    };
    tidefall::queue<int> spilled({.name = "spilled", .partitions = 1, .telemetry = metrics, .runtime = clock},
                                 tidefall::with_spill(tidefall::with_retry(process, {.attempts = 2}), spill));
    spilled.push_range(numbers(0, 5));
    spilled.flush();
    clock->advance(1s);  // the second attempt takes none of what is left, and that is spilled
    spilled.push(5);
    spilled.flush();  // and goes back, where it is refused
    spilled.push(6);
    spilled.flush();
    tidefall::queue<int> rejected({.name = "rejected", .partitions = 1, .telemetry = metrics, .runtime = clock},
                                  [](std::span<int const>) {
                                      tidefall::batch_result result;
                                      result.reject_from(1);
                                      return result;
                                  });
    rejected.push_range(numbers(0, 5));
    rejected.flush();
    auto const all = metrics->snapshot();
    REQUIRE(all.size() == 2);
    CHECK(count_of(all[0], tidefall::failure_reason::rejected) == 4);
    CHECK(all[1].retried_batches == 1);
    CHECK(all[1].retried_values == 1);
    CHECK(all[1].spilled == 1);
    CHECK(all[1].replayed == 1);
    CHECK(count_of(all[1], tidefall::failure_reason::rejected) == 0);
    auto const text = metrics->prometheus();
    CHECK_THAT(text, tests::ContainsSubstring("reason=\"rejected\"} 4\n"));
    CHECK_THAT(text,
               tests::ContainsSubstring("tidefall_replayed_values_total{buffer=\"spilled\",partition=\"0\"} 1\n"));
}

TEST_CASE("metrics: buffers of one name are added up") {
    auto const clock = tidefall::make_manual_runtime();
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    auto const options = [&] {
        return tidefall::options{.name = "same", .partitions = 1, .telemetry = metrics, .runtime = clock};
    };
    tidefall::queue<int> first(options(), [](std::span<int>) {});
    tidefall::queue<int> second(options(), [](std::span<int>) {});
    first.push_range(numbers(0, 2));
    second.push_range(numbers(0, 3));
    first.flush();
    auto const text = metrics->prometheus({{"same", first.stats()}, {"same", second.stats()}});
    CHECK(text == metrics->prometheus(first, second));
    CHECK(has(text, R"(tidefall_partitions_running{buffer="same",partition="0"} 2)"));
    CHECK(has(text, R"(tidefall_buffer_accepted_values_total{buffer="same"} 5)"));
    CHECK(has(text, R"(tidefall_buffer_pending_values{buffer="same"} 3)"));
    auto const lines = samples(text);
    for (auto const& line : lines) {
        CHECK(std::count_if(lines.begin(), lines.end(), [&](auto const& other) {
                  return other.substr(0, other.rfind(' ')) == line.substr(0, line.rfind(' '));
              }) == 1);
    }
}

TEST_CASE("metrics: how often and how long partitions were full, what was refused, and which are full now") {
    tidefall::metrics_telemetry metrics;
    auto const sample = [&](char const* family, char const* partition) {
        auto const labels = std::string(R"({buffer="a",partition=")") + partition + R"("})";
        return value_of(metrics.prometheus(), "tidefall_" + std::string(family) + labels);
    };
    metrics.on_partition_start({.buffer = "a", .partition = 0});
    CHECK(sample("partitions_full", "0") == 0);
    CHECK(sample("refused_values_total", "0") == 0);
    metrics.on_partition_full({.buffer = "a", .partition = 0, .size = 100});
    metrics.on_partition_full({.buffer = "a", .partition = 3, .size = 100});
    CHECK(sample("partitions_full", "0") == 1);
    CHECK(sample("partitions_full", "3") == 1);
    CHECK(sample("partition_full_total", "0") == 1);
    metrics.on_partition_room({.buffer = "a", .partition = 0, .duration = 1500ms, .refused = 9'600});
    CHECK(sample("partitions_full", "0") == 0);
    CHECK(sample("partitions_full", "3") == 1);
    metrics.on_partition_full({.buffer = "a", .partition = 0, .size = 100});
    metrics.on_partition_room({.buffer = "a", .partition = 0, .duration = 250ms, .refused = 0});
    CHECK(sample("partition_full_total", "0") == 2);
    CHECK(sample("refused_values_total", "0") == 9'600);
    CHECK(sample("refused_values_total", "3") == 0);
    CHECK(has(metrics.prometheus(), R"(tidefall_full_seconds_total{buffer="a",partition="0"} 1.75)"));
    auto const all = metrics.snapshot();
    REQUIRE(all.size() == 2);
    CHECK(all[0].full == 0);
    CHECK(all[0].times_full == 2);
    CHECK(all[0].full_sum == 1750ms);
    CHECK(all[0].refused == 9'600);
    CHECK(all[1].partition == 3);
    CHECK(all[1].full == 1);
    CHECK(all[1].times_full == 1);
    CHECK(all[1].full_sum == 0s);
}

TEST_CASE("metrics: a swap that is counted before the write that found no room leaves no partition full") {
    // A writer has told nothing yet when the worker tells that there is room.
    tidefall::metrics_telemetry metrics;
    metrics.on_partition_room({.buffer = "a", .duration = 1ms, .refused = 1});
    CHECK(has(metrics.prometheus(), R"(tidefall_partitions_full{buffer="a",partition="0"} 0)"));
    metrics.on_partition_full({.buffer = "a"});
    CHECK(has(metrics.prometheus(), R"(tidefall_partitions_full{buffer="a",partition="0"} 0)"));
    CHECK(has(metrics.prometheus(), R"(tidefall_partition_full_total{buffer="a",partition="0"} 1)"));
    metrics.on_partition_full({.buffer = "a"});
    CHECK(has(metrics.prometheus(), R"(tidefall_partitions_full{buffer="a",partition="0"} 1)"));
}

TEST_CASE("metrics: what is forgotten is not shown, and begins at 0 when it comes back") {
    tidefall::metrics_telemetry metrics;
    metrics.on_processing_start({.buffer = "a", .partition = 1, .size = 5});
    metrics.on_processing_start({.buffer = "b", .partition = 0, .size = 6});
    metrics.on_processing_start({.buffer = "b", .partition = 70'000, .size = 6});
    metrics.on_processing_start({.buffer = "bb", .partition = 0, .size = 7});
    metrics.forget("b");
    metrics.forget("unknown");
    auto const left = metrics.snapshot();
    REQUIRE(left.size() == 2);
    CHECK(left[0].buffer == "a");
    CHECK(left[1].buffer == "bb");
    metrics.on_processing_start({.buffer = "b", .partition = 0, .size = 1});
    CHECK(has(metrics.prometheus(), R"(tidefall_drained_values_total{buffer="b",partition="0"} 1)"));
}

TEST_CASE("metrics: names are escaped, and what is not UTF-8 is replaced") {
    using namespace std::string_literals;
    auto const label = [](std::string_view name) {
        tidefall::metrics_telemetry metrics;
        metrics.on_partition_start({.buffer = name});
        auto const text = metrics.prometheus({{std::string(name), {}}});
        auto const line = samples(text).front();
        auto const from = line.find('"') + 1;
        auto const shown = line.substr(from, line.rfind("\",partition") - from);
        CHECK(has(text, "tidefall_buffer_ticks_total{buffer=\"" + shown + "\"} 0"));
        return shown;
    };
    CHECK(label("") == "");
    CHECK(label("C:\\new\\\"quoted\"\nline") == R"(C:\\new\\\"quoted\"\nline)");
    CHECK(label("tab\t, {curly}, 'single', \x7F") == "tab\t, {curly}, 'single', \x7F");
    // One, two, three and four bytes: the first and the last of each.
    auto const good = {"\x7F"s,         "\xC2\x80"s,     "\xDF\xBF"s,         "\xE0\xA0\x80"s,    "\xED\x9F\xBF"s,
                       "\xEE\x80\x80"s, "\xEF\xBF\xBF"s, "\xF0\x90\x80\x80"s, "\xF4\x8F\xBF\xBF"s};
    for (auto const& one : good) CHECK(label("a" + one + "b") == "a" + one + "b");
    // Overlong, a surrogate, beyond U+10FFFF, a tail alone, bytes that begin nothing: each byte by itself.
    std::string const no = "\xEF\xBF\xBD";
    for (auto const& bad : {"\xC0\x80"s, "\xC1\xBF"s, "\xE0\x9F\xBF"s, "\xED\xA0\x80"s, "\xF0\x8F\xBF\xBF"s,
                            "\xF4\x90\x80\x80"s, "\xF5\x80\x80\x80"s, "\x80"s, "\xBF\xBF"s, "\xFE\xFF"s}) {
        std::string expected = "a";
        for (std::size_t i = 0; i < bad.size(); ++i) expected += no;
        CHECK(label("a" + bad + "b") == expected + "b");
    }
    // Cut short, at the end and before the quote that must stay escaped.
    CHECK(label("\xF0\x90\x80") == no + no + no);
    CHECK(label("\xE2\x82\"") == no + no + "\\\"");
    CHECK(label("\xC3\"") == no + "\\\"");
}

TEST_CASE("metrics: numbers are exact, and the same in every locale") {
    struct grouped : std::numpunct<char> {
        char do_decimal_point() const override { return ','; }
        char do_thousands_sep() const override { return '.'; }
        std::string do_grouping() const override { return "\3"; }
    };
    auto const metrics = with_bounds({1ns, 1us, 250ms, 1s, 90s, std::chrono::nanoseconds::max()});
    metrics->on_processing_start({.buffer = "a", .size = 1'234'567});
    metrics->on_processing_stop({.buffer = "a", .duration = 1'234'567'890'123ns});
    auto const before = std::locale::global(std::locale(std::locale::classic(), new grouped));  // NOLINT
    auto const text = metrics->prometheus();
    std::locale::global(before);
    CHECK(has(text, R"(tidefall_drained_values_total{buffer="a",partition="0"} 1234567)"));
    CHECK(has(text, R"(tidefall_processing_duration_seconds_sum{buffer="a",partition="0"} 1234.567890123)"));
    for (auto const* bound : {"0.000000001", "0.000001", "0.25", "1", "90", "9223372036.854775807"}) {
        CHECK_THAT(text, ContainsSubstring("le=\"" + std::string(bound) + "\"}"));
    }
    // Counters go up to 2^64 - 1.
    metrics->on_processing_failed({.buffer = "a", .size = std::size_t(-1)});
    CHECK(metrics->snapshot()[0].undelivered[0] == std::size_t(-1));
}

TEST_CASE("metrics: bounds that are not ascending are refused") {
    CHECK(refusal({0s}) == "tidefall: option duration_bounds is 0s, but must be above 0 and ascending");
    CHECK(refusal({-1ms, 1s}) == "tidefall: option duration_bounds is -1ms, but must be above 0 and ascending");
    CHECK(refusal({1s, 1s}) == "tidefall: option duration_bounds is 1s after 1s, but must be above 0 and ascending");
    CHECK(refusal({1s, 5ms, 2s}) ==
          "tidefall: option duration_bounds is 5ms after 1s, but must be above 0 and ascending");
    CHECK(refusal({}).empty());
    CHECK(refusal({1ns}).empty());
    CHECK(refusal(tidefall::metrics_options{}.duration_bounds).empty());
}

TEST_CASE("metrics: readers and writers at once") {
    constexpr int writers = 4;
    constexpr std::uint64_t rounds = 2'000;
    tidefall::metrics_telemetry metrics({.duration_bounds = {1ms, 1s}});
    tests::latch door;
    std::atomic<int> running = writers;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
            door.wait();
            for (std::uint64_t i = 0; i < rounds; ++i) {
                // One partition of their own, and one for all.
                for (auto const partition : {std::size_t{0}, static_cast<std::size_t>(writer) + 1}) {
                    metrics.on_partition_start({.buffer = "a", .partition = partition});
                    metrics.on_processing_start({.buffer = "a", .partition = partition, .size = 3});
                    metrics.on_processing_exception({.buffer = "a", .partition = partition});
                    metrics.on_processing_failed({.buffer = "a", .partition = partition, .size = 2});
                    metrics.on_items_dropped({.buffer = "a", .partition = partition, .size = 1});
                    metrics.on_partition_full({.buffer = "a", .partition = partition, .size = 3});
                    metrics.on_partition_room({.buffer = "a", .partition = partition, .duration = 2ns, .refused = 4});
                    metrics.on_processing_stop(
                        {.buffer = "a", .partition = partition, .duration = (i % 3) * std::chrono::milliseconds(600)});
                    metrics.on_partition_stop({.buffer = "a", .partition = partition});
                }
            }
            --running;
        });
    }
    std::string const name = R"(tidefall_processing_duration_seconds_)";
    std::uint64_t last = 0;
    bool consistent = true;
    door.open();
    while (running != 0) {
        auto const text = metrics.prometheus();
        if (text.empty()) continue;
        if (text.find(R"({buffer="a",partition="0")") == std::string::npos) continue;
        auto const infinite = value_of(text, name + R"(bucket{buffer="a",partition="0",le="+Inf"})");
        auto const some = value_of(text, name + R"(bucket{buffer="a",partition="0",le="1"})");
        auto const count = value_of(text, name + R"(count{buffer="a",partition="0"})");
        consistent = consistent && infinite == count && some <= count && count >= last;
        last = count;
    }
    for (auto& thread : threads) thread.join();
    CHECK(consistent);
    auto const all = metrics.snapshot();
    REQUIRE(all.size() == writers + 1);
    for (auto const& one : all) {
        auto const events = rounds * (one.partition == 0 ? writers : 1);
        CHECK(one.running == 0);
        CHECK(count_of(one, tidefall::drain_trigger::interval) == events);
        CHECK(one.drained_values == 3 * events);
        CHECK(one.exceptions == events);
        CHECK(count_of(one, tidefall::failure_reason::exception) == 2 * events);
        CHECK(count_of(one, tidefall::failure_reason::stopped) == events);
        CHECK(one.full == 0);
        CHECK(one.times_full == events);
        CHECK(one.full_sum == events * 2ns);
        CHECK(one.refused == 4 * events);
        CHECK(one.durations[0] + one.durations[1] + one.durations[2] == events);
    }
}

TEST_CASE("metrics: a buffer with threads is counted and scraped at once") {
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    tidefall::queue<int> items(
        {.name = "items", .partitions = 2, .processing_interval = 1ms, .drain_threshold = 16, .telemetry = metrics},
        [&](std::span<int> batch) {
            if (batch.front() % 7 == 0) throw std::runtime_error("seven");
            [[maybe_unused]] auto const inside = metrics->prometheus();  // also from a processor
        });
    std::atomic<int> running = 2;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < 2; ++writer) {
        threads.emplace_back([&] {
            for (int const value : numbers(0, 2'000)) items.push(value);
            --running;
        });
    }
    do {
        auto const text = metrics->prometheus(items);
        CHECK(text.back() == '\n');
    } while (running != 0);
    for (auto& thread : threads) thread.join();
    items.stop();
    std::uint64_t drained = 0;
    std::uint64_t failed = 0;
    for (auto const& one : metrics->snapshot()) {
        drained += one.drained_values;
        failed += count_of(one, tidefall::failure_reason::exception);
    }
    CHECK(drained == 4'000);
    CHECK(failed == items.stats().failed);
    CHECK(items.stats().hook_failures == 0);
}
