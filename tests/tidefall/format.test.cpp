// SPDX-License-Identifier: MIT
#include <tidefall/format.hpp>

#include "../support/common.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/spill.hpp>

#include <fmt/ranges.h>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

struct opaque {};
struct point {
    int x = 0;
    int y = 0;
};

/// A formatter for each enum that there is, as some programs have: the library's own are not in its way.
enum class colour { red, green };

template <typename T>
std::string text(T const& value) {
    return fmt::format("{}", value);
}

/// A wall clock's time, in microseconds since 1970.
std::chrono::system_clock::time_point at(std::chrono::microseconds since_1970) {
    return std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(since_1970));
}

std::chrono::system_clock::time_point const noon = at(1'795'262'400s + 250ms);  // 2026-11-21

}  // namespace

template <typename Enum>
struct fmt::formatter<Enum, char, std::enable_if_t<std::is_enum_v<Enum>>> : fmt::formatter<int> {
    template <typename Context>
    auto format(Enum value, Context& context) const {
        return fmt::formatter<int>::format(static_cast<int>(value), context);
    }
};

template <>
struct fmt::formatter<point> : fmt::formatter<std::string> {
    template <typename Context>
    auto format(point const& value, Context& context) const {
        return fmt::formatter<std::string>::format(fmt::format("x={} y={}", value.x, value.y), context);
    }
};

TEST_CASE("format: every enumerator has its name") {
    using tidefall::destruction_action;
    using tidefall::drain_trigger;
    using tidefall::failure_reason;
    using tidefall::overflow_policy;
    using tidefall::stop_reason;
    using tidefall::timeout_action;
    using tidefall::unheard_action;
    using tidefall::write_status;
    CHECK(text(write_status::accepted) == "accepted");
    CHECK(text(write_status::stale) == "stale");
    CHECK(text(write_status::full) == "full");
    CHECK(text(write_status::stopped) == "stopped");
    CHECK(text(failure_reason::exception) == "exception");
    CHECK(text(failure_reason::timeout) == "timeout");
    CHECK(text(failure_reason::overflow) == "overflow");
    CHECK(text(failure_reason::stopped) == "stopped");
    CHECK(text(timeout_action::wait) == "wait");
    CHECK(text(timeout_action::abandon) == "abandon");
    CHECK(text(overflow_policy::block) == "block");
    CHECK(text(overflow_policy::reject) == "reject");
    CHECK(text(overflow_policy::drop_oldest) == "drop_oldest");
    CHECK(text(destruction_action::wait) == "wait");
    CHECK(text(destruction_action::leave) == "leave");
    CHECK(text(unheard_action::say_once) == "say_once");
    CHECK(text(unheard_action::ignore) == "ignore");
    CHECK(text(drain_trigger::interval) == "interval");
    CHECK(text(drain_trigger::threshold) == "threshold");
    CHECK(text(drain_trigger::capacity) == "capacity");
    CHECK(text(drain_trigger::flush) == "flush");
    CHECK(text(drain_trigger::stop) == "stop");
    CHECK(text(stop_reason::stopped) == "stopped");
    CHECK(text(stop_reason::deadline) == "deadline");
    CHECK(text(colour::green) == "1");
}

TEST_CASE("format: a value that is no enumerator is its number") {
    CHECK(text(static_cast<tidefall::write_status>(4)) == "4");
    CHECK(text(static_cast<tidefall::stop_reason>(255)) == "255");
}

TEST_CASE("format: specifications are those of a string") {
    CHECK(fmt::format("[{:>10}]", tidefall::write_status::full) == "[      full]");
    CHECK(fmt::format("[{:*^8}]", tidefall::write_status::full) == "[**full**]");
    CHECK(fmt::format("[{:<{}}]", tidefall::write_status::full, 6) == "[full  ]");
    CHECK(fmt::format("{:.9}", tidefall::drain_report{}) == "processed");
    CHECK(fmt::format("[{:>60}]", tidefall::drain_report{}) ==
          "[    processed=0 failed=0 dropped=0 abandoned=0 complete=true]");
    CHECK_THROWS_AS(fmt::format(fmt::runtime("{:d}"), tidefall::write_status::full), fmt::format_error);
}

TEST_CASE("format: in a range enumerators are not quoted") {
    CHECK(text(std::vector{tidefall::write_status::full, tidefall::write_status::stale}) == "[full, stale]");
}

TEST_CASE("format: options, all of them in order") {
    CHECK(text(tidefall::options{.partitions = 4}) ==
          "name=tidefall partitions=4 processing_interval=5s processing_batch_size=10 processing_batch_weight=none "
          "max_in_flight=1 processing_timeout=60s timeout_action=wait drain_threshold=none drain_threshold_weight=none "
          "capacity=none capacity_weight=none total_capacity=none overflow=block overflow_timeout=60s "
          "shutdown_timeout=60s calls_at_destruction=wait unheard=say_once telemetry=none runtime=none");
    CHECK(text(tidefall::options{.name = "my events",
                                 .partitions = 1,
                                 .processing_interval = 1500us,
                                 .processing_batch_size = 512,
                                 .processing_timeout = std::chrono::nanoseconds::max(),
                                 .timeout_action = tidefall::timeout_action::abandon,
                                 .drain_threshold = 7,
                                 .capacity = 8,
                                 .overflow = tidefall::overflow_policy::drop_oldest,
                                 .overflow_timeout = 0s,
                                 .shutdown_timeout = 1ns,
                                 .calls_at_destruction = tidefall::destruction_action::leave,
                                 .unheard = tidefall::unheard_action::ignore,
                                 .telemetry = std::make_shared<tidefall::telemetry_hook>(),
                                 .runtime = tidefall::make_manual_runtime()}) ==
          "name=\"my events\" partitions=1 processing_interval=1500us processing_batch_size=512 "
          "processing_batch_weight=none max_in_flight=1 processing_timeout=never timeout_action=abandon "
          "drain_threshold=7 drain_threshold_weight=none capacity=8 capacity_weight=none total_capacity=none "
          "overflow=drop_oldest "
          "overflow_timeout=0s shutdown_timeout=1ns calls_at_destruction=leave unheard=ignore telemetry=set "
          "runtime=set");
    CHECK(text(tidefall::options_overlay{.calls_at_destruction = tidefall::destruction_action::leave,
                                         .unheard = tidefall::unheard_action::say_once}) ==
          "calls_at_destruction=leave unheard=say_once");
}

TEST_CASE("format: an update prints what it names") {
    CHECK(text(tidefall::options_update{}).empty());
    CHECK(text(tidefall::options_update{.processing_interval = 100ms, .capacity = std::optional<std::size_t>{}}) ==
          "processing_interval=100ms capacity=none");
    CHECK(text(tidefall::options_update{.processing_interval = 1s,
                                        .processing_batch_size = 2,
                                        .processing_timeout = 3s,
                                        .drain_threshold = 4,
                                        .capacity = 5,
                                        .overflow_timeout = 6s,
                                        .shutdown_timeout = 7s}) ==
          "processing_interval=1s processing_batch_size=2 processing_timeout=3s drain_threshold=4 capacity=5 "
          "overflow_timeout=6s shutdown_timeout=7s");
}

TEST_CASE("format: the options of a runtime") {
    CHECK(text(tidefall::runtime_options{.workers = 3, .thread_name = "ingest"}) == "workers=3 thread_name=ingest");
}

TEST_CASE("format: reports and statistics") {
    CHECK(text(tidefall::drain_report{.processed = 1, .failed = 2, .dropped = 3, .abandoned = 4, .complete = false}) ==
          "processed=1 failed=2 dropped=3 abandoned=4 complete=false");
    CHECK(text(tidefall::buffer_stats{.accepted = 1,
                                      .refused = 2,
                                      .coalesced = 3,
                                      .erased = 4,
                                      .processed = 5,
                                      .failed = 6,
                                      .dropped = 7,
                                      .abandoned = 8,
                                      .pending = 9,
                                      .in_flight = 10,
                                      .ticks = 11,
                                      .hook_failures = 18'446'744'073'709'551'615U}) ==
          "accepted=1 refused=2 coalesced=3 erased=4 processed=5 failed=6 dropped=7 abandoned=8 pending=9 "
          "in_flight=10 ticks=11 hook_failures=18446744073709551615");
    CHECK(text(tidefall::spill_report{
              .records = 1, .bytes = 2, .damaged_bytes = 3, .removed_bytes = 5, .torn_bytes = 4}) ==
          "records=1 bytes=2 damaged_bytes=3 removed_bytes=5 torn_bytes=4");
    CHECK(text(tidefall::spill_stats{
              .records = 1, .bytes = 2, .written = 3, .replayed = 4, .refused = 5, .undecodable = 6}) ==
          "records=1 bytes=2 written=3 replayed=4 refused=5 undecodable=6");
    CHECK(text(tidefall::batch_info{.buffer = "b",
                                    .partition = 1,
                                    .drain = 2,
                                    .index = 3,
                                    .attempt = 4,
                                    .remaining = 5,
                                    .trigger = tidefall::drain_trigger::flush,
                                    .swapped_at = std::chrono::steady_clock::time_point(1500ms),
                                    .stopping = true}) ==
          "buffer=b partition=1 drain=2 index=3 attempt=4 remaining=5 trigger=flush swapped_at=1500ms stopping=true");
}

TEST_CASE("format: of a real buffer") {
    auto const clock = tidefall::make_manual_runtime();
    std::string told;
    tidefall::queue<int> items(
        tests::one_partition(clock, 2), [](std::span<int>) { throw std::runtime_error("disk full"); },
        [&](std::span<int>, tidefall::failure const& why) { told = text(why); });
    items.push_range(std::vector{1, 2});
    CHECK(text(items.flush()) == "processed=0 failed=2 dropped=0 abandoned=0 complete=true");
    CHECK(told == "reason=exception error=\"disk full\" buffer=tidefall partition=0");
    items.stop();
    CHECK(text(items.push(1)) == "stopped");
    CHECK(text(items.stats()) ==
          "accepted=2 refused=1 coalesced=0 erased=0 processed=0 failed=2 dropped=0 abandoned=0 pending=0 "
          "in_flight=0 ticks=1 hook_failures=0");
}

TEST_CASE("format: a failure says what was thrown") {
    CHECK(text(tidefall::failure{.reason = tidefall::failure_reason::timeout, .buffer = "orders", .partition = 3}) ==
          "reason=timeout error=none buffer=orders partition=3");
    CHECK(text(tidefall::failure{.error = std::make_exception_ptr(std::logic_error("none")), .buffer = "orders"}) ==
          "reason=exception error=\"none\" buffer=orders partition=0");
    CHECK(text(tidefall::failure{.error = std::make_exception_ptr(42), .buffer = "orders"}) ==
          "reason=exception error=\"not a std::exception\" buffer=orders partition=0");
}

TEST_CASE("format: a text is quoted where it would not be told from what follows, and stays one line") {
    auto const named = [](std::string const& name) {
        return text(tidefall::items_dropped{.buffer = name, .partition = 1, .size = 2});
    };
    std::string const rest = " partition=1 reason=stopped size=2";
    CHECK(named("orders") == "buffer=orders" + rest);
    CHECK(named("a/b:c\\d,'\u00e9'") == "buffer=a/b:c\\d,'\u00e9'" + rest);
    CHECK(named("") == "buffer=\"\"" + rest);
    CHECK(named("a b") == "buffer=\"a b\"" + rest);
    CHECK(named("a=b") == "buffer=\"a=b\"" + rest);
    CHECK(named("a\"b\\c") == "buffer=\"a\\\"b\\\\c\"" + rest);
    CHECK(named("a\nb\rc\td") == "buffer=\"a\\nb\\rc\\td\"" + rest);
    CHECK(named(std::string("\0\x1b[31m\x7f", 7)) == "buffer=\"\\x00\\x1b[31m\\x7f\"" + rest);
}

TEST_CASE("format: events, with both their times") {
    auto const since_start = std::chrono::steady_clock::time_point(1500ms);
    CHECK(text(tidefall::partition_start{.buffer = "b", .partition = 1, .system_time = noon}) ==
          "buffer=b partition=1 system_time=2026-11-21T12:00:00.250000Z");
    CHECK(text(tidefall::partition_stop{
              .buffer = "b", .partition = 1, .duration = 8s, .reason = tidefall::stop_reason::deadline}) ==
          "buffer=b partition=1 duration=8s reason=deadline");
    CHECK(text(tidefall::processing_start{.buffer = "b",
                                          .partition = 1,
                                          .system_time = noon,
                                          .monotonic_time = since_start,
                                          .size = 3,
                                          .trigger = tidefall::drain_trigger::flush}) ==
          "buffer=b partition=1 system_time=2026-11-21T12:00:00.250000Z monotonic_time=1500ms size=3 trigger=flush");
    CHECK(text(tidefall::processing_stop{
              .buffer = "b", .partition = 1, .duration = 7ns, .monotonic_time = since_start, .size = 3}) ==
          "buffer=b partition=1 duration=7ns monotonic_time=1500ms size=3");
    CHECK(text(tidefall::processing_exception{.buffer = "b",
                                              .partition = 1,
                                              .duration = 7us,
                                              .monotonic_time = since_start,
                                              .error = std::make_exception_ptr(std::logic_error("full")),
                                              .message = "full",
                                              .size = 3}) ==
          "buffer=b partition=1 duration=7us monotonic_time=1500ms message=\"full\" size=3");
    CHECK(text(tidefall::processing_failed{.buffer = "b",
                                           .partition = 1,
                                           .system_time = noon,
                                           .reason = tidefall::failure_reason::timeout,
                                           .size = 3}) ==
          "buffer=b partition=1 system_time=2026-11-21T12:00:00.250000Z reason=timeout size=3");
    CHECK(text(tidefall::partition_stop{.buffer = "b", .partition = 1, .duration = 8s, .note = "deploy"}) ==
          "buffer=b partition=1 duration=8s reason=stopped note=\"deploy\"");
    CHECK(text(tidefall::batch_retried{.buffer = "b",
                                       .partition = 1,
                                       .system_time = noon,
                                       .error = std::make_exception_ptr(std::logic_error("busy")),
                                       .size = 3,
                                       .attempt = 2,
                                       .delay = 100ms}) ==
          "buffer=b partition=1 system_time=2026-11-21T12:00:00.250000Z size=3 attempt=2 delay=100ms error=\"busy\"");
    CHECK(text(tidefall::values_spilled{.buffer = "b", .partition = 1, .size = 3}) == "buffer=b partition=1 size=3");
    CHECK(text(tidefall::values_replayed{.buffer = "b", .partition = 1, .size = 3}) == "buffer=b partition=1 size=3");
    CHECK(text(tidefall::items_dropped{
              .buffer = "b", .partition = 1, .reason = tidefall::failure_reason::overflow, .size = 3}) ==
          "buffer=b partition=1 reason=overflow size=3");
    CHECK(text(tidefall::partition_full{.buffer = "b", .partition = 1, .system_time = noon, .size = 3}) ==
          "buffer=b partition=1 system_time=2026-11-21T12:00:00.250000Z size=3");
    CHECK(text(tidefall::partition_room{.buffer = "b", .partition = 1, .duration = 1500ms, .refused = 42}) ==
          "buffer=b partition=1 duration=1500ms refused=42");
}

TEST_CASE("format: a time is in UTC, whatever day it is") {
    auto const time = [](std::chrono::system_clock::time_point one) {
        std::string const all = text(tidefall::partition_start{.buffer = "b", .system_time = one});
        return all.substr(all.find("system_time=") + 12);
    };
    CHECK(time({}) == "1970-01-01T00:00:00.000000Z");
    CHECK(time(at(-1us)) == "1969-12-31T23:59:59.999999Z");
    CHECK(time(at(951'868'799s)) == "2000-02-29T23:59:59.000000Z");
    // The earliest and the latest of 64 bits of nanoseconds, where the clock counts those.
    using time_point = std::chrono::system_clock::time_point;
    if constexpr (std::is_same_v<time_point::duration, std::chrono::nanoseconds>) {
        CHECK(time(time_point::min()) == "1677-09-21T00:12:43.145224Z");
        CHECK(time(time_point::max()) == "2262-04-11T23:47:16.854775Z");
    }
}

TEST_CASE("format: an entry where its parts can be") {
    using tidefall::entry;
    STATIC_REQUIRE(fmt::is_formattable<entry<int, int>>::value);
    STATIC_REQUIRE_FALSE(fmt::is_formattable<entry<opaque, int>>::value);
    STATIC_REQUIRE_FALSE(fmt::is_formattable<entry<int, opaque>>::value);
    STATIC_REQUIRE_FALSE(fmt::is_formattable<entry<int, int, opaque>>::value);
    CHECK(text(entry<std::string, double>{"user-1", 2.5, 42, 3}) == "key=user-1 value=2.5 version=42 updates=3");
    CHECK(text(entry<std::string, double, void>{"user-1", 2.5}) == "key=user-1 value=2.5");
    CHECK(text(entry<std::string, point>{"user 1", {1, 2}, 42, 3}) ==
          "key=\"user 1\" value=\"x=1 y=2\" version=42 updates=3");
    CHECK(text(entry<int, std::string, colour>{1, "two\nlines", colour::green, 0}) ==
          "key=1 value=\"two\\nlines\" version=1 updates=0");
}
