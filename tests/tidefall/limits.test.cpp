// SPDX-License-Identifier: MIT
//
// Limits by weight, and those of all partitions together.
#include "../support/catch.hpp"
#include "../support/checker.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/detail/write/total_limit.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::check_conservation;
using tests::event_log;
using tests::latch;
using tests::one_partition;
using tests::returns;
using tidefall::drain_report;
using tidefall::failure_reason;
using tidefall::insertion_order;
using tidefall::overflow_policy;
using tidefall::partition_key;
using tidefall::queue;
using tidefall::weighed_by;
using tidefall::write_status;

namespace {

constexpr std::size_t weight_of_number(int number) {
    return static_cast<std::size_t>(number);
}

template <typename Order = insertion_order>
using weighed_queue = queue<int, Order, weighed_by<&weight_of_number>>;
using text_queue = queue<std::string, insertion_order, weighed_by<&std::string::size>>;
using batches = std::vector<std::vector<int>>;

struct keeps_batches {
    batches* into;
    void operator()(std::span<int const> batch) const { into->emplace_back(batch.begin(), batch.end()); }
};

/// By hand: as many as fit, but one at least.
batches cut(std::vector<int> const& values, std::size_t most, std::size_t weight) {
    batches all;
    std::size_t sum = 0;
    for (int const one : values) {
        auto const its = weight_of_number(one);
        if (all.empty() || all.back().size() == most || sum + its > weight) {
            all.emplace_back();
            sum = 0;
        }
        all.back().push_back(one);
        sum += its;
    }
    return all;
}

/// Keys that lead to each of the partitions.
template <typename Buffer>
std::vector<int> keys_of_partitions(Buffer const& of) {
    std::vector<int> keys(of.partitions(), -1);
    for (int key = 0; std::find(keys.begin(), keys.end(), -1) != keys.end(); ++key) keys[of.partition_of(key)] = key;
    return keys;
}

}  // namespace

TEMPLATE_TEST_CASE("limits: batches are cut by number and by weight", "", insertion_order, tidefall::producer_order) {
    auto const clock = tidefall::make_manual_runtime();
    std::uint64_t random = tests::seed();
    for (int round = 0; round < 60; ++round) {
        random = tests::mixed(random + 1);
        auto const most = 1 + random % 7;
        auto const weight = 1 + random / 7 % 30;
        batches seen;
        auto how = one_partition(clock, most);
        how.processing_batch_weight = weight;
        weighed_queue<TestType> items(how, keeps_batches{&seen});
        std::vector<int> values;
        for (std::size_t i = 0; i < 1 + random / 300 % 200; ++i) {
            values.push_back(static_cast<int>(tests::mixed(random + i) % 20));
            items.push(values.back());
        }
        CHECK(items.stats().pending_weight ==
              static_cast<std::size_t>(std::accumulate(values.begin(), values.end(), 0)));
        CHECK(items.stop().processed == values.size());
        CHECK(seen == cut(values, most, weight));
        CHECK(items.stats().pending_weight == 0);
    }
}

TEST_CASE("limits: sorted values are weighed in their order, gathered, and offered again as they were cut") {
    auto const clock = tidefall::make_manual_runtime();
    batches seen;
    auto how = one_partition(clock, 100);
    how.processing_batch_weight = 10;
    queue<int, tidefall::sorted_by<std::identity{}>, weighed_by<&weight_of_number>> items(
        how, [&](std::span<int const> batch, tidefall::batch_info const& info) {
            seen.emplace_back(batch.begin(), batch.end());
            tidefall::batch_result result;
            if (info.attempt == 1 && info.index == 1) result.reject_from(0);
            return result.retry_after(0s);
        });
    for (int const one : {12, 4, 1, 3, 7, 2, 5}) items.push(one);
    items.flush();
    clock->advance(0s);
    CHECK(seen == batches{{1, 2, 3, 4}, {5}, {5}, {7}, {12}});
}

TEST_CASE("limits: a weight starts a drain, and bounds what waits") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    auto how = one_partition(clock, 100);
    how.telemetry = log;
    how.drain_threshold_weight = 10;
    how.capacity_weight = 20;
    how.overflow = overflow_policy::reject;
    weighed_queue<> items(how, [](std::span<int>) {});
    log->clear();
    items.push(9);
    clock->advance(0s);
    CHECK(log->lines().empty());
    items.push(1);
    clock->advance(0s);
    CHECK(log->lines()[0] == "processing_start 0 2 threshold");
    CHECK(items.push(30) == write_status::accepted);  // an empty partition takes what is heavier than the limit
    CHECK(items.push(0) == write_status::full);
    CHECK(items.stats().pending_weight == 30);
    clock->advance(0s);
    CHECK(items.push(9) == write_status::accepted);
    CHECK(items.push(12) == write_status::full);
    CHECK(items.push(11) == write_status::accepted);
    CHECK(items.push(1) == write_status::full);
    CHECK(items.push(0) == write_status::accepted);
    items.update_options({.drain_threshold_weight = std::optional<std::size_t>{}, .capacity_weight = 30});
    CHECK(items.push(10) == write_status::accepted);
    CHECK(items.push(1) == write_status::full);
    items.update_options({.capacity_weight = std::optional<std::size_t>{}});
    CHECK(items.push(1000) == write_status::accepted);
    CHECK(items.stop().complete);
    check_conservation(items.stats());
}

TEST_CASE("limits: a write that finds no room by weight starts a drain") {
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock, 100);
    how.processing_interval = std::chrono::nanoseconds::max();
    how.capacity_weight = 20;
    how.overflow = GENERATE(overflow_policy::reject, overflow_policy::block);
    weighed_queue<> items(how, [](std::span<int>) {});
    items.push(15);
    CHECK(items.push(6) == (how.overflow == overflow_policy::reject ? write_status::full : write_status::accepted));
    clock->advance(0s);
    CHECK(items.stats().processed == 1);
    CHECK(items.push(7) == write_status::accepted);
    CHECK(items.push(14) == (how.overflow == overflow_policy::reject ? write_status::full : write_status::accepted));
    clock->advance(0s);
    CHECK(items.stats().processed == (how.overflow == overflow_policy::reject ? 2 : 3));
}

TEST_CASE("limits: the oldest values make room by weight, as many as it takes") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    auto how = one_partition(clock, 100);
    how.processing_interval = std::chrono::nanoseconds::max();
    how.capacity_weight = 20;
    how.overflow = overflow_policy::drop_oldest;
    weighed_queue<> items(
        how, [](std::span<int>) {}, back);
    for (int const one : {5, 6, 7}) items.push(one);
    CHECK(items.push(9) == write_status::accepted);
    CHECK(back.values() == std::vector{5, 6});
    CHECK(items.push(50) == write_status::accepted);
    CHECK(back.values() == std::vector{5, 6, 7, 9});
    for (auto const& one : back.all()) CHECK(one.reason == failure_reason::overflow);
    CHECK(items.stats().pending_weight == 50);
    CHECK(items.stats().dropped == 4);
    CHECK(items.stop().complete);
    check_conservation(items.stats());
}

TEST_CASE("limits: a weight that throws reaches the writer, or fails the drain, and nothing is lost") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    auto how = one_partition(clock, 100);
    how.processing_batch_weight = 10;
    static bool throws = false;
    constexpr auto weight = [](int) -> std::size_t {
        if (throws) throw std::runtime_error("no weight");
        return 1;
    };
    queue<int, insertion_order, weighed_by<weight>> items(
        how, [](std::span<int>) {}, back);
    throws = true;
    CHECK_THROWS_WITH(items.push(0), "no weight");
    CHECK(items.size() == 0);
    throws = false;
    for (int i = 1; i < 5; ++i) items.push(i);
    throws = true;
    CHECK(items.flush() == drain_report{.failed = 4});
    throws = false;
    CHECK(back.values() == std::vector{1, 2, 3, 4});
    CHECK_THROWS_WITH(std::rethrow_exception(back.all()[0].error), "no weight");
    items.push(5);
    CHECK(items.stop().processed == 1);
    check_conservation(items.stats());
}

TEST_CASE(
    "limits: where a move throws while the oldest make room by weight, each value is returned or processed as it was") {
    struct moody {
        int number;
        explicit moody(int of) : number(of) {}
        moody(moody&& other) : number(other.number) {
            if (moves_left() == 0) throw std::runtime_error("not now");
            if (moves_left() > 0) --moves_left();
            other.number = -1;
        }
        static int& moves_left() {
            static int left = -1;
            return left;
        }
    };
    constexpr auto weight = [](moody const& one) -> std::size_t { return one.number == 50 ? 18 : 5; };
    for (int moves = 0; moves < 8; ++moves) {
        CAPTURE(moves);
        auto const clock = tidefall::make_manual_runtime();
        auto how = one_partition(clock, 100);
        how.capacity_weight = 20;
        how.overflow = overflow_policy::drop_oldest;
        std::vector<int> seen;
        auto const see = [&](std::span<moody> some) {
            for (auto const& one : some) seen.push_back(one.number);
        };
        queue<moody, insertion_order, weighed_by<weight>> items(
            how, see, [&](std::span<moody> some, tidefall::failure const&) { see(some); });
        for (int i = 1; i <= 4; ++i) items.emplace(i);
        moody::moves_left() = moves;
        std::vector<int> expected{1, 2, 3, 4};
        try {
            items.emplace(50);
            expected.push_back(50);
        } catch (std::runtime_error const&) {
        }
        moody::moves_left() = -1;
        items.stop();
        CHECK(seen == expected);
        check_conservation(items.stats());
    }
}

TEST_CASE("limits: a weight that throws while the oldest make room takes the newest back, and what went is returned") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    auto how = one_partition(clock, 100);
    how.capacity_weight = 20;
    how.overflow = overflow_policy::drop_oldest;
    static int without_weight = 0;
    constexpr auto weight = [](int one) -> std::size_t {
        if (one == without_weight) throw std::runtime_error("no weight");
        return one == 50 ? 15 : 5;
    };
    queue<int, insertion_order, weighed_by<weight>> items(
        how, [](std::span<int>) {}, back);
    for (int i = 1; i < 5; ++i) items.push(i);
    without_weight = 2;
    CHECK_THROWS_WITH(items.push(50), "no weight");  // it is heavier than the first alone
    without_weight = 0;
    CHECK(back.values() == std::vector{1});
    CHECK(items.size() == 3);
    CHECK(items.stats().pending_weight == 15);
    CHECK(items.push(5) == write_status::accepted);  // there is room for it
    CHECK(items.stats().dropped == 1);
    CHECK(items.stop().processed == 4);
    check_conservation(items.stats());
}

TEST_CASE("limits: ranges and emplaced values are weighed, in batches and whole tables") {
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock, 100);
    how.capacity_weight = 10;
    how.overflow = overflow_policy::reject;
    std::size_t values = 0;
    text_queue items(how, [&](tidefall::queue_table<std::string> table) { values += table.size(); });
    CHECK(items.push_range(std::vector<std::string>{"four", "four", "two", "x"}) == 2);
    CHECK(items.emplace(2U, 'x') == write_status::accepted);
    CHECK(items.stats().pending_weight == 10);
    CHECK(items.stop().processed == 3);
    CHECK(values == 3);
}

TEST_CASE("limits: a weighed table takes its weight along, and leaves none behind") {
    using weighed_table = weighed_queue<>::table_type;
    weighed_table first;
    first.add_weight(7);
    weighed_table second(std::move(first));
    CHECK(first.weight() == 0);
    CHECK(second.weight() == 7);
    first.add_weight(2);
    swap(first, second);
    CHECK(first.weight() == 7);
    CHECK(second.weight() == 2);
    second = std::move(first);
    CHECK(first.weight() == 0);
    CHECK(second.weight() == 7);
    second.take_weight(3);
    CHECK(second.weight() == 4);
    second.emplace_back(1);
    second.clear();
    CHECK(second.weight() == 0);
    CHECK(second.size() == 0);
}

TEST_CASE("limits: weights are options of buffers that have them") {
    auto const clock = tidefall::make_manual_runtime();
    auto const refused = [&](tidefall::options how, char const* why) {
        how.runtime = clock;
        CHECK_THROWS_WITH(queue<int>(how, [](std::span<int>) {}), why);
    };
    refused({.processing_batch_weight = 5},
            "tidefall: option processing_batch_weight is 5, but must be none: the buffer's values have no weight");
    refused({.drain_threshold_weight = 5},
            "tidefall: option drain_threshold_weight is 5, but must be none: the buffer's values have no weight");
    refused({.capacity_weight = 5},
            "tidefall: option capacity_weight is 5, but must be none: the buffer's values have no weight");
    refused({.total_capacity = 0}, "tidefall: option total_capacity is 0, but must be none, or at least 1");
    queue<int> items(one_partition(clock), [](std::span<int>) {});
    CHECK_THROWS_AS(items.update_options({.capacity_weight = 5}), tidefall::invalid_options);
    items.update_options({.capacity_weight = std::optional<std::size_t>{}});
    CHECK_THROWS_WITH(items.partition(0).update_options({.total_capacity = 5}),
                      "tidefall: option total_capacity is 5, but must be updated for the whole buffer");
    CHECK_THROWS_AS(weighed_queue<>({.capacity_weight = 0, .runtime = clock}, [](std::span<int>) {}),
                    tidefall::invalid_options);
}

TEST_CASE("limits: exactly as many values wait in all partitions together as may") {
    auto const clock = tidefall::make_manual_runtime();
    auto const limit = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{64}, std::size_t{1000});
    auto const one_alone = GENERATE(false, true);
    queue<std::size_t> items({.partitions = 4,
                              .processing_interval = std::chrono::nanoseconds::max(),
                              .total_capacity = limit,
                              .overflow = overflow_policy::reject,
                              .runtime = clock},
                             [](std::span<std::size_t>) {});
    auto const keys = keys_of_partitions(items);
    for (int round = 0; round < 3; ++round) {
        std::size_t accepted = 0;
        for (std::size_t i = 0; i < 2 * limit + 4; ++i) {
            auto const key = keys[one_alone ? static_cast<std::size_t>(round) : i % 4];
            if (items.push(i, partition_key{key}) == write_status::accepted) ++accepted;
        }
        CHECK(accepted == limit);
        CHECK(items.size() == limit);
        clock->advance(0s);  // what held values drained
        CHECK(items.size() == 0);
    }
    CHECK(items.stop().complete);
    check_conservation(items.stats());
}

TEST_CASE("limits: what one partition leased and does not use is another's") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 4,
                      .processing_interval = 1h,
                      .total_capacity = 100,
                      .overflow = overflow_policy::reject,
                      .runtime = clock},
                     [](std::span<int>) {});
    auto const keys = keys_of_partitions(items);
    for (auto const key : keys) items.push(0, partition_key{key});
    std::size_t accepted = 0;
    while (items.push(1, partition_key{keys[2]}) == write_status::accepted) ++accepted;
    CHECK(accepted == 96);
    items.update_options({.total_capacity = 110});
    while (items.push(1, partition_key{keys[3]}) == write_status::accepted) ++accepted;
    CHECK(accepted == 106);
    items.update_options({.total_capacity = std::optional<std::size_t>{}});
    for (int i = 0; i < 100; ++i) CHECK(items.push(1, partition_key{keys[1]}) == write_status::accepted);
    items.update_options({.total_capacity = 300});
    while (items.push(1, partition_key{keys[3]}) == write_status::accepted) ++accepted;
    CHECK(items.size() == 300);
    items.update_options({.total_capacity = 10});  // which is exceeded
    clock->advance(0s);
    CHECK(items.size() == 0);
    accepted = 0;
    while (items.push(1, partition_key{keys[0]}) == write_status::accepted) ++accepted;
    CHECK(accepted == 10);
}

TEST_CASE("limits: where the limit of all partitions is lowered below what waits, they drain") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 2, .processing_interval = 1h, .total_capacity = 10, .runtime = clock},
                     [](std::span<int>) {});
    for (int i = 0; i < 5; ++i) items.push(i, partition_key{i});
    clock->advance(0s);
    CHECK(items.size() == 5);
    items.update_options({.total_capacity = 3});
    clock->advance(0s);
    CHECK(items.size() == 0);
}

TEST_CASE("limits: where the limit of all partitions goes, one that has a lease yet finds room") {
    tidefall::detail::total_limit total(2);
    total.change(16);
    auto const leased = total.lease();
    CHECK(leased == 4);
    CHECK(total.change(std::nullopt));
    total.give_back(leased);
    CHECK(total.lease() > 0);
    CHECK_FALSE(total.exists());
}

TEST_CASE("limits: a capacity of each partition holds beside that of all") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<int, int> map({.partitions = 2,
                                      .processing_interval = std::chrono::nanoseconds::max(),
                                      .capacity = 6,
                                      .total_capacity = 8,
                                      .overflow = overflow_policy::reject,
                                      .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    std::vector<int> in_first;
    std::vector<int> in_second;
    for (int key = 0; in_first.size() < 9 || in_second.size() < 9; ++key) {
        (map.partition_of(key) == 0 ? in_first : in_second).push_back(key);
    }
    std::size_t accepted = 0;
    for (int const key : in_first) accepted += map.put(key, 1) == write_status::accepted ? 1U : 0U;
    CHECK(accepted == 6);
    accepted = 0;
    for (int const key : in_second) accepted += map.put(key, 1) == write_status::accepted ? 1U : 0U;
    CHECK(accepted == 2);
    CHECK(map.put(in_first[0], 2) == write_status::accepted);  // it changes a value that is held
    CHECK(map.erase(in_first[1]));
    CHECK(map.put(in_second[5], 1) == write_status::accepted);  // the room that was made there
    CHECK(map.put(in_second[6], 1) == write_status::full);
    CHECK(map.stop().complete);
    check_conservation(map.stats());
}

TEST_CASE("limits: at the limit of all partitions the oldest of the writer's own makes room, or none") {
    auto const clock = tidefall::make_manual_runtime();
    returns<int> const back;
    queue<int> items(
        {.partitions = 2,
         .processing_interval = 1h,
         .total_capacity = 3,
         .overflow = overflow_policy::drop_oldest,
         .runtime = clock},
        [](std::span<int>) {}, back);
    auto const keys = keys_of_partitions(items);
    for (int i = 0; i < 3; ++i) items.push(i, partition_key{keys[0]});
    CHECK(items.push(3, partition_key{keys[1]}) == write_status::full);
    CHECK(items.push(4, partition_key{keys[0]}) == write_status::accepted);
    CHECK(back.values() == std::vector{0});
    CHECK(items.size() == 3);
    CHECK(items.stop().processed == 3);
    check_conservation(items.stats());
}

TEST_CASE("limits: who finds no room in all partitions hears of it, and of the next swap of any") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    queue<int> items({.partitions = 2,
                      .processing_interval = 1h,
                      .total_capacity = 2,
                      .overflow = overflow_policy::reject,
                      .telemetry = log,
                      .runtime = clock},
                     [](std::span<int>) {});
    auto const keys = keys_of_partitions(items);
    log->clear();
    items.push(0, partition_key{keys[0]});
    items.push(1, partition_key{keys[0]});
    CHECK(items.push(2, partition_key{keys[1]}) == write_status::full);
    CHECK(items.push(3, partition_key{keys[1]}) == write_status::full);
    CHECK(log->lines() == std::vector<std::string>{"partition_full 1 0"});
    clock->advance(0s);
    CHECK(log->lines() == std::vector<std::string>{"partition_full 1 0", "partition_room 1 2",
                                                   "processing_start 0 2 capacity", "processing_stop 0 2"});
}

TEST_CASE("limits: a write waits for room that another partition makes") {
    latch entered;
    latch go_on;
    std::atomic<int> calls{0};
    queue<int> items({.partitions = 2,
                      .processing_interval = std::chrono::nanoseconds::max(),
                      .total_capacity = 2,
                      .overflow_timeout = std::chrono::nanoseconds::max(),
                      .shutdown_timeout = 1h},
                     [&](std::span<int>) {
                         if (calls++ == 0) {
                             entered.open();
                             go_on.wait();
                         }
                     });
    auto const keys = keys_of_partitions(items);
    items.push(0, partition_key{keys[0]});
    items.push(1, partition_key{keys[0]});  // the limit: a drain begins, and its call hangs
    entered.wait();
    items.push(2, partition_key{keys[0]});
    items.push(3, partition_key{keys[0]});
    auto status = write_status::stale;
    std::thread writer([&] { status = items.push(4, partition_key{keys[1]}); });
    go_on.open();
    writer.join();
    CHECK(status == write_status::accepted);
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 5);
}

TEST_CASE("limits: without threads a write that waits for room of all partitions drains them itself") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 2, .processing_interval = 1h, .total_capacity = 2, .runtime = clock},
                     [](std::span<int>) {});
    auto const keys = keys_of_partitions(items);
    items.push(0, partition_key{keys[0]});
    items.push(1, partition_key{keys[0]});
    CHECK(items.push(2, partition_key{keys[1]}) == write_status::accepted);
    CHECK(items.stop().complete);
    CHECK(items.stats().processed == 3);
}

TEST_CASE("limits: a limit of all partitions that is set and not reached starts no drain") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 2, .processing_interval = 1h, .total_capacity = 10, .runtime = clock},
                     [](std::span<int>) {});
    for (int i = 0; i < 5; ++i) items.push(i, partition_key{i});
    items.update_options({.total_capacity = 6});
    clock->advance(0s);
    CHECK(items.size() == 5);
}

TEST_CASE("limits: without threads a write that waits for room of its own partition drains no other") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 2, .processing_interval = 1h, .capacity = 2, .runtime = clock},
                     [](std::span<int>) {});
    auto const keys = keys_of_partitions(items);
    items.push(0, partition_key{keys[1]});
    for (int i = 0; i < 3; ++i) CHECK(items.push(i, partition_key{keys[0]}) == write_status::accepted);
    CHECK(items.partition(0).size() == 1);
    CHECK(items.partition(1).size() == 1);
}

TEST_CASE("limits: one that is set to what waits is reached") {
    struct limit {
        tidefall::options_update just;
        tidefall::options_update above;
        char const* start;
    };
    auto const one =
        GENERATE(limit{{.drain_threshold = 2}, {.drain_threshold = 3}, "processing_start 0 2 threshold"},
                 limit{{.drain_threshold_weight = 5}, {.drain_threshold_weight = 6}, "processing_start 0 2 threshold"},
                 limit{{.capacity = 2}, {.capacity = 3}, "processing_start 0 2 capacity"},
                 limit{{.capacity_weight = 5}, {.capacity_weight = 6}, "processing_start 0 2 capacity"});
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<event_log>();
    auto how = one_partition(clock);
    how.processing_interval = 1h;
    how.telemetry = log;
    weighed_queue<> items(how, [](std::span<int>) {});
    items.push(2);
    items.push(3);
    log->clear();
    items.update_options(one.above);
    clock->advance(0s);
    CHECK(log->lines().empty());
    items.update_options(one.just);
    clock->advance(0s);
    REQUIRE(log->lines().size() == 2);
    CHECK(log->lines()[0] == one.start);
}

TEST_CASE("limits: a change of a partition's own limits leaves what it has leased") {
    auto const clock = tidefall::make_manual_runtime();
    queue<int> items({.partitions = 2,
                      .processing_interval = 1h,
                      .total_capacity = 20,
                      .overflow = overflow_policy::reject,
                      .runtime = clock},
                     [](std::span<int>) {});
    for (int i = 0; i < 10; ++i) items.push(i, partition_key{0});
    for (std::size_t limit = 30; limit < 33; ++limit) items.update_options({.capacity = limit});
    std::size_t accepted = 10;
    while (items.push(1, partition_key{0}) == write_status::accepted) ++accepted;
    CHECK(accepted == 20);
}

TEST_CASE("limits: several stripes have one weight, from the change on that limits it, and none after a swap") {
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock);
    how.processing_interval = 1h;
    how.overflow = overflow_policy::reject;
    weighed_queue<tidefall::producer_order> items(how, [](std::span<int>) {});
    items.push(6);
    items.update_options({.capacity_weight = 10});
    auto const elsewhere = [&](int value) {
        auto status = write_status::stale;
        std::thread([&] { status = items.push(value); }).join();
        return status;
    };
    for (int round = 0; round < 3; ++round) {
        CHECK(elsewhere(6) == write_status::full);
        CHECK(elsewhere(4) == write_status::accepted);
        clock->advance(0s);
        CHECK(items.size() == 0);
        CHECK(items.push(6) == write_status::accepted);
    }
}

TEST_CASE("limits: the oldest values go only for what goes over a limit, by number or by weight") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> back;
    std::vector<write_status> inside;
    auto how = one_partition(clock, 100);
    how.processing_interval = 1s;
    how.capacity = 3;
    how.capacity_weight = 20;
    how.overflow = overflow_policy::drop_oldest;
    weighed_queue<>* self = nullptr;
    weighed_queue<> items(
        how, [](std::span<int>) {},
        [&](std::span<int> some, tidefall::failure const&) {
            back.insert(back.end(), some.begin(), some.end());
            inside.push_back(self->push(20));  // which would have others go in turn
        });
    self = &items;
    for (int const one : {5, 6, 9}) CHECK(items.push(one) == write_status::accepted);
    CHECK(back.empty());  // both limits are kept
    CHECK(items.push(1) == write_status::accepted);
    CHECK(back == std::vector{5});
    CHECK(items.push(10) == write_status::accepted);
    CHECK(back == std::vector{5, 6});
    CHECK(items.stats().pending_weight == 20);
    CHECK(inside == std::vector{write_status::full, write_status::full});
    clock->advance(1s);  // the first write has planned a tick
    CHECK(items.stats().processed == 3);
    check_conservation(items.stats());
}

TEST_CASE("limits: what is not inserted weighs nothing") {
    struct moves_or_not {
        explicit moves_or_not(bool throws) : fails(throws) {}
        moves_or_not(moves_or_not&& other) : fails(other.fails) {
            if (fails) throw std::runtime_error("not moved");
        }
        bool fails;
    };
    constexpr auto weight = [](moves_or_not const&) -> std::size_t { return 6; };
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock);
    how.processing_interval = 1h;
    how.capacity_weight = 12;
    how.overflow = overflow_policy::reject;
    queue<moves_or_not, tidefall::producer_order, weighed_by<weight>> items(how, [](std::span<moves_or_not>) {});
    CHECK(items.push(moves_or_not(false)) == write_status::accepted);
    CHECK_THROWS_WITH(items.push(moves_or_not(true)), "not moved");
    CHECK(items.push(moves_or_not(false)) == write_status::accepted);
    CHECK(items.push(moves_or_not(false)) == write_status::full);
}

TEST_CASE("limits: where the oldest make room by weight the first write plans a tick as any other") {
    auto const clock = tidefall::make_manual_runtime();
    auto how = one_partition(clock);
    how.processing_interval = 1s;
    how.capacity_weight = 20;
    how.overflow = overflow_policy::drop_oldest;
    weighed_queue<> items(how, [](std::span<int>) {});
    items.push(5);
    clock->advance(1s);
    CHECK(items.stats().processed == 1);
}

TEST_CASE("limits: a write that finds no room by weight drains its own partition, whatever waits in all") {
    auto const clock = tidefall::make_manual_runtime();
    weighed_queue<> items({.partitions = 2,
                           .processing_interval = 1h,
                           .capacity_weight = 10,
                           .total_capacity = 5,
                           .overflow = overflow_policy::reject,
                           .runtime = clock},
                          [](std::span<int>) {});
    auto const keys = keys_of_partitions(items);
    CHECK(items.push(10, partition_key{keys[0]}) == write_status::accepted);
    CHECK(items.push(1, partition_key{keys[1]}) == write_status::accepted);
    CHECK(items.push(5, partition_key{keys[0]}) == write_status::full);
    clock->advance(0s);
    CHECK(items.partition(0).size() == 0);
    CHECK(items.partition(1).size() == 1);
}

TEST_CASE("limits: a bulk write changes what a full map holds") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::hash_map<int, int> map({.partitions = 1,
                                      .processing_interval = 1h,
                                      .capacity = 2,
                                      .overflow = overflow_policy::reject,
                                      .runtime = clock},
                                     [](std::span<tidefall::entry<int, int>>) {});
    std::vector<std::pair<int, int>> const pairs{{1, 1}, {2, 2}};
    CHECK(map.put_all(pairs) == 2);
    CHECK(map.put_all(std::vector<std::pair<int, int>>{{1, 3}, {2, 4}}) == 2);
    CHECK(map.get(1) == 3);
    CHECK(map.get(2) == 4);
    CHECK(map.put(3, 3) == write_status::full);
}
