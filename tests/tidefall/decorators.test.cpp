// SPDX-License-Identifier: MIT
//
// serialised, per_partition and with_split, and how all of them compose. with_retry has retry.test.cpp, the spill file
// spill.test.cpp.
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
#include <bit>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <set>
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
using tests::latch;
using tests::one_partition;
using tidefall::batch_info;
using tidefall::batch_result;
using tidefall::per_partition;
using tidefall::serialised;
using tidefall::with_retry;
using tidefall::with_spill;
using tidefall::with_split;
using items_queue = tidefall::queue<int>;

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
    CHECK_THROWS_WITH(tidefall::open_spill<int>(directory / "a", no_encoding),
                      ContainsSubstring("open_spill's encoding is empty"));
    CHECK_THROWS_WITH(tidefall::open_spill<int>(directory / "a", encode, std::function<int(std::string_view)>()),
                      ContainsSubstring("open_spill's decoding is empty"));
    CHECK_THROWS_WITH(with_spill([](std::span<int const>) {}, std::shared_ptr<tidefall::spill<int>>()),
                      ContainsSubstring("with_spill's spill is null"));
    std::function<bool(std::exception_ptr const&)> const no_opinion;
    CHECK_THROWS_WITH(with_split(none, [](std::exception_ptr const&) { return true; }),
                      ContainsSubstring("with_split's processor is empty"));
    CHECK_THROWS_WITH(with_split([](std::span<int const>) {}, no_opinion),
                      ContainsSubstring("with_split's is_data_error is empty"));
    std::function<std::function<void(std::span<int>)>(std::size_t)> const no_make;
    CHECK_THROWS_WITH(per_partition(no_make), ContainsSubstring("per_partition's make is empty"));
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
    int calls = 0;
    int files = 0;
    auto const encode = [](int value) { return std::to_string(value); };
    auto const retried = [&](auto process) {
        return with_retry(std::move(process), {.attempts = 2, .first_delay = 1s});
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
        items.flush();
        clock->advance(1min);
        auto const s = items.stats();
        CHECK(s.processed == (is_spilled ? 3 : 0));
        CHECK(s.in_flight == 0);
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
        run(retried(retried(sink(kind))), false, 2);
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
    auto process = serialised(with_spill(with_retry([&](std::span<int const>) {
                                             if (++calls == 1) pthread_exit(nullptr);
                                         }),
                                         directory / "spill", [](int) { return "value"; }));
    int one[] = {1};
    std::thread([&] { process(std::span<int>(one), batch_info{}, std::stop_token()); }).join();
    CHECK(calls == 1);
    process(std::span<int>(one), batch_info{}, std::stop_token());
    CHECK(calls == 2);
    CHECK(tidefall::read_spill(directory / "spill", [](std::string_view) {}).records == 0);
}
#endif

// ---- per_partition

TEST_CASE("decorators: per_partition makes a processor for each partition, before its first batch") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> made;
    std::vector<std::string> calls;
    items_queue items({.partitions = 2, .processing_batch_size = 1, .runtime = clock},
                      per_partition([&](std::size_t partition) {
                          made.push_back(partition);
                          return [&calls, partition, count = 0](std::span<int> batch, batch_info const& info) mutable {
                              CHECK(info.partition == partition);
                              calls.push_back(std::to_string(partition) + ":" + std::to_string(batch[0]) + ":" +
                                              std::to_string(++count));
                          };
                      }));
    CHECK(made.empty());
    int other = 1;
    items.push(0, tidefall::partition_key{0});
    while (items.partition(0).size() == 0 || items.partition(1).size() == 0) {
        ++other;
        items.push(other, tidefall::partition_key{other});
    }
    CHECK(items.flush().failed == 0);
    CHECK(made.size() == 2);
    auto const so_far = calls.size();
    items.push(7, tidefall::partition_key{0});
    CHECK(items.flush().processed == 1);
    CHECK(made.size() == 2);
    REQUIRE(calls.size() == so_far + 1);
    CHECK(calls.back().substr(1, 3) == ":7:");
    CHECK(calls.back() != calls.back().substr(0, 3) + "1");
}

TEST_CASE("decorators: a copy of per_partition makes processors of its own") {
    auto const clock = tidefall::make_manual_runtime();
    int made = 0;
    std::vector<int> by;
    auto const connections = per_partition(
        [&](std::size_t) { return [&by, number = ++made](std::span<int const>) { by.push_back(number); }; });
    items_queue one(one_partition(clock), connections);
    items_queue other(one_partition(clock), connections);
    for (int i = 0; i < 2; ++i) {
        for (auto* const each : {&one, &other}) {
            each->push(i);
            each->flush();
        }
    }
    CHECK(by == std::vector{1, 2, 1, 2});
}

TEST_CASE("decorators: per_partition tries again where make threw, and takes what its processors take") {
    auto const clock = tidefall::make_manual_runtime();
    int made = 0;
    std::size_t processed = 0;
    auto connections = per_partition([&](std::size_t) {
        if (++made == 1) throw std::runtime_error("no connection");
        return [&](tidefall::queue_table<int> table, std::stop_token const& token) {
            CHECK(token.stop_possible());
            processed += table.size();
        };
    });
    items_queue items(one_partition(clock), connections);  // a copy
    items.push(1);
    CHECK(items.flush().failed == 1);
    items.push(2);
    CHECK(items.flush().processed == 1);
    CHECK(processed == 1);
    CHECK(made == 2);
}

TEST_CASE("decorators: what per_partition made is no other call's after one that was abandoned") {
    latch go_on;
    latch failed;
    struct tells final : tidefall::telemetry_hook {
        explicit tells(latch& which) : opened(which) {}
        void on_processing_failed(tidefall::processing_failed const&) override { opened.open(); }
        latch& opened;
    };
    std::atomic<int> made{0};
    std::vector<int> by;
    bool const returns_first = GENERATE(false, true);
    {
        items_queue items({.partitions = 1,
                           .processing_interval = 1ms,
                           .processing_timeout = 1ms,
                           .timeout_action = tidefall::timeout_action::abandon,
                           .telemetry = std::make_shared<tells>(failed)},
                          per_partition([&](std::size_t) {
                              return [&, number = ++made](std::span<int const> batch) {
                                  if (batch[0] == 0) {
                                      go_on.wait();
                                  } else {
                                      by.push_back(number);
                                  }
                              };
                          }));
        items.push(0);
        std::thread flusher([&] { items.flush(); });
        failed.wait();
        flusher.join();
        if (returns_first) {
            go_on.open();
            tests::until([&] { return items.stats().abandoned == 0; });
        }
        items.push(1);
        CHECK(items.flush().processed == 1);
        items.push(2);
        CHECK(items.flush().processed == 1);
        go_on.open();
    }
    CHECK(by == std::vector{2, 2});
}

// ---- with_split

namespace {

/// A sink that takes a batch whole, or throws for the values that it cannot take.
struct strict {
    std::set<int> const& bad;
    std::vector<int>& taken;
    int& calls;
    void operator()(std::span<int const> batch) const {
        ++calls;
        for (int const one : batch) {
            if (bad.contains(one)) throw std::invalid_argument(std::to_string(one));
        }
        taken.insert(taken.end(), batch.begin(), batch.end());
    }
};

bool is_data_error(std::exception_ptr const& error) {
    try {
        std::rethrow_exception(error);
    } catch (std::invalid_argument const&) {
        return true;
    } catch (...) {
        return false;
    }
}

}  // namespace

TEST_CASE("decorators: with_split costs one value for one bad value, in few calls") {
    auto const clock = tidefall::make_manual_runtime();
    for (int size = 1; size <= 70; ++size) {
        auto const steps =
            static_cast<int>(std::bit_width(static_cast<unsigned>(size - 1)));  // the logarithm, rounded up
        for (int one = 0; one < size; ++one) {
            std::set<int> const bad{one};
            std::vector<int> taken;
            int calls = 0;
            tests::returns<int> back;
            items_queue items(one_partition(clock, 100), with_split(strict{bad, taken, calls}, is_data_error), back);
            items.push_range(tests::numbers(0, size));
            items.flush();
            auto expected = tests::numbers(0, size);
            std::erase(expected, one);
            REQUIRE(taken == expected);
            REQUIRE(back.values() == std::vector{one});
            REQUIRE(back.all()[0].reason == tidefall::failure_reason::rejected);
            REQUIRE(calls <= 1 + 2 * steps);
        }
    }
}

TEST_CASE("decorators: with_split delivers each value once, whatever is bad among them") {
    auto const clock = tidefall::make_manual_runtime();
    for (unsigned bits = 0; bits < 256; ++bits) {
        std::set<int> bad;
        std::vector<int> expected;
        for (int i = 0; i < 8; ++i) {
            if ((bits >> i & 1U) != 0) {
                bad.insert(i);
            } else {
                expected.push_back(i);
            }
        }
        std::vector<int> taken;
        int calls = 0;
        tests::returns<int> back;
        items_queue items(one_partition(clock), with_split(strict{bad, taken, calls}, is_data_error), back);
        items.push_range(tests::numbers(0, 8));
        CHECK(items.flush().failed == bad.size());
        CHECK(taken == expected);
        CHECK(back.values() == std::vector<int>(bad.begin(), bad.end()));
    }
}

TEST_CASE("decorators: with_split rejects what is left at any other error, and with_retry offers that again") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> taken;
    int calls = 0;
    tests::returns<int> back;
    bool away = true;
    auto const sink = [&](std::span<int const> batch) {
        ++calls;
        if (batch.size() == 8 || (batch.size() > 1 && batch[0] <= 1 && 1 <= batch.back()))
            throw std::invalid_argument("1");
        if (batch[0] == 1) throw std::invalid_argument("1");
        if (batch[0] == 4 && away) throw std::runtime_error("away");
        taken.insert(taken.end(), batch.begin(), batch.end());
    };
    items_queue items(one_partition(clock),
                      tidefall::with_retry(with_split(sink, is_data_error), {.first_delay = 1s, .jitter = 0}), back);
    items.push_range(tests::numbers(0, 8));
    items.flush();
    CHECK(taken == std::vector{0, 2, 3});
    CHECK(back.values() == std::vector{1});
    CHECK(items.stats().in_flight == 4);
    away = false;
    clock->advance(1s);
    CHECK(taken == std::vector{0, 2, 3, 4, 5, 6, 7});
    CHECK(back.values() == std::vector{1});
}

TEST_CASE("decorators: with_split stops where the token is stopped, or where it cannot be told what an error is") {
    std::vector<int> taken;
    int calls = 0;
    std::set<int> const bad{1};
    std::stop_source source;
    int const values[] = {0, 1, 2, 3};
    auto const rejected_from = [](batch_result const& result) {
        return tidefall::detail::result_access::rejected_from(result);
    };
    SECTION("the token") {
        auto split = with_split(
            [&](std::span<int const> batch) {
                if (batch.size() == 2) source.request_stop();
                strict{bad, taken, calls}(batch);
            },
            is_data_error);
        CHECK(rejected_from(split(std::span<int const>(values), batch_info{}, source.get_token())) == 0);
        CHECK(taken.empty());
        CHECK(calls == 2);
    }
    SECTION("the error") {
        int asked = 0;
        auto split = with_split(strict{bad, taken, calls}, [&](std::exception_ptr const&) -> bool {
            if (++asked == 3) throw std::runtime_error("cannot tell");
            return true;
        });
        CHECK(rejected_from(split(std::span<int const>(values), batch_info{}, source.get_token())) == 1);
        CHECK(taken == std::vector{0});
    }
}
