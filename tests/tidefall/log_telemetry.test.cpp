// SPDX-License-Identifier: MIT
#include <tidefall/log_telemetry.hpp>

#include "../support/common.hpp"
#include "../support/latch.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using lines = std::vector<std::string>;
using tidefall::log_level;
using tidefall::make_log_telemetry;

namespace {

/// A file that is gone when it is closed.
class temporary_file {
public:
    temporary_file() : file_(std::tmpfile()) { REQUIRE(file_ != nullptr); }
    temporary_file(temporary_file const&) = delete;
    temporary_file& operator=(temporary_file const&) = delete;
    ~temporary_file() { std::fclose(file_); }

    [[nodiscard]] std::FILE* get() const { return file_; }

    [[nodiscard]] std::string text() const {
        std::string all;
        std::rewind(file_);
        for (int c = std::getc(file_); c != EOF; c = std::getc(file_)) all.push_back(static_cast<char>(c));
        return all;
    }

    /// Each ends with a newline, the last one too.
    [[nodiscard]] std::vector<std::string> lines() const {
        std::vector<std::string> all;
        std::string const held = text();
        for (std::size_t from = 0; from < held.size();) {
            auto const end = held.find('\n', from);
            REQUIRE(end != std::string::npos);
            all.push_back(held.substr(from, end - from));
            from = end + 1;
        }
        return all;
    }

private:
    std::FILE* file_;
};

/// Without the time before it, which is some time of these centuries in UTC.
std::string without_time(std::string const& line) {
    std::string const shape = "dddd-dd-ddTdd:dd:dd.ddddddZ ";
    bool fits = line.size() > shape.size();
    for (std::size_t i = 0; fits && i < shape.size(); ++i) {
        fits = shape[i] == 'd' ? line[i] >= '0' && line[i] <= '9' : line[i] == shape[i];
    }
    INFO(line);
    REQUIRE(fits);
    return line.substr(shape.size());
}

lines without_times(lines all) {
    for (auto& line : all) line = without_time(line);
    return all;
}

/// Emits one event of each kind, and of each level that a kind has.
void emit_all(tidefall::telemetry_hook& hook) {
    using namespace tidefall;
    hook.on_partition_start({.buffer = "b", .partition = 1});
    hook.on_processing_start({.buffer = "b", .partition = 1, .size = 3, .trigger = drain_trigger::threshold});
    hook.on_processing_exception({.buffer = "b", .partition = 1, .duration = 2ms, .message = "full", .size = 3});
    hook.on_processing_failed({.buffer = "b", .partition = 1, .reason = failure_reason::exception, .size = 3});
    hook.on_processing_failed({.buffer = "b", .partition = 1, .reason = failure_reason::timeout, .size = 3});
    hook.on_processing_stop({.buffer = "b", .partition = 1, .duration = 2ms, .size = 3});
    hook.on_processing_failed({.buffer = "b", .partition = 1, .reason = failure_reason::rejected, .size = 3});
    hook.on_batch_retried({.buffer = "b",
                           .partition = 1,
                           .error = std::make_exception_ptr(std::runtime_error("busy")),
                           .size = 3,
                           .attempt = 2,
                           .delay = 200ms});
    hook.on_values_spilled({.buffer = "b", .partition = 1, .size = 3});
    hook.on_values_replayed({.buffer = "b", .partition = 1, .size = 3});
    hook.on_items_dropped({.buffer = "b", .partition = 1, .reason = failure_reason::overflow, .size = 4});
    hook.on_items_dropped({.buffer = "b", .partition = 1, .reason = failure_reason::stopped, .size = 4});
    hook.on_partition_full({.buffer = "b", .partition = 1, .size = 100});
    hook.on_partition_room({.buffer = "b", .partition = 1, .duration = 50ms, .refused = 0});
    hook.on_partition_room({.buffer = "b", .partition = 1, .duration = 50ms, .refused = 9'600});
    hook.on_partition_stop({.buffer = "b", .partition = 1, .duration = 5s, .reason = stop_reason::stopped});
    hook.on_partition_stop({.buffer = "b", .partition = 1, .duration = 5s, .reason = stop_reason::deadline});
}

lines const every_event = {"info partition_start buffer=b partition=1",
                           "debug processing_start buffer=b partition=1 size=3 trigger=threshold",
                           "error processing_exception buffer=b partition=1 duration=2ms message=\"full\" size=3",
                           "error processing_failed buffer=b partition=1 reason=exception size=3",
                           "error processing_failed buffer=b partition=1 reason=timeout size=3",
                           "debug processing_stop buffer=b partition=1 duration=2ms size=3",
                           "error processing_failed buffer=b partition=1 reason=rejected size=3",
                           "warning batch_retried buffer=b partition=1 size=3 attempt=2 delay=200ms error=\"busy\"",
                           "warning values_spilled buffer=b partition=1 size=3",
                           "info values_replayed buffer=b partition=1 size=3",
                           "warning items_dropped buffer=b partition=1 reason=overflow size=4",
                           "error items_dropped buffer=b partition=1 reason=stopped size=4",
                           "warning partition_full buffer=b partition=1 size=100",
                           "info partition_room buffer=b partition=1 duration=50ms refused=0",
                           "warning partition_room buffer=b partition=1 duration=50ms refused=9600",
                           "info partition_stop buffer=b partition=1 duration=5s reason=stopped",
                           "warning partition_stop buffer=b partition=1 duration=5s reason=deadline"};

/// Those of `every_event` that are of this level or above.
lines from_level(std::vector<std::string> const& levels) {
    lines kept;
    for (auto const& line : every_event) {
        auto const level = line.substr(0, line.find(' '));
        if (std::find(levels.begin(), levels.end(), level) != levels.end()) kept.push_back(line);
    }
    return kept;
}

}  // namespace

TEST_CASE("log_telemetry: every event is a line of its level") {
    temporary_file const file;
    emit_all(*make_log_telemetry(file.get(), {.level = log_level::debug}));
    CHECK(without_times(file.lines()) == every_event);
}

TEST_CASE("log_telemetry: what is below the least level is not written") {
    auto const written = [](tidefall::log_telemetry_options how) {
        temporary_file const file;
        emit_all(*make_log_telemetry(file.get(), how));
        return without_times(file.lines());
    };
    CHECK(written({}) == from_level({"info", "warning", "error"}));
    CHECK(written({.level = log_level::info}) == from_level({"info", "warning", "error"}));
    CHECK(written({.level = log_level::warning}) == from_level({"warning", "error"}));
    CHECK(written({.level = log_level::error}) == from_level({"error"}));
    CHECK(written({.level = log_level::off}).empty());
}

TEST_CASE("log_telemetry: the time is the event's, or else that of the line") {
    temporary_file const file;
    auto const hook = make_log_telemetry(file.get(), {.level = log_level::debug});
    std::chrono::system_clock::time_point const leap_day(std::chrono::seconds(951'868'799));
    hook->on_partition_start({.buffer = "b", .system_time = leap_day});
    hook->on_processing_start({.buffer = "b", .system_time = leap_day});
    hook->on_processing_failed({.buffer = "b", .system_time = leap_day});
    hook->on_partition_full({.buffer = "b", .system_time = leap_day});
    auto const before = std::chrono::system_clock::now();
    hook->on_processing_stop({.buffer = "b"});
    auto const after = std::chrono::system_clock::now();
    auto const all = file.lines();
    REQUIRE(all.size() == 5);
    CHECK(all[0] == "2000-02-29T23:59:59.000000Z info partition_start buffer=b partition=0");
    CHECK(all[1].substr(0, 28) == "2000-02-29T23:59:59.000000Z ");
    CHECK(all[2].substr(0, 28) == "2000-02-29T23:59:59.000000Z ");
    CHECK(all[3] == "2000-02-29T23:59:59.000000Z warning partition_full buffer=b partition=0 size=0");
    // Such times sort as texts. A wall clock may be set meanwhile.
    auto const time = [](std::chrono::system_clock::time_point one) {
        auto const event = fmt::format("{}", tidefall::partition_start{.buffer = "b", .system_time = one});
        return event.substr(event.find("system_time=") + 12);
    };
    CHECK(time(before - 1h) <= all[4].substr(0, 27));
    CHECK(all[4].substr(0, 27) <= time(after + 1h));
}

TEST_CASE("log_telemetry: a real buffer's life") {
    auto const clock = tidefall::make_manual_runtime();
    temporary_file const file;
    {
        int calls = 0;
        tidefall::queue<int> items({.name = "my orders",
                                    .partitions = 1,
                                    .processing_batch_size = 2,
                                    .telemetry = make_log_telemetry(file.get(), {.level = log_level::debug}),
                                    .runtime = clock},
                                   [&](std::span<int>) {
                                       if (++calls != 2) return;
                                       clock->advance(3s);
                                       throw std::runtime_error("disk\nfull");
                                   });
        items.push_range(std::vector{1, 2, 3});
        clock->advance(5s);
        items.push(4);
        items.stop(0s);
        CHECK(items.stats().hook_failures == 0);
    }
    CHECK(
        without_times(file.lines()) ==
        lines{"info partition_start buffer=\"my orders\" partition=0",
              "debug processing_start buffer=\"my orders\" partition=0 size=3 trigger=interval",
              "error processing_exception buffer=\"my orders\" partition=0 duration=3s message=\"disk\\nfull\" size=1",
              "error processing_failed buffer=\"my orders\" partition=0 reason=exception size=1",
              "debug processing_stop buffer=\"my orders\" partition=0 duration=3s size=3",
              "error items_dropped buffer=\"my orders\" partition=0 reason=stopped size=1",
              "warning partition_stop buffer=\"my orders\" partition=0 duration=8s reason=deadline"});
}

TEST_CASE("log_telemetry: a writer that ignores what it is answered is heard of at level info") {
    auto const clock = tidefall::make_manual_runtime();
    temporary_file const file;
    {
        tidefall::queue<int> spans({.name = "spans",
                                    .partitions = 1,
                                    .processing_batch_size = 100,
                                    .capacity = 100,
                                    .overflow = tidefall::overflow_policy::reject,
                                    .telemetry = make_log_telemetry(file.get(), {.level = log_level::info}),
                                    .runtime = clock},
                                   [&](std::span<int>) { clock->advance(50ms); });
        for (int i = 0; i < 10'000; ++i) {
            spans.push(i);
            if (i % 2'500 == 2'499) clock->advance(1ms);
        }
        spans.stop();
        CHECK(spans.stats().refused == 9'600);
        CHECK(spans.stats().hook_failures == 0);
    }
    lines told = {"info partition_start buffer=spans partition=0"};
    for (int drain = 0; drain < 4; ++drain) {
        told.emplace_back("warning partition_full buffer=spans partition=0 size=100");
        told.emplace_back("warning partition_room buffer=spans partition=0 duration=0s refused=2400");
    }
    told.emplace_back("info partition_stop buffer=spans partition=0 duration=200ms reason=stopped");
    CHECK(without_times(file.lines()) == told);
}

TEST_CASE("log_telemetry: a logger gets the level and what stands after it") {
    std::vector<std::pair<log_level, std::string>> told;
    auto const hook = make_log_telemetry(
        [&](log_level level, std::string_view text) { told.emplace_back(level, text); }, {.level = log_level::debug});
    emit_all(*hook);
    REQUIRE(told.size() == every_event.size());
    for (std::size_t i = 0; i < told.size(); ++i) {
        CHECK(fmt::format("{} {}", told[i].first, told[i].second) == every_event[i]);
    }
}

TEST_CASE("log_telemetry: a function of a text alone gets the whole line, without its end") {
    lines told;
    emit_all(*make_log_telemetry([&](std::string_view line) { told.emplace_back(line); }));
    CHECK(without_times(told) == from_level({"info", "warning", "error"}));
}

TEST_CASE("log_telemetry: a function that takes either, is only movable, or is named by reference") {
    struct either {
        int with_level = 0;
        int lines = 0;
        void operator()(log_level, std::string_view) { ++with_level; }
        void operator()(std::string_view) { ++lines; }
    } counts;
    make_log_telemetry(std::ref(counts))->on_partition_start({});
    CHECK(counts.with_level == 1);
    CHECK(counts.lines == 0);
    auto const count = std::make_shared<int>(0);
    make_log_telemetry([own = std::make_unique<int>(1), count](std::string_view) {
        *count += *own;
    })->on_partition_start({});
    CHECK(*count == 1);
}

TEST_CASE("log_telemetry: what a sink throws is counted, and the next event is told") {
    auto const clock = tidefall::make_manual_runtime();
    int told = 0;
    auto const sink = [&](std::string_view) {
        if (++told == 1) throw std::runtime_error("no space");
    };
    tidefall::queue<int> items({.partitions = 1, .telemetry = make_log_telemetry(sink), .runtime = clock},
                               [](std::span<int>) {});
    items.stop();
    CHECK(told == 2);
    CHECK(items.stats().hook_failures == 1);
}

#if defined(__linux__)
TEST_CASE("log_telemetry: a line that cannot be written is counted") {
    auto const clock = tidefall::make_manual_runtime();
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> const full(std::fopen("/dev/full", "w"), &std::fclose);
    REQUIRE(full != nullptr);
    REQUIRE(std::setvbuf(full.get(), nullptr, _IONBF, 0) == 0);
    auto const hook = make_log_telemetry(full.get());
    tidefall::queue<int> items({.partitions = 1, .telemetry = hook, .runtime = clock}, [](std::span<int>) {});
    items.stop();
    CHECK(items.stats().hook_failures == 2);
    try {
        hook->on_partition_start({});
        FAIL("it was written");
    } catch (std::system_error const& error) {
        CHECK(error.code() == std::errc::no_space_on_device);
    }
}
#endif

TEST_CASE("log_telemetry: what cannot be written to is refused at once") {
    using tests::ContainsSubstring;
    CHECK_THROWS_AS(make_log_telemetry(static_cast<std::FILE*>(nullptr)), std::invalid_argument);
    CHECK_THROWS_WITH(make_log_telemetry(static_cast<std::FILE*>(nullptr)),
                      ContainsSubstring("the file of make_log_telemetry is null"));
    CHECK_THROWS_AS(make_log_telemetry(std::function<void(std::string_view)>{}), std::invalid_argument);
    CHECK_THROWS_WITH(make_log_telemetry(std::function<void(log_level, std::string_view)>{}),
                      ContainsSubstring("the sink of the log is empty"));
    CHECK_THROWS_AS(make_log_telemetry(static_cast<void (*)(std::string_view)>(nullptr)), std::invalid_argument);
    CHECK_THROWS_AS(make_log_telemetry(stderr, {.level = static_cast<log_level>(5)}), std::invalid_argument);
    CHECK_THROWS_WITH(make_log_telemetry(stderr, {.level = static_cast<log_level>(5)}),
                      ContainsSubstring("is 5, but must be debug, info, warning, error or off"));
}

TEST_CASE("log_telemetry: every level has its name") {
    CHECK(fmt::format("{} {} {} {:>6} {}", log_level::debug, log_level::info, log_level::warning, log_level::error,
                      log_level::off) == "debug info warning  error off");
}

TEST_CASE("log_telemetry: lines of several threads to one file do not mix, and none is missing") {
    constexpr int threads = 4;
    constexpr int each = 500;
    for (int const mode : {_IOFBF, _IOLBF, _IONBF}) {
        temporary_file const file;
        REQUIRE(std::setvbuf(file.get(), nullptr, mode, 4096) == 0);
        // Two hooks on one file, as two buffers may have; long lines, which fill the stream's buffer at any place.
        std::array const hooks = {make_log_telemetry(file.get()), make_log_telemetry(file.get())};
        tests::latch start;
        std::vector<std::thread> writers;
        for (int thread = 0; thread < threads; ++thread) {
            writers.emplace_back([&, thread] {
                std::string const name(200 + static_cast<std::size_t>(thread) * 97, static_cast<char>('a' + thread));
                start.wait();
                for (int i = 0; i < each; ++i) {
                    hooks[static_cast<std::size_t>(i % 2)]->on_items_dropped(
                        {.buffer = name, .partition = static_cast<std::size_t>(thread), .size = 1});
                }
            });
        }
        start.open();
        for (auto& writer : writers) writer.join();
        std::array<int, threads> seen{};
        for (auto const& line : file.lines()) {
            int const thread = line.at(line.find("buffer=") + 7) - 'a';
            REQUIRE((thread >= 0 && thread < threads));
            std::string const name(200 + static_cast<std::size_t>(thread) * 97, static_cast<char>('a' + thread));
            REQUIRE(without_time(line) ==
                    fmt::format("error items_dropped buffer={} partition={} reason=stopped size=1", name, thread));
            ++seen[static_cast<std::size_t>(thread)];
        }
        CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == each; }));
    }
}

TEST_CASE("log_telemetry: buffers on their own threads to one file") {
    temporary_file const file;
    {
        auto const hook = make_log_telemetry(file.get(), {.level = log_level::debug});
        auto const threads = tidefall::make_runtime({.workers = 4});
        auto const options = [&](char const* name) {
            return tidefall::options{.name = name, .partitions = 4, .telemetry = hook, .runtime = threads};
        };
        tidefall::queue<int> first(options("first"), [](std::span<int>) {});
        tidefall::queue<int> second(options("second"), [](std::span<int>) { throw std::runtime_error("no"); });
        for (int round = 0; round < 20; ++round) {
            for (int i = 0; i < 40; ++i) {
                first.push(i, tidefall::partition_key{i});
                second.push(i, tidefall::partition_key{i});
            }
            first.flush();
            second.flush();
        }
        CHECK(first.stats().hook_failures + second.stats().hook_failures == 0);
    }
    auto const all = without_times(file.lines());
    auto const count = [&](std::string const& start) {
        return std::count_if(all.begin(), all.end(), [&](auto const& line) { return line.rfind(start, 0) == 0; });
    };
    CHECK(count("info partition_start buffer=first ") == 4);
    CHECK(count("info partition_stop buffer=second ") == 4);
    CHECK(count("debug processing_start buffer=first ") >= 20);
    CHECK(count("debug processing_start ") == count("debug processing_stop "));
    CHECK(count("error processing_exception buffer=second ") >= 20);
    CHECK(count("error processing_exception ") == count("error processing_failed "));
    CHECK(count("debug ") + count("info ") + count("error ") == static_cast<std::ptrdiff_t>(all.size()));
}
