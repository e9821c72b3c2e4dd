// SPDX-License-Identifier: MIT
//
// with_retry and serialised, and how the three compose. The spill file has spill.test.cpp.
#include "../support/buffers.hpp"
#include "../support/common.hpp"
#include "../support/files.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__GLIBCXX__) && (defined(__unix__) || defined(__APPLE__))
#include <pthread.h>
#endif

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using tests::latch;
using tests::one_partition;
using tidefall::retry_options;
using tidefall::serialised;
using tidefall::with_retry;
using tidefall::with_spill;
using items_queue = tidefall::queue<int>;
using delays = std::vector<nanoseconds>;

namespace {

/// Writes down what it is asked to wait for, and does not.
struct no_wait {
    delays& all;
    void operator()(nanoseconds delay, std::stop_token const&) const { all.push_back(delay); }
};

/// Throws "1", "2" … as often as it is told to, and writes down every batch.
struct failing {
    int failures;
    std::vector<std::vector<int>>& batches;
    void operator()(std::span<int const> batch) const {
        batches.emplace_back(batch.begin(), batch.end());
        auto const call = static_cast<int>(batches.size());
        if (call <= failures) throw std::runtime_error(std::to_string(call));
    }
};

std::string message_of(std::exception_ptr const& error) {
    try {
        std::rethrow_exception(error);
    } catch (std::exception const& known) {
        return known.what();
    }
}

/// What a batch of one is waited for that fails in every attempt.
delays delays_of(retry_options how) {
    delays all;
    std::vector<std::vector<int>> batches;
    auto const attempts = how.attempts;
    how.wait = no_wait{all};
    auto retry = with_retry(failing{std::numeric_limits<int>::max(), batches}, std::move(how));
    int const one[] = {1};
    CHECK_THROWS_AS(retry(std::span<int const>(one)), std::runtime_error);
    CHECK(batches.size() == attempts);
    return all;
}

}  // namespace

TEST_CASE("decorators: a batch is tried again, whole, until a call does not throw") {
    auto const clock = tidefall::make_manual_runtime();
    delays waits;
    std::vector<std::vector<int>> batches;
    items_queue items(one_partition(clock, 3),
                      with_retry(failing{2, batches}, {.attempts = 5, .jitter = 0, .wait = no_wait{waits}}));
    items.push_range(std::vector{1, 2, 3, 4});
    auto const report = items.flush();
    CHECK(report.processed == 4);
    CHECK(report.failed == 0);
    using all = std::vector<std::vector<int>>;
    CHECK(batches == all{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {4}});
    CHECK(waits == delays{100ms, 200ms});
}

TEST_CASE("decorators: what the last attempt threw is thrown on") {
    auto const clock = tidefall::make_manual_runtime();
    delays waits;
    std::vector<std::vector<int>> batches;
    tests::returns<int> back;
    items_queue items(one_partition(clock), with_retry(failing{100, batches}, {.attempts = 3, .wait = no_wait{waits}}),
                      back);
    items.push(7);
    CHECK(items.flush().failed == 1);
    CHECK(batches.size() == 3);
    CHECK(waits.size() == 2);
    REQUIRE(back.all().size() == 1);
    CHECK(back.values() == std::vector{7});
    CHECK(message_of(back.all()[0].error) == "3");
}

TEST_CASE("decorators: delays grow by their factor, up to the longest") {
    CHECK(delays_of({.attempts = 1}).empty());
    CHECK(delays_of({.attempts = 6, .first_delay = 100ms, .factor = 3, .max_delay = 1s, .jitter = 0}) ==
          delays{100ms, 300ms, 900ms, 1s, 1s});
    CHECK(delays_of({.attempts = 4, .first_delay = 5s, .factor = 1, .jitter = 0}) == delays{5s, 5s, 5s});
    CHECK(delays_of({.attempts = 3, .first_delay = 0s, .factor = 1e300, .jitter = 0}) == delays{0s, 0s});
    constexpr auto longest = nanoseconds::max();
    CHECK(delays_of({.attempts = 4, .first_delay = 1ns, .factor = 1e300, .max_delay = longest, .jitter = 0}) ==
          delays{1ns, longest, longest});
    CHECK(delays_of({.attempts = 2, .first_delay = longest, .max_delay = longest, .jitter = 0}) == delays{longest});
}

TEST_CASE("decorators: jitter takes its part of each delay, and never adds to it") {
    auto const with = [](double jitter, double drawn) {
        return delays_of({.attempts = 3, .first_delay = 1s, .jitter = jitter, .random = [=] { return drawn; }});
    };
    CHECK(with(0, 0.75) == delays{1s, 2s});
    CHECK(with(0.5, 0) == delays{1s, 2s});
    CHECK(with(0.5, 0.5) == delays{750ms, 1500ms});
    CHECK(with(1, 0.75) == delays{250ms, 500ms});
    CHECK(with(1, 0) == delays{1s, 2s});
    // Draws that keep no promise harm nobody.
    CHECK(with(1, 7) == delays{0s, 0s});
    CHECK(with(1, -7) == delays{1s, 2s});
    CHECK(with(1, std::numeric_limits<double>::quiet_NaN()) == delays{0s, 0s});

    auto const own = [] {
        return delays_of({.attempts = 1001, .first_delay = 1s, .factor = 1, .max_delay = 1s, .jitter = 0.5});
    };
    auto const drawn = own();
    auto const [least, most] = std::minmax_element(drawn.begin(), drawn.end());
    CHECK(*least >= 500ms);
    CHECK(*least < 600ms);
    CHECK(*most > 900ms);
    CHECK(*most <= 1s);
    CHECK(own() != drawn);
}

TEST_CASE("decorators: what is not worth another attempt gets none") {
    delays waits;
    std::vector<std::vector<int>> batches;
    std::vector<std::string> asked;
    auto retry = with_retry(failing{100, batches}, {.attempts = 5,
                                                    .retry_if =
                                                        [&](std::exception_ptr const& error) {
                                                            asked.push_back(message_of(error));
                                                            return asked.size() < 2;
                                                        },
                                                    .wait = no_wait{waits}});
    int const one[] = {1};
    CHECK_THROWS_WITH(retry(std::span<int const>(one)), "2");
    CHECK(asked == std::vector<std::string>{"1", "2"});
    CHECK(batches.size() == 2);
    CHECK(waits.size() == 1);
}

TEST_CASE("decorators: once the token is stopped there is no further attempt") {
    std::stop_source source;
    int calls = 0;
    delays waits;
    int const one[] = {1};
    std::span<int const> const batch(one);
    SECTION("in the call") {
        auto retry = with_retry(
            [&](std::span<int const>, std::stop_token const& token) {
                ++calls;
                source.request_stop();
                throw std::runtime_error(token.stop_requested() ? "stopped" : "another token");
            },
            {.wait = no_wait{waits}});
        CHECK_THROWS_WITH(retry(batch, source.get_token()), "stopped");
        CHECK(waits.empty());
    }
    SECTION("in the wait") {
        auto retry = with_retry(
            [&](std::span<int const>) {
                ++calls;
                throw std::runtime_error("failed");
            },
            {.wait = [&](nanoseconds delay, std::stop_token const& token) {
                waits.push_back(delay);
                CHECK(token == source.get_token());
                source.request_stop();
            }});
        CHECK_THROWS_WITH(retry(batch, source.get_token()), "failed");
        CHECK(waits.size() == 1);
    }
    CHECK(calls == 1);
}

TEST_CASE("decorators: a stop ends the wait that there is by default") {
    std::stop_source source;
    latch failed;
    int calls = 0;
    auto const delay = GENERATE(as<nanoseconds>(), std::chrono::hours(1), nanoseconds::max());
    std::string thrown;
    std::thread worker([&] {
        auto retry = with_retry(
            [&](std::span<int const>) {
                ++calls;
                failed.open();
                throw std::runtime_error("failed");
            },
            {.first_delay = delay, .max_delay = delay, .jitter = 0});
        int const one[] = {1};
        try {
            retry(std::span<int const>(one), source.get_token());
        } catch (std::runtime_error const& error) {
            thrown = error.what();
        }
    });
    failed.wait();
    source.request_stop();
    worker.join();
    CHECK(thrown == "failed");
    CHECK(calls == 1);
}

TEST_CASE("decorators: the wait that there is by default ends by itself, and not before") {
    std::vector<std::chrono::steady_clock::time_point> calls;
    auto retry = with_retry(
        [&](std::span<int const>) {
            calls.push_back(std::chrono::steady_clock::now());
            if (calls.size() < 3) throw std::runtime_error("failed");
        },
        {.first_delay = 1ms, .jitter = 0});
    int one[] = {1};
    retry(std::span<int>(one));
    REQUIRE(calls.size() == 3);
    CHECK(calls[1] - calls[0] >= 1ms);
    CHECK(calls[2] - calls[1] >= 2ms);
}

TEST_CASE("decorators: processing_timeout is for all attempts together") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tests::returns<int> back;
    auto how = one_partition(clock);
    how.processing_timeout = 10s;
    items_queue items(how,
                      with_retry(
                          [&](std::span<int const>) {
                              ++calls;
                              throw std::runtime_error("failed");
                          },
                          {.attempts = 100,
                           .first_delay = 4s,
                           .factor = 1,
                           .jitter = 0,
                           .wait = [&](nanoseconds delay, std::stop_token const&) { clock->advance(delay); }}),
                      back);
    items.push(1);
    CHECK(items.flush().failed == 1);
    CHECK(calls == 3);  // at 0 s, 4 s and 8 s
    REQUIRE(back.all().size() == 1);
    CHECK(back.all()[0].reason == tidefall::failure_reason::timeout);
}

TEST_CASE("decorators: bad options of with_retry are refused, by name") {
    auto const process = [](std::span<int const>) {};
    using tests::ContainsSubstring;
    auto const refused = [&](retry_options how, char const* why) {
        CHECK_THROWS_AS(with_retry(process, how), tidefall::invalid_options);
        CHECK_THROWS_WITH(with_retry(process, how), ContainsSubstring(why));
    };
    refused({.attempts = 0}, "with_retry.attempts is 0, but must be at least 1");
    refused({.first_delay = -1ns}, "with_retry.first_delay is -1ns, but must be 0 or more");
    refused({.first_delay = 30s}, "with_retry.max_delay is 10s, but must be at least first_delay, which is 30s");
    refused({.factor = 0.5}, "with_retry.factor is 0.5");
    refused({.factor = std::numeric_limits<double>::infinity()}, "with_retry.factor is inf");
    refused({.factor = std::numeric_limits<double>::quiet_NaN()}, "with_retry.factor is");
    refused({.jitter = 1.5}, "with_retry.jitter is 1.5");
    refused({.jitter = -0.5}, "but must be 0 to 1");
    refused({.jitter = std::numeric_limits<double>::quiet_NaN()}, "with_retry.jitter is");
}

TEST_CASE("decorators: an empty callable is refused before anything starts") {
    tests::temporary_directory const directory;
    std::function<void(std::span<int const>)> const none;
    void (*const null)(std::span<int const>) = nullptr;
    std::function<std::string(int)> const no_encoding;
    using tests::ContainsSubstring;
    CHECK_THROWS_AS(with_retry(none), std::invalid_argument);
    CHECK_THROWS_WITH(with_retry(null), ContainsSubstring("with_retry's processor is empty"));
    CHECK_THROWS_WITH(serialised(none), ContainsSubstring("serialised's processor is empty"));
    auto const encode = [](int) { return std::string(); };
    CHECK_THROWS_WITH(with_spill(none, directory / "a", encode), ContainsSubstring("with_spill's processor is empty"));
    CHECK_THROWS_WITH(with_spill([](std::span<int const>) {}, directory / "a", no_encoding),
                      ContainsSubstring("with_spill's encoding is empty"));
    CHECK(!std::filesystem::exists(directory / "a"));
}

namespace {

struct token_only {
    void operator()(std::span<int>, std::stop_token) {}
};
struct table_only {
    void operator()(tidefall::queue_table<int>) {}
};
template <typename F>
using serial = decltype(serialised(std::declval<F>()));

// serialised takes what its processor takes, and nothing else.
static_assert(std::is_invocable_v<serial<token_only>&, std::span<int>, std::stop_token>);
static_assert(!std::is_invocable_v<serial<token_only>&, std::span<int>>);
static_assert(!std::is_invocable_v<serial<token_only>&, std::span<int const>, std::stop_token>);
static_assert(std::is_invocable_v<serial<table_only>&, tidefall::queue_table<int>>);
static_assert(!std::is_invocable_v<serial<table_only>&, std::span<int>>);
static_assert(tidefall::processor_for<serial<table_only>, tidefall::queue_table<int>>);
static_assert(!tidefall::processor_for<serial<int>, tidefall::queue_table<int>>);

}  // namespace

TEST_CASE("decorators: serialised has the form of its processor") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> said;
    auto const deliver = [&](auto process) {
        items_queue items(one_partition(clock), serialised(std::move(process)));
        items.push_range(std::vector{1, 2});
        CHECK(items.stop().processed == 2);
    };
    deliver([&](std::span<int> batch, std::stop_token const& token) {
        said.push_back(token.stop_possible() ? "token" : "none");
        batch[0] = 0;
    });
    deliver([&](std::span<int const>, std::stop_token) { said.emplace_back("const, token"); });
    deliver([&](std::span<int>) { said.emplace_back("span"); });
    deliver([&](std::span<int const>) { said.emplace_back("const"); });
    deliver([&](tidefall::queue_table<int> table) { said.push_back("table of " + std::to_string(table.size())); });
    deliver([&](tidefall::queue_table<int>, std::stop_token const&) { said.emplace_back("table, token"); });
    deliver([&, only = std::make_unique<int>(1)](auto batch) mutable {
        static_assert(std::is_same_v<decltype(batch), std::span<int>>);
        said.push_back("generic, " + std::to_string(*only));
    });
    CHECK(said == std::vector<std::string>{"token", "const, token", "span", "const", "table of 2", "table, token",
                                           "generic, 1"});
}

namespace {

/// Opens when the processing of so many partitions has begun.
class begun final : public tidefall::telemetry_hook {
public:
    explicit begun(int partitions) : missing_(partitions) {}
    latch all;

private:
    void on_processing_start(tidefall::processing_start const&) override {
        if (--missing_ == 0) all.open();
    }
    std::atomic<int> missing_;
};

}  // namespace

TEST_CASE("decorators: serialised calls one partition at a time, and one buffer of those that share it") {
    auto const both = std::make_shared<begun>(3);
    int inside = 0;  // not atomic: ThreadSanitizer sees calls that overlap, too
    int calls = 0;
    int together = 0;
    auto const sink = serialised([&](std::span<int const>) {
        both->all.wait();
        ++inside;
        // Whoever is at the door has the time to come in.
        for (int i = 0; i < 10'000; ++i) {
            std::this_thread::yield();
            together = std::max(together, inside);
        }
        --inside;
        ++calls;
    });
    auto const shared = tidefall::make_runtime({.workers = 3});
    items_queue items({.partitions = 2, .telemetry = both, .runtime = shared}, sink);
    items_queue others({.partitions = 1, .telemetry = both, .runtime = shared}, sink);
    // Two keys that go to different partitions.
    items.push(0, tidefall::partition_key{0});
    for (int key = 1; items.partition(0).size() == 0 || items.partition(1).size() == 0; ++key) {
        items.push(key, tidefall::partition_key{key});
    }
    others.push(1);
    std::thread other([&] { others.stop(); });
    items.stop();
    other.join();
    CHECK(together == 1);
    CHECK(calls >= 3);
}

TEST_CASE("decorators: a serialised processor that calls itself is told so, and what it throws opens the gate") {
    std::function<void(int)> again;
    auto gate = serialised([&](std::span<int const> batch) {
        if (again) again(batch[0]);
    });
    int const one[] = {1};
    std::span<int const> const batch(one);
    again = [&](int) { gate(batch); };
    CHECK(tests::deadlock_would_occur([&] { gate(batch); }));
    again = [](int) { throw std::runtime_error("failed"); };
    CHECK_THROWS_WITH(gate(batch), "failed");
    again = nullptr;
    CHECK_NOTHROW(gate(batch));
    std::thread([&] { gate(batch); }).join();
}

TEST_CASE("decorators: they compose in any order") {
    tests::temporary_directory const directory;
    auto const clock = tidefall::make_manual_runtime();
    delays waits;
    int calls = 0;
    int files = 0;
    auto const encode = [](int value) { return std::to_string(value); };
    auto const retried = [&](auto process) {
        return with_retry(std::move(process), {.attempts = 2, .wait = no_wait{waits}});
    };
    auto const spilled = [&](auto process) {
        return with_spill(std::move(process), directory / std::to_string(++files), encode, {.sync = false});
    };
    // Fails always; with and without a token, copyable and not.
    auto const plain = [&](std::span<int const>) {
        ++calls;
        throw std::runtime_error("failed");
    };
    auto const sink = [&](auto kind) {
        if constexpr (decltype(kind)::value == 0) {
            return plain;
        } else {
            return [&plain, only = std::make_unique<int>(0)](std::span<int const> batch, std::stop_token const& token) {
                if (token.stop_possible()) plain(batch.subspan(static_cast<std::size_t>(*only)));
            };
        }
    };
    auto const run = [&](auto process, bool is_spilled, int expected_calls) {
        calls = 0;
        items_queue items(one_partition(clock), std::move(process));
        items.push_range(std::vector{1, 2, 3});
        auto const report = items.stop();
        CHECK(report.processed == (is_spilled ? 3 : 0));
        CHECK(calls == expected_calls);
        if (!is_spilled) return;
        std::string all;
        tidefall::read_spill(directory / std::to_string(files), [&](std::string_view record) { all += record; });
        CHECK(all == "123");
    };
    auto const every_order = [&](auto kind) {
        run(retried(sink(kind)), false, 2);
        run(spilled(sink(kind)), true, 1);
        run(serialised(sink(kind)), false, 1);
        run(spilled(retried(sink(kind))), true, 2);
        run(retried(spilled(sink(kind))), true, 1);
        run(serialised(spilled(retried(sink(kind)))), true, 2);
        run(spilled(serialised(retried(sink(kind)))), true, 2);
        run(spilled(retried(serialised(sink(kind)))), true, 2);
        run(retried(retried(sink(kind))), false, 4);
        run(serialised(serialised(sink(kind))), false, 1);
    };
    every_order(std::integral_constant<int, 0>());
    every_order(std::integral_constant<int, 1>());
}

TEST_CASE("decorators: a hash map's entries, by const reference") {
    tests::temporary_directory const directory;
    using entry = tidefall::entry<std::string, int>;
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<std::string, int> map(
        one_partition(clock),
        serialised(with_spill(
            with_retry([](std::span<entry const>) { throw std::runtime_error("failed"); }, {.attempts = 1}),
            directory / "map", [](entry const& e, std::string& to) { to = e.key + "=" + std::to_string(e.value); })));
    map.put("a", 1);
    CHECK(map.stop().processed == 1);
    std::string all;
    tidefall::read_spill(directory / "map", [&](std::string_view record) { all += record; });
    CHECK(all == "a=1");
}

#if defined(__GLIBCXX__) && (defined(__unix__) || defined(__APPLE__))
TEST_CASE("decorators: a forced unwind passes all of them: it is not tried again, nor spilled, and the gate opens") {
    tests::temporary_directory const directory;
    int calls = 0;
    delays waits;
    auto process = serialised(with_spill(with_retry(
                                             [&](std::span<int const>) {
                                                 if (++calls == 1) pthread_exit(nullptr);
                                             },
                                             {.wait = no_wait{waits}}),
                                         directory / "spill", [](int) { return "value"; }));
    int one[] = {1};
    std::thread([&] { process(std::span<int>(one)); }).join();
    CHECK(calls == 1);
    process(std::span<int>(one));
    CHECK(calls == 2);
    CHECK(waits.empty());
    CHECK(tidefall::read_spill(directory / "spill", [](std::string_view) {}).records == 0);
}
#endif
