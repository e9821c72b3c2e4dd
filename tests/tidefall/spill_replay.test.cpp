// SPDX-License-Identifier: MIT
//
// open_spill: nothing is undelivered but what the file cannot take, and what the file holds goes back.
#include "../support/common.hpp"
#include "../support/files.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/standard_error.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include <csignal>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using tests::bytes_of;
using tests::ContainsSubstring;
using tests::event_log;
using tests::latch;
using tests::numbers;
using tests::one_partition;
using tests::returns;
using tests::temporary_directory;
using tidefall::batch_info;
using tidefall::batch_result;
using tidefall::open_spill;
using tidefall::spill_stats;
using tidefall::with_retry;
using tidefall::with_spill;
using items_queue = tidefall::queue<int>;

namespace {

std::string encode(int value) {
    return std::to_string(value);
}
int decode(std::string_view record) {
    return std::stoi(std::string(record));
}

std::vector<int> in_file(fs::path const& path) {
    std::vector<int> all;
    tidefall::read_spill(path, [&](std::string_view record) { all.push_back(decode(record)); });
    return all;
}

/// A sink that is away for a time.
struct sink {
    std::vector<int> stored = {};
    std::vector<std::string> calls = {};
    bool away = false;

    void operator()(std::span<int const> batch, batch_info const& info) {
        if (info.drain == 0) CHECK((info.index == 0 && info.attempt == 1));
        calls.push_back(std::to_string(info.drain) + ":" + std::to_string(batch.size()));
        if (away) throw std::runtime_error("away");
        stored.insert(stored.end(), batch.begin(), batch.end());
    }
};

std::vector<int> sorted(std::vector<int> all) {
    std::sort(all.begin(), all.end());
    return all;
}

}  // namespace

TEST_CASE("spill: what no attempt delivers while a program ends is in the file, once") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const spill = open_spill<int>(path, encode);
    auto const clock = tidefall::make_manual_runtime();
    sink away{.away = true};
    {
        items_queue items(one_partition(clock), with_spill(with_retry(std::ref(away), {.attempts = 5}), spill),
                          spill->undelivered());
        items.push_range(numbers(0, 95));
        items.flush();
        CHECK(items.stop().processed == 95);
    }
    CHECK(in_file(path) == numbers(0, 95));
    CHECK(spill->stats() == spill_stats{.records = 95, .bytes = 95 * 12 + 10 + 85 * 2, .written = 95});
}

TEST_CASE("spill: what a deadline drops, what timed out and what made room is in the file, once") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const spill = open_spill<int>(path, encode);
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock, 2);
    auto const log = std::make_shared<event_log>();
    how.telemetry = log;
    SECTION("the deadline") {
        items_queue items(how, with_spill(with_retry([](std::span<int const>) { throw 1; }, {.attempts = 5}), spill),
                          spill->undelivered());
        items.push_range(numbers(0, 6));
        items.flush();
        items.push(6);
        CHECK(items.stop(0s).dropped == 7);
        CHECK(in_file(path) == numbers(0, 7));
    }
    SECTION("a timeout, before with_spill would write") {
        how.processing_timeout = 1s;
        int calls = 0;
        items_queue items(how,
                          with_spill(
                              [&](std::span<int const>) {
                                  if (++calls == 2) clock->advance(1s);
                                  throw std::runtime_error("away");
                              },
                              spill),
                          spill->undelivered());
        items.push_range(numbers(0, 6));
        auto const report = items.stop();
        CHECK(report.processed == 4);
        CHECK(report.failed == 2);
        CHECK(sorted(in_file(path)) == numbers(0, 6));
    }
    SECTION("a timeout while with_spill writes: it is none") {
        how.processing_timeout = 1s;
        auto const slow =
            open_spill<int>(directory / "slow", [&](int value) { return clock->advance(1h), encode(value); });
        items_queue items(how, with_spill([](std::span<int const>) { throw 1; }, slow), slow->undelivered());
        items.push_range(numbers(0, 2));
        CHECK(items.stop().processed == 2);
        CHECK(in_file(directory / "slow") == numbers(0, 2));
    }
    SECTION("room for newer ones") {
        how.capacity = 3;
        how.overflow = tidefall::overflow_policy::drop_oldest;
        std::vector<int> delivered;
        auto const keep = [&](std::span<int const> batch) {
            delivered.insert(delivered.end(), batch.begin(), batch.end());
        };
        items_queue items(how, with_spill(keep, spill), spill->undelivered());
        for (int i = 0; i < 5; ++i) items.push(i);
        CHECK(items.stop().processed == 3);
        CHECK(in_file(path) == numbers(0, 2));
        CHECK(delivered == numbers(2, 5));
    }
    auto const s = spill->stats();
    CHECK(s.refused == 0);
    CHECK(fs::exists(path));
}

TEST_CASE("spill: after a call that took too long, and went through all the same, nothing goes back") {
    temporary_directory const directory;
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    sink to{.away = true};
    auto const spill = open_spill<int>(directory / "spill", encode, decode);
    auto how = one_partition(clock, 100);
    how.processing_timeout = 1s;
    how.telemetry = log;
    bool is_slow = false;
    items_queue items(how,
                      with_spill(
                          [&](std::span<int const> batch, batch_info const& info) {
                              if (is_slow) clock->advance(1s);
                              to(batch, info);
                          },
                          spill),
                      [](std::span<int>, tidefall::failure const&) {});
    items.push(1);
    items.flush();
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "values_spilled 0 1") == 1);
    to.away = false;
    is_slow = true;
    to.calls.clear();
    items.push(2);
    items.flush();
    CHECK(to.calls == std::vector<std::string>{"2:1"});
    is_slow = false;
    items.push(3);
    items.flush();
    CHECK(to.calls == std::vector<std::string>{"2:1", "3:1", "0:1"});
    CHECK(to.stored == std::vector{2, 3, 1});
}

TEST_CASE("spill: once a stop's deadline has passed in a call that went through, nothing goes back") {
    temporary_directory const directory;
    auto const clock = tidefall::make_manual_runtime();
    sink to{.away = true};
    auto const spill = open_spill<int>(directory / "spill", encode, decode);
    bool is_slow = false;
    items_queue items(one_partition(clock, 100),
                      with_spill(
                          [&](std::span<int const> batch, batch_info const& info) {
                              if (is_slow) clock->advance(2s);
                              to(batch, info);
                          },
                          spill),
                      spill->undelivered());
    items.push(1);
    items.flush();
    to.away = false;
    is_slow = true;
    to.calls.clear();
    items.push(2);
    CHECK(items.stop(1s).processed == 1);
    CHECK(to.calls == std::vector<std::string>{"2:1"});
    CHECK(in_file(directory / "spill") == std::vector{1});
}

TEST_CASE("spill: what the file holds goes back, a batch of it after each that went through") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    sink to{.away = true};
    auto const spill = open_spill<int>(path, encode, decode);
    auto how = one_partition(clock, 100);
    how.telemetry = log;
    items_queue items(how, with_spill(std::ref(to), spill), spill->undelivered());
    items.push_range(numbers(0, 150));
    items.flush();
    CHECK(spill->stats().records == 150);
    log->clear();
    to.away = false;
    to.calls.clear();
    items.push_range(numbers(150, 350));
    CHECK(items.flush() == tidefall::drain_report{.processed = 200});
    // As many as the batch before it, and whatever batch that is.
    CHECK(to.calls == std::vector<std::string>{"2:100", "0:100", "2:100", "0:50"});
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 200 flush", "values_replayed 0 100",
                                                   "values_replayed 0 50", "processing_stop 0 200"});
    CHECK(sorted(to.stored) == numbers(0, 350));
    CHECK(spill->stats() == spill_stats{.written = 150, .replayed = 150});
    CHECK(bytes_of(path).size() == 8);
    items.push(350);
    items.flush();
    CHECK(to.calls.back() == "3:1");  // nothing follows it
}

TEST_CASE("spill: what an earlier run left goes back, 64 records at least at once") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    sink to{.away = true};
    {
        items_queue items(one_partition(clock), with_spill(std::ref(to), path, encode));
        items.push_range(numbers(0, 100));
        items.stop();
    }
    to.away = false;
    to.calls.clear();
    auto const spill = open_spill<int>(path, encode, decode, {.sync = false});
    CHECK(spill->stats().records == 100);
    items_queue items(one_partition(clock), with_spill(std::ref(to), spill), spill->undelivered());
    items.push(100);
    items.stop();
    CHECK(to.calls == std::vector<std::string>{"1:1", "0:64"});
    CHECK(spill->stats().records == 36);
}

TEST_CASE("spill: the batch has its outcome before what follows it, which has a timeout of its own") {
    temporary_directory const directory;
    auto const clock = tidefall::make_manual_runtime();
    auto const spill = open_spill<int>(directory / "spill", encode, decode);
    auto how = one_partition(clock);
    how.processing_timeout = 10s;
    int calls = 0;
    std::vector<std::uint64_t> processed;
    returns<int> back;
    items_queue* running = nullptr;
    items_queue items(how,
                      with_spill(
                          [&](std::span<int const>, batch_info const& info, std::stop_token const& token) {
                              if (++calls == 1) throw std::runtime_error("away");
                              processed.push_back(running->stats().processed);
                              clock->advance(info.drain == 0 && calls < 4 ? 10s : 9s);
                              CHECK(token.stop_requested() == (calls == 3));
                          },
                          spill),
                      back);
    running = &items;
    items.push(1);
    items.flush();
    items.push(2);
    CHECK(items.flush() == tidefall::drain_report{.processed = 1});
    CHECK(processed == std::vector<std::uint64_t>{1, 2});
    CHECK(spill->stats().records == 1);  // it timed out, and stays
    items.push(3);
    items.flush();
    CHECK(spill->stats() == spill_stats{.written = 1, .replayed = 1});
    CHECK(items.stats().failed == 0);
    CHECK(back.all().empty());
}

TEST_CASE("spill: what is offered of the file stays in it, whatever the processor does but take it") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    auto const spill = open_spill<int>(path, encode, decode);
    std::string mode = "away";
    std::vector<int> stored;
    items_queue items(one_partition(clock), with_spill(
                                                [&](std::span<int const> batch, batch_info const& info) {
                                                    batch_result result;
                                                    if (mode == "away" || (info.drain == 0 && mode == "throw"))
                                                        throw std::runtime_error(mode);
                                                    if (info.drain == 0 && mode == "retry") {
                                                        result.reject_from(0);
                                                        return result.retry_after(1s);
                                                    }
                                                    if (info.drain == 0 && mode == "beyond") result.reject(1000);
                                                    if (info.drain == 0 && mode == "part") result.reject(1);
                                                    stored.insert(stored.end(), batch.begin(), batch.end());
                                                    return result;
                                                },
                                                spill));
    items.push_range(numbers(0, 3));
    items.flush();
    for (auto const* const one : {"throw", "retry", "beyond"}) {
        mode = one;
        items.push(10);
        CHECK(items.flush() == tidefall::drain_report{.processed = 1});
        CHECK(in_file(path) == numbers(0, 3));
    }
    mode = "part";
    items.push(10);
    items.flush();
    CHECK(in_file(path) == std::vector{1});
    mode = "";
    items.push(10);
    items.flush();
    CHECK(in_file(path).empty());
    CHECK(spill->stats().replayed == 3);
}

TEST_CASE("spill: what is refused for good is spilled, what is to be offered again is not") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    auto const spill = open_spill<int>(path, encode);
    auto how = one_partition(clock);
    how.processing_interval = 1s;
    std::vector<std::vector<int>> seen;
    items_queue items(how, with_spill(
                               [&](std::span<int const> batch, batch_info const& info) {
                                   seen.emplace_back(batch.begin(), batch.end());
                                   batch_result result;
                                   if (seen.size() > 1 && !info.stopping) return result;
                                   result.refuse(1);
                                   result.reject_from(3);
                                   return result.retry_after(1s);
                               },
                               spill));
    items.push_range(numbers(0, 5));
    clock->advance(1s);
    CHECK(in_file(path) == std::vector{1});
    CHECK(items.stats().processed == 3);  // what is in the file counts as processed
    clock->advance(1s);
    CHECK(seen == std::vector<std::vector<int>>{{0, 1, 2, 3, 4}, {3, 4}});
    items.push_range(numbers(10, 15));
    CHECK(items.stop().processed == 5);
    CHECK(in_file(path) == std::vector{1, 11, 13, 14});
}

TEST_CASE("spill: replay does it by hand, until nothing is taken any more") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const spill = open_spill<int>(path, encode, decode);
    auto const keep = spill->undelivered();
    auto values = numbers(0, 10);
    keep(values, {});
    std::vector<std::size_t> sizes;
    std::vector<int> got;
    auto const take = [&](std::span<int const> batch) {
        sizes.push_back(batch.size());
        got.insert(got.end(), batch.begin(), batch.end());
    };
    SECTION("all") {
        CHECK(spill->replay(take, 4) == 10);
        CHECK(sizes == std::vector<std::size_t>{4, 4, 2});
        CHECK(got == values);
        CHECK(spill->replay(take) == 0);
        CHECK(spill->replay(take, 0) == 0);
    }
    SECTION("until it throws") {
        CHECK_THROWS_WITH(spill->replay(
                              [&](std::span<int const> batch) {
                                  if (batch[0] == 4) throw std::runtime_error("away");
                                  take(batch);
                              },
                              4),
                          "away");
        CHECK(in_file(path) == numbers(4, 10));
        CHECK(spill->replay(take) == 6);
        CHECK(got == values);
    }
    SECTION("what is rejected stays") {
        auto const odd = [&](std::span<int const> batch, batch_info const&, std::stop_token const&) {
            batch_result result;
            for (std::size_t i = 0; i < batch.size(); ++i) {
                if (batch[i] % 2 == 1) result.reject(i);
            }
            return result;
        };
        CHECK(spill->replay(odd, 4) == 5);
        CHECK(sorted(in_file(path)) == std::vector{1, 3, 5, 7, 9});
        CHECK(spill->replay(odd, 4) == 0);
        CHECK(spill->replay(take) == 5);
    }
    SECTION("not from inside") {
        CHECK(spill->replay([&](std::span<int const>) { CHECK(spill->replay(take) == 0); }) == 10);
    }
}

TEST_CASE("spill: what an earlier run removed leaves its room to the next one") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    constexpr std::uint64_t most = 8 + 20 * 14;  // twenty records of two digits
    auto const open = [&] { return open_spill<int>(path, encode, decode, {.sync = false, .max_bytes = most}); };
    auto values = numbers(10, 30);
    {
        auto const spill = open();
        spill->undelivered()(values, {});
        int calls = 0;
        CHECK_THROWS_AS(spill->replay(
                            [&](std::span<int const>) {
                                if (++calls == 2) throw 1;
                            },
                            15),
                        int);
    }
    CHECK(in_file(path) == numbers(25, 30));
    auto const spill = open();
    auto more = numbers(30, 40);
    CHECK_NOTHROW(spill->undelivered()(more, {}));
    CHECK(in_file(path) == numbers(25, 40));
    CHECK(fs::file_size(path) <= most);
}

TEST_CASE("spill: a replay ends where what it delivered cannot leave the file") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const spill = open_spill<int>(path, encode, decode, {.sync = false});
    auto values = numbers(0, 10);
    spill->undelivered()(values, {});
    // A limit of this process stands for a disk that is full.
    auto const previous = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    auto full = limit;
    full.rlim_cur = static_cast<rlim_t>(fs::file_size(path));
    REQUIRE(setrlimit(RLIMIT_FSIZE, &full) == 0);
    int calls = 0;
    auto const replayed = spill->replay(
        [&](std::span<int const>) {
            ++calls;
            batch_result result;
            result.reject(0);
            return result;
        },
        2);
    setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, previous);
    CHECK(calls == 1);
    CHECK(replayed == 0);
    CHECK(in_file(path) == values);
}

TEST_CASE("spill: what a call rejects that a deadline has overtaken is written, and not offered again") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    latch called;
    {
        items_queue items({.partitions = 1, .processing_interval = 1ms},
                          with_spill(
                              [&](std::span<int const>, batch_info const& info, std::stop_token const& token) {
                                  CHECK_FALSE(info.stopping);
                                  called.open();
                                  tests::until([&] { return token.stop_requested(); });
                                  batch_result result;
                                  result.reject(0);
                                  return result.retry_after(1h);
                              },
                              path, encode));
        items.push(1);
        called.wait();
        items.stop(0s);
    }
    CHECK(in_file(path) == std::vector{1});
}

TEST_CASE("spill: without a decode nothing goes back") {
    temporary_directory const directory;
    auto const spill = open_spill<int>(directory / "spill", encode, {.sync = false});
    std::vector<int> one{1};
    spill->undelivered()(one, {});
    CHECK_THROWS_AS(spill->replay([](std::span<int const>) {}), std::logic_error);
    CHECK_THROWS_WITH(spill->replay([](std::span<int const>) {}), ContainsSubstring("was opened without a decode"));
    int calls = 0;
    items_queue items(one_partition(tidefall::make_manual_runtime()),
                      with_spill([&](std::span<int const>) { ++calls; }, spill));
    items.push(2);
    items.stop();
    CHECK(calls == 1);
}

TEST_CASE("spill: values that are refused do not keep back those behind them") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const spill = open_spill<int>(path, encode, decode);
    auto values = numbers(0, 100);
    spill->undelivered()(values, {});
    std::vector<int> taken;
    auto const poisoned = [&](std::span<int const> batch) {
        batch_result result;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (batch[i] < 30) {
                result.refuse(i);
            } else {
                taken.push_back(batch[i]);
            }
        }
        return result;
    };
    CHECK(spill->replay(poisoned, 10) == 0);  // it ends where nothing is taken, but they go behind the others
    CHECK(spill->replay(poisoned, 10) == 0);
    CHECK(spill->replay(poisoned, 10) == 0);
    CHECK(spill->replay(poisoned, 10) == 70);
    CHECK(taken == numbers(30, 100));
    CHECK(sorted(in_file(path)) == numbers(0, 30));
    CHECK(spill->stats().records == 30);
}

TEST_CASE("spill: a record that cannot be decoded is set aside, and told") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    {
        auto const old = open_spill<std::string>(path, [](std::string const& text) { return text; });
        std::vector<std::string> texts{"1", "two", "3", "four"};
        old->undelivered()(texts, {});
    }
    sink to;
    std::string said;
    {
        auto const spill = open_spill<int>(path, encode, decode);
        tests::standard_error const heard;
        items_queue items(one_partition(clock), with_spill(std::ref(to), spill));
        items.push(10);
        items.flush();
        said = heard.text();
        CHECK(spill->stats() == spill_stats{.replayed = 2, .undecodable = 2});
        items.push(11);
        items.flush();
    }
    CHECK(to.stored == std::vector{10, 1, 3, 11});
    CHECK_THAT(said, ContainsSubstring("decode threw"));
    CHECK_THAT(said, ContainsSubstring("spill.undecodable"));
    std::vector<std::string> aside;
    tidefall::read_spill(directory / "spill.undecodable", [&](std::string_view one) { aside.emplace_back(one); });
    CHECK(aside == std::vector<std::string>{"two", "four"});
    CHECK(in_file(path).empty());
}

TEST_CASE("spill: the file is never larger than it may be, and what does not fit has failed") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    auto const clock = tidefall::make_manual_runtime();
    constexpr std::uint64_t most = 8 + 10 * 13;  // ten records of a digit
    auto const spill = open_spill<int>(path, encode, decode, {.max_bytes = most});
    sink to{.away = true};
    returns<int> back;
    tests::standard_error const heard;
    items_queue items(one_partition(clock, 4), with_spill(std::ref(to), spill),
                      [&](std::span<int> batch, auto const& why) {
                          back(batch, why);
                          if (why.reason == tidefall::failure_reason::stopped) spill->undelivered()(batch, why);
                      });
    for (int i = 0; i < 3; ++i) items.push_range(numbers(0, 4));
    CHECK(items.flush() == tidefall::drain_report{.processed = 8, .failed = 4});
    CHECK(fs::file_size(path) == 8 + 8 * 13);
    REQUIRE(back.all().size() == 1);
    CHECK_THROWS_WITH(std::rethrow_exception(back.all()[0].error), ContainsSubstring("it would exceed its max_bytes"));
    CHECK(spill->stats().refused == 4);
    std::vector<int> two{8, 9};
    auto const undelivered = spill->undelivered();
    undelivered(two, {.reason = tidefall::failure_reason::stopped});
    CHECK(fs::file_size(path) == most);
    CHECK_THROWS_AS(undelivered(two, {.reason = tidefall::failure_reason::stopped}), tidefall::spill_error);
    CHECK(spill->stats().refused == 6);
    CHECK_THROWS_AS(undelivered(two, {.error = back.all()[0].error}), tidefall::spill_error);
    CHECK(spill->stats().refused == 6);  // with_spill had counted them
    CHECK_THAT(heard.text(), ContainsSubstring("it would exceed its max_bytes. They are lost"));
    // What went back makes room, once it is more than what is left.
    to.away = false;
    CHECK(spill->replay(std::ref(to), 4) == 10);
    CHECK(fs::file_size(path) == 8);
}

TEST_CASE("spill: room that was left is used again, and the file stays readable") {
    temporary_directory const directory;
    auto const path = directory / "spill";
    std::uint64_t const most = 4000;
    auto spill = open_spill<int>(path, encode, decode, {.sync = false, .max_bytes = most});
    std::vector<int> expected;
    int next = 0;
    std::vector<int> got;
    for (int round = 0; round < 300; ++round) {
        auto values = numbers(next, next + 20);
        next += 20;
        spill->undelivered()(values, {});
        expected.insert(expected.end(), values.begin(), values.end());
        int calls = 0;
        try {
            spill->replay(
                [&](std::span<int const> batch) {
                    if (++calls > 2) throw 1;
                    got.insert(got.end(), batch.begin(), batch.end());
                },
                round % 3 == 0 ? 5U : 13U);
        } catch (int) {
        }
        REQUIRE(fs::file_size(path) <= most);
        auto all = got;
        auto const rest = in_file(path);
        all.insert(all.end(), rest.begin(), rest.end());
        REQUIRE(all == expected);
        REQUIRE(spill->stats().records == rest.size());
        if (round % 50 == 49) {
            spill.reset();
            spill = open_spill<int>(path, encode, decode, {.sync = false, .max_bytes = most});
            REQUIRE(spill->stats().records == rest.size());
        }
    }
}

TEST_CASE("spill: several buffers share a file, from several threads, and each value is delivered once") {
    temporary_directory const directory;
    auto const spill = open_spill<int>(directory / "spill", encode, decode, {.sync = false});
    std::mutex mutex;
    std::vector<int> stored;
    std::atomic<int> calls{0};
    auto const flaky = [&](std::span<int const> batch) {
        if (calls++ % 2 == 0) throw std::runtime_error("away");
        std::lock_guard const lock(mutex);
        stored.insert(stored.end(), batch.begin(), batch.end());
    };
    constexpr int each = 2000;
    {
        std::vector<std::unique_ptr<items_queue>> buffers;
        for (int i = 0; i < 2; ++i) {
            buffers.push_back(std::make_unique<items_queue>(
                tidefall::options{.partitions = 2, .processing_interval = 1ms, .processing_batch_size = 7},
                with_spill(flaky, spill), spill->undelivered()));
        }
        std::vector<std::thread> writers;
        for (int i = 0; i < 4; ++i) {
            writers.emplace_back([&, i] {
                for (int n = 0; n < each; ++n) buffers[static_cast<std::size_t>(i % 2)]->push(i * each + n);
            });
        }
        for (auto& one : writers) one.join();
    }
    spill->replay([&](std::span<int const> batch) { stored.insert(stored.end(), batch.begin(), batch.end()); });
    CHECK(sorted(stored) == numbers(0, 4 * each));
    CHECK(spill->stats().records == 0);
}

TEST_CASE("spill: a replay that is abandoned is a call that may outlive its buffer") {
    temporary_directory const folder;
    auto const spill = open_spill<int>(folder / "items", encode, decode);
    latch entered;
    latch told;
    latch go_on;
    latch returned;
    std::atomic<bool> fails{true};
    auto captured = std::make_shared<int>(0);
    std::weak_ptr<int> const processor = captured;
    auto items = std::make_unique<items_queue>(
        tidefall::options{.partitions = 1,
                          .processing_interval = 1h,
                          .processing_timeout = 1ms,
                          .timeout_action = tidefall::timeout_action::abandon,
                          .calls_at_destruction = tidefall::destruction_action::leave},
        with_spill(
            [&, captured](std::span<int const>, batch_info const& info, std::stop_token const& token) {
                if (fails) throw std::runtime_error("away");
                if (info.drain > 0) return;  // a batch; a replay is of none
                entered.open();
                while (!token.stop_requested()) std::this_thread::yield();
                told.open();
                go_on.wait();
                returned.open();
            },
            spill),
        spill->undelivered());
    captured.reset();
    items->push(1);
    items->flush();
    fails = false;
    while (!entered.is_open()) {  // a call may exceed its timeout, and then no replay follows
        items->push(2);
        items->flush(1ms);
    }
    told.wait();
    items.reset();
    CHECK_FALSE(processor.expired());
    go_on.open();
    returned.wait();
}

TEST_CASE("spill: a stop at whose deadline a replay runs is not complete") {
    temporary_directory const folder;
    auto const spill = open_spill<int>(folder / "items", encode, decode);
    latch entered;
    latch go_on;
    std::atomic<bool> fails{true};
    items_queue items({.partitions = 1, .processing_interval = 1h, .processing_timeout = 1h},
                      with_spill(
                          [&](std::span<int const>, batch_info const& info) {
                              if (fails) throw std::runtime_error("away");
                              if (info.drain > 0) return;  // a batch; a replay is of none
                              entered.open();
                              go_on.wait();
                          },
                          spill),
                      spill->undelivered());
    items.push(1);
    items.flush();
    fails = false;
    items.push(2);
    items.flush(0s);
    entered.wait();
    auto const report = items.stop(0s);
    CHECK(report.dropped == 0);
    CHECK_FALSE(report.complete);
    go_on.open();
}
