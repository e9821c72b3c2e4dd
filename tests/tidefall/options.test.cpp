// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/recorder.hpp"
#include "../support/threads.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/options.hpp>
#include <tidefall/queue.hpp>

#include <functional>
#include <limits>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using tidefall::invalid_options;
using tidefall::options;
using tidefall::options_update;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();
constexpr auto most = std::numeric_limits<std::size_t>::max();

struct bad {
    std::function<void(options&)> spoil;
    std::string message;
};

std::string message_of(std::function<void()> const& act) {
    try {
        act();
    } catch (invalid_options const& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("options: the defaults") {
    options const defaults;
    CHECK(defaults.name == "tidefall");
    CHECK(defaults.partitions == tidefall::default_partitions());
    CHECK(defaults.partitions >= 1);
    CHECK(defaults.processing_interval == 5s);
    CHECK(defaults.processing_batch_size == 10);
    CHECK(defaults.processing_timeout == 60s);
    CHECK(defaults.timeout_action == tidefall::timeout_action::wait);
    CHECK_FALSE(defaults.drain_threshold);
    CHECK_FALSE(defaults.capacity);
    CHECK(defaults.overflow == tidefall::overflow_policy::block);
    CHECK(defaults.overflow_timeout == 60s);
    CHECK(defaults.shutdown_timeout == 60s);
    CHECK_FALSE(defaults.telemetry);
    CHECK_FALSE(defaults.runtime);
}

TEST_CASE("options: a bad value is named, with what it is and the rule, before any thread starts") {
    std::vector<bad> const table{
        {[](options& o) { o.name = ""; }, "tidefall: option name is empty, but must be a name"},
        {[](options& o) { o.partitions = 0; }, "tidefall: option partitions is 0, but must be 1 to 65536"},
        {[](options& o) { o.partitions = 65'537; }, "option partitions is 65537, but must be 1 to 65536"},
        {[](options& o) { o.partitions = most; }, "option partitions is 18446744073709551615, but"},
        {[](options& o) { o.processing_interval = 0s; }, "option processing_interval is 0ns, but must be above 0"},
        {[](options& o) { o.processing_interval = -1ns; }, "option processing_interval is -1ns, but must be above 0"},
        {[](options& o) { o.processing_interval = std::chrono::nanoseconds::min(); }, "processing_interval is -922"},
        {[](options& o) { o.processing_batch_size = 0; }, "processing_batch_size is 0, but must be at least 1"},
        {[](options& o) { o.processing_timeout = 0s; }, "option processing_timeout is 0ns, but must be above 0"},
        {[](options& o) { o.processing_timeout = -5s; }, "processing_timeout is -5000000000ns, but must be above 0"},
        {[](options& o) { o.drain_threshold = 0; }, "drain_threshold is 0, but must be none, or at least 1"},
        {[](options& o) { o.capacity = 0; }, "option capacity is 0, but must be none, or at least 1"},
        {[](options& o) { o.overflow = tidefall::overflow_policy::drop_oldest; }, "option overflow is drop_oldest"},
        {[](options& o) { o.overflow = static_cast<tidefall::overflow_policy>(9); }, "option overflow is 9, but"},
        {[](options& o) { o.timeout_action = static_cast<tidefall::timeout_action>(7); }, "timeout_action is 7, but"},
        {[](options& o) { o.overflow_timeout = -1ns; }, "option overflow_timeout is -1ns, but must be 0 or more"},
        {[](options& o) { o.shutdown_timeout = -1s; }, "shutdown_timeout is -1000000000ns, but must be 0 or more"},
    };
    auto const before = tests::thread_count();
    for (auto const& row : table) {
        options how;
        row.spoil(how);
        auto const message = message_of([&] { tidefall::queue<int>(how, [](std::span<int>) {}); });
        CHECK_THAT(message, tests::ContainsSubstring(row.message));
        CHECK(tests::thread_count() == before);
    }
    CHECK_THROWS_AS(tidefall::queue<int>({.partitions = 0}, [](std::span<int>) {}), std::invalid_argument);
}

TEST_CASE("options: the ends of every range are accepted") {
    auto const clock = tidefall::make_manual_runtime();
    auto const starts = [&](options how) {
        how.runtime = clock;
        int processed = 0;
        {
            tidefall::queue<int> items(how, [&](std::span<int> batch) { processed += static_cast<int>(batch.size()); });
            items.push(1);
        }
        return processed == 1;
    };
    CHECK(starts({.name = "x"}));
    CHECK(starts({.partitions = 1}));
    CHECK(starts({.partitions = 65'536}));
    CHECK(starts({.processing_interval = 1ns}));
    CHECK(starts({.processing_interval = forever}));
    CHECK(starts({.processing_batch_size = 1}));
    CHECK(starts({.processing_batch_size = most}));
    CHECK(starts({.processing_timeout = 1ns}));
    CHECK(starts({.processing_timeout = forever}));
    CHECK(starts({.drain_threshold = 1}));
    CHECK(starts({.drain_threshold = most}));
    CHECK(starts({.capacity = 1}));
    CHECK(starts({.capacity = most}));
    CHECK(starts({.capacity = 1, .overflow = tidefall::overflow_policy::drop_oldest}));
    CHECK(starts({.overflow = tidefall::overflow_policy::reject}));
    CHECK(starts({.overflow_timeout = 0s}));
    CHECK(starts({.overflow_timeout = forever}));
    CHECK(starts({.shutdown_timeout = forever}));
    // With no time for a shutdown, nothing is processed.
    CHECK_FALSE(starts({.shutdown_timeout = 0s}));
}

TEST_CASE("options: an interval of nanoseconds::max() never ticks, and costs nothing") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = forever, .runtime = clock}, seen);
    items.push(1);
    clock->advance(std::chrono::hours(24 * 365 * 100));
    CHECK(seen.batches().empty());
    items.update_options({.processing_interval = 1s});
    clock->advance(1s);
    CHECK(seen.batches().size() == 1);
}

TEST_CASE("options: an update changes what it names and nothing else") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = 5s,
                                .processing_batch_size = 2,
                                .drain_threshold = 4,
                                .runtime = clock},
                               seen);

    items.update_options({.processing_batch_size = 3});
    items.push_range(std::vector<int>{1, 2, 3});
    clock->advance(4999ms);
    CHECK(seen.batches().empty());  // the interval is as it was
    clock->advance(1ms);
    CHECK(seen.sizes() == std::vector<std::size_t>{3});

    items.update_options({.processing_interval = 1s});
    items.push_range(std::vector<int>{1, 2, 3});
    clock->advance(1s);
    CHECK(seen.sizes() == std::vector<std::size_t>{3, 3});  // the batch size too

    items.push_range(std::vector<int>{1, 2, 3, 4});
    clock->advance(0s);
    CHECK(seen.sizes() == std::vector<std::size_t>{3, 3, 3, 1});  // and the threshold

    SECTION("a threshold is left alone by nullopt") {
        items.update_options({.drain_threshold = std::nullopt});
        items.push_range(std::vector<int>{1, 2, 3, 4});
        clock->advance(0s);
        CHECK(items.size() == 0);
    }
    SECTION("and taken away by an empty optional") {
        items.update_options({.drain_threshold = std::optional<std::size_t>{}});
        items.push_range(std::vector<int>{1, 2, 3, 4});
        clock->advance(0s);
        CHECK(items.size() == 4);
        items.update_options({.drain_threshold = 4});  // reached already: takes effect at once
        clock->advance(0s);
        CHECK(items.size() == 0);
    }
}

TEST_CASE("options: a bad update changes nothing") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen);
    std::vector<std::pair<options_update, std::string>> const table{
        {{.processing_interval = 1s, .processing_batch_size = 0}, "processing_batch_size is 0, but must be at least 1"},
        {{.processing_interval = 0s}, "processing_interval is 0ns"},
        {{.processing_interval = 1s, .processing_timeout = -1s}, "processing_timeout is -1000000000ns"},
        {{.processing_interval = 1s, .drain_threshold = 0}, "drain_threshold is 0"},
        {{.processing_interval = 1s, .capacity = 0}, "capacity is 0"},
        {{.processing_interval = 1s, .overflow_timeout = -1s}, "overflow_timeout is -1000000000ns"},
        {{.processing_interval = 1s, .shutdown_timeout = -1s}, "shutdown_timeout is -1000000000ns"},
    };
    for (auto const& row : table) {
        auto const& update = row.first;
        auto const& message = row.second;
        CHECK_THAT(message_of([&] { items.update_options(update); }), tests::ContainsSubstring(message));
        CHECK_THAT(message_of([&] { items.partition(0).update_options(update); }), tests::ContainsSubstring(message));
    }
    items.update_options({});
    items.update_options({.capacity = std::optional<std::size_t>{}});
    items.push(1);
    clock->advance(4999ms);
    CHECK(seen.batches().empty());
    clock->advance(1ms);
    CHECK(seen.batches().size() == 1);
}

TEST_CASE("options: an update never postpones a tick and brings it forward to one new interval") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 10s, .runtime = clock}, seen);
    items.push(1);
    clock->advance(2s);
    items.update_options({.processing_interval = 60s});
    clock->advance(7999ms);
    CHECK(seen.batches().empty());
    clock->advance(1ms);
    CHECK(seen.batches().size() == 1);

    items.push(2);
    clock->advance(50s);
    items.update_options({.processing_interval = 5s});
    clock->advance(4999ms);
    CHECK(seen.batches().size() == 1);
    clock->advance(1ms);
    CHECK(seen.batches().size() == 2);
}

TEST_CASE("options: a running timer thread obeys a shorter interval at once") {
    std::atomic<int> processed{0};
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1h}, [&](std::span<int>) { ++processed; });
    items.push(1);
    items.update_options({.processing_interval = 1ms});
    while (processed == 0) std::this_thread::yield();
    CHECK(items.stats().processed <= 1);
}

TEST_CASE("options: the shutdown timeout can be updated") {
    auto const clock = tidefall::make_manual_runtime();
    int processed = 0;
    {
        tidefall::queue<int> items({.partitions = 1, .runtime = clock}, [&](std::span<int>) { ++processed; });
        items.update_options({.shutdown_timeout = 0s});
        items.push(1);
    }
    CHECK(processed == 0);
}

TEST_CASE("options: one partition can be updated alone") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> seen;
    tidefall::queue<int> items({.partitions = 2, .processing_interval = 5s, .runtime = clock},
                               [&](std::span<int> batch) { seen.push_back(batch.size()); });
    items.partition(0).update_options({.processing_interval = 1s, .processing_batch_size = 1});
    for (int key = 0; key < 100; ++key) items.push(key, tidefall::partition_key{key});
    auto const first = items.partition(0).size();
    CHECK(first > 0);
    CHECK(first < 100);
    clock->advance(1s);
    CHECK(seen == std::vector<std::size_t>(first, 1));
    CHECK(items.size() == 100 - first);
    CHECK_THAT(message_of([&] { items.partition(0).update_options({.shutdown_timeout = 1s}); }),
               tests::ContainsSubstring("shutdown_timeout is 1000000000ns, but must be updated for the whole buffer"));
    CHECK_THROWS_AS(items.partition(2), std::out_of_range);
}

TEST_CASE("options: a new processing timeout counts from the beginning of the call in progress") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 1h, .runtime = clock},
                               [&](std::span<int>, std::stop_token const& token) {
                                   clock->advance(3s);
                                   items.update_options({.processing_timeout = 4s});
                                   clock->advance(999ms);
                                   CHECK_FALSE(token.stop_requested());
                                   clock->advance(1ms);
                                   CHECK(token.stop_requested());
                               });
    items.push(1);
    CHECK(items.flush().failed == 1);
}
