// SPDX-License-Identifier: MIT
//
// with_retry: which batches it has offered again, and when.
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using tests::one_partition;
using tidefall::batch_info;
using tidefall::batch_result;
using tidefall::retry_options;
using tidefall::with_retry;
using items_queue = tidefall::queue<int>;
using batches = std::vector<std::vector<int>>;
using delays = std::vector<nanoseconds>;

namespace {

/// Throws "1", "2" … as often as it is told to, and writes down every batch.
struct failing {
    int failures;
    batches& all;
    void operator()(std::span<int const> batch) const {
        all.emplace_back(batch.begin(), batch.end());
        auto const call = static_cast<int>(all.size());
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

/// The delays that are told.
class delay_log final : public tidefall::telemetry_hook {
public:
    delays all;
    void on_batch_retried(tidefall::batch_retried const& e) override { all.push_back(e.delay); }
};

/// The delays of a batch of one that fails in every attempt.
delays delays_of(retry_options how) {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<delay_log>();
    batches seen;
    auto const attempts = how.attempts;
    auto options = one_partition(clock);
    options.telemetry = log;
    items_queue items(options, with_retry(failing{std::numeric_limits<int>::max(), seen}, std::move(how)));
    items.push(1);
    items.flush();
    clock->advance(10'000h);
    if (items.stats().in_flight == 0) CHECK(seen.size() == attempts);
    return log->all;
}

}  // namespace

TEST_CASE("retry: a batch is offered again, whole, until a call does not throw") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<tests::event_log>();
    batches seen;
    auto how = one_partition(clock, 3);
    how.telemetry = log;
    items_queue items(how, with_retry(failing{2, seen}, {.attempts = 5, .jitter = 0}));
    items.push_range(std::vector{1, 2, 3, 4});
    CHECK(items.flush() == tidefall::drain_report{.complete = false});
    CHECK(seen.size() == 1);
    clock->advance(100ms - 1ns);
    CHECK(seen.size() == 1);
    clock->advance(1ns);
    CHECK(seen.size() == 2);
    clock->advance(200ms);
    CHECK(seen == batches{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {4}});
    CHECK(items.stats().processed == 4);
    CHECK(items.stats().failed == 0);
    CHECK(log->lines_of_drains() ==
          std::vector<std::string>{"processing_start 0 4 flush", "batch_retried 0 3 attempt 1 100ms",
                                   "batch_retried 0 3 attempt 2 200ms", "processing_stop 0 4"});
}

TEST_CASE("retry: what the last attempt threw is thrown on") {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    tests::returns<int> back;
    items_queue items(one_partition(clock), with_retry(failing{100, seen}, {.attempts = 3}), back);
    items.push(7);
    items.flush();
    clock->advance(1min);
    CHECK(items.stats().failed == 1);
    CHECK(seen.size() == 3);
    REQUIRE(back.all().size() == 1);
    CHECK(back.values() == std::vector{7});
    CHECK(back.all()[0].reason == tidefall::failure_reason::exception);
    CHECK(message_of(back.all()[0].error) == "3");
}

TEST_CASE("retry: of a batch that was taken in part the rest is offered again") {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    tests::returns<int> back;
    items_queue items(one_partition(clock),
                      with_retry(
                          [&](std::span<int const> batch) {
                              seen.emplace_back(batch.begin(), batch.end());
                              batch_result result;
                              if (seen.size() == 1) result.refuse(1);
                              if (batch.size() > 1) result.reject_from(batch.size() - 2);
                              if (batch.size() <= 2) result.reject(0);
                              return result.because(std::make_exception_ptr(std::runtime_error("busy")));
                          },
                          {.attempts = 2}),
                      back);
    items.push_range(tests::numbers(0, 5));
    items.flush();
    clock->advance(1min);
    CHECK(seen == batches{{0, 1, 2, 3, 4}, {3, 4}});
    CHECK(items.stats().processed == 2);
    CHECK(back.values() == std::vector{1, 3, 4});
    CHECK(back.all().back().reason == tidefall::failure_reason::rejected);
    CHECK(message_of(back.all().back().error) == "busy");
}

TEST_CASE("retry: a retry_after from inside replaces the delay and counts as an attempt") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<delay_log>();
    int calls = 0;
    auto how = one_partition(clock);
    how.telemetry = log;
    items_queue items(how, with_retry(
                               [&](std::span<int const>) {
                                   batch_result result;
                                   result.reject(0);
                                   if (++calls == 2) result.retry_after(7s);
                                   if (calls == 4) result.retry_after(1s);
                                   return result;
                               },
                               {.attempts = 4, .first_delay = 1s, .jitter = 0}));
    items.push(1);
    items.flush();
    clock->advance(1h);
    CHECK(log->all == delays{1s, 7s, 4s});
    CHECK(calls == 4);
    CHECK(items.stats().failed == 1);
}

TEST_CASE("retry: delays grow by their factor, up to the longest") {
    CHECK(delays_of({.attempts = 1}).empty());
    CHECK(delays_of({.attempts = 6, .first_delay = 100ms, .factor = 3, .max_delay = 1s, .jitter = 0}) ==
          delays{100ms, 300ms, 900ms, 1s, 1s});
    CHECK(delays_of({.attempts = 4, .first_delay = 5s, .factor = 1, .jitter = 0}) == delays{5s, 5s, 5s});
    CHECK(delays_of({.attempts = 3, .first_delay = 0s, .factor = 1e300, .jitter = 0}) == delays{0s, 0s});
    constexpr auto longest = nanoseconds::max();  // which lasts until the close
    CHECK(delays_of({.attempts = 4, .first_delay = 1ns, .factor = 1e300, .max_delay = longest, .jitter = 0}) ==
          delays{1ns, longest});
    CHECK(delays_of({.attempts = 2, .first_delay = longest, .max_delay = longest, .jitter = 0}) == delays{longest});
}

TEST_CASE("retry: jitter takes its part of each delay, and never adds to it") {
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
    REQUIRE(drawn.size() == 1000);
    auto const [least, most] = std::minmax_element(drawn.begin(), drawn.end());
    CHECK(*least >= 500ms);
    CHECK(*least < 600ms);
    CHECK(*most > 900ms);
    CHECK(*most <= 1s);
    CHECK(own() != drawn);
}

TEST_CASE("retry: what is not worth another attempt gets none") {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    std::vector<std::string> asked;
    tests::returns<int> back;
    items_queue items(one_partition(clock),
                      with_retry(failing{100, seen}, {.attempts = 5,
                                                      .retry_if =
                                                          [&](std::exception_ptr const& error) {
                                                              asked.push_back(message_of(error));
                                                              return asked.size() < 2;
                                                          }}),
                      back);
    items.push(1);
    items.flush();
    clock->advance(1min);
    CHECK(asked == std::vector<std::string>{"1", "2"});
    CHECK(seen.size() == 2);
    CHECK(message_of(back.all().at(0).error) == "2");
}

TEST_CASE("retry: a result without a reason is worth another attempt, and nobody is asked") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    int asked = 0;
    items_queue items(one_partition(clock), with_retry(
                                                [&](std::span<int const>) {
                                                    batch_result result;
                                                    if (++calls == 1) result.reject(0);
                                                    return result;
                                                },
                                                {.retry_if = [&](std::exception_ptr const&) {
                                                    ++asked;
                                                    return false;
                                                }}));
    items.push(1);
    items.flush();
    clock->advance(1min);
    CHECK(calls == 2);
    CHECK(asked == 0);
    CHECK(items.stats().processed == 1);
}

TEST_CASE("retry: once its token is stopped a batch is not offered again") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    tests::returns<int> back;
    auto how = one_partition(clock);
    how.processing_timeout = 1s;
    items_queue items(how, with_retry([&](std::span<int const>, std::stop_token const& token) {
                          ++calls;
                          clock->advance(1s);
                          throw std::runtime_error(token.stop_requested() ? "stopped" : "another token");
                      }),
                      back);
    items.push(1);
    items.flush();
    clock->advance(1min);
    CHECK(calls == 1);
    CHECK(back.all().at(0).reason == tidefall::failure_reason::timeout);
    std::stop_source source;
    auto retry = with_retry([&](std::span<int const>) {
        source.request_stop();
        throw std::runtime_error("failed");
    });
    int const one[] = {1};
    CHECK_THROWS_WITH(retry(std::span<int const>(one), batch_info{}, source.get_token()), "failed");
}

TEST_CASE("retry: processing_timeout is for each attempt by itself") {
    auto const clock = tidefall::make_manual_runtime();
    int calls = 0;
    auto how = one_partition(clock);
    how.processing_timeout = 10s;
    items_queue items(how, with_retry(
                               [&](std::span<int const>) {
                                   clock->advance(9s);
                                   if (++calls < 5) throw std::runtime_error("failed");
                               },
                               {.attempts = 100, .first_delay = 4s, .factor = 1, .jitter = 0}));
    items.push(1);
    items.flush();
    clock->advance(5min);
    CHECK(calls == 5);
    CHECK(items.stats().processed == 1);
}

TEST_CASE("retry: while the buffer stops there is one attempt for each batch, and no delay") {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    auto how = one_partition(clock, 2);
    how.processing_interval = 1s;
    items_queue items(how, with_retry(failing{100, seen}, {.attempts = 10, .first_delay = 1h, .max_delay = 1h}));
    items.push_range(tests::numbers(0, 4));
    clock->advance(1s);
    CHECK(seen == batches{{0, 1}});
    items.push(4);
    CHECK(items.stop() == tidefall::drain_report{.failed = 5});
    CHECK(seen == batches{{0, 1}, {0, 1}, {2, 3}, {4}});
}

TEST_CASE("retry: bad options are refused, by name") {
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
