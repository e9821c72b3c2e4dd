// SPDX-License-Identifier: MIT
//
// The engine with tables other than a queue's: the extension point.
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/buffer.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <set>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::latch;
using tests::recorder;
using tests::returns;
using tidefall::drain_report;
using tidefall::write_status;

namespace {

/// Distinct values, in the order in which they came first.
class set_table {
public:
    using value_type = int;

    [[nodiscard]] std::size_t size() const noexcept { return values_.size() - taken_; }
    [[nodiscard]] std::span<int> take(std::size_t most) noexcept {
        auto const run = std::span(values_).subspan(taken_, std::min(most, size()));
        taken_ += run.size();
        return run;
    }
    void clear() noexcept {
        values_.clear();
        known_.clear();
        taken_ = 0;
    }
    void shrink_to_fit() noexcept {
        values_ = {};
        ++shrunk;
    }
    void absorb(set_table&& other) {
        for (int const value : other.values_) insert(value);
        other.clear();
    }

    bool insert(int value) {
        if (!known_.insert(value).second) return false;
        values_.push_back(value);
        return true;
    }
    bool erase(int value) {
        if (known_.erase(value) == 0) return false;
        std::erase(values_, value);
        return true;
    }

    static inline int shrunk = 0;

private:
    std::vector<int> values_;
    std::set<int> known_;
    std::size_t taken_ = 0;
};
static_assert(tidefall::table<set_table>);

class set_buffer : public tidefall::buffer<set_table> {
public:
    using buffer::buffer;

    write_status insert(int value) {
        return write(route_by(value), [&](set_table& table) {
            if (value < 0) return write_status::stale;
            table.insert(value);
            return write_status::accepted;
        });
    }
    write_status failing_insert(int value) {
        return write(route_by(value), [&](set_table& table) -> write_status {
            table.insert(value);
            throw std::runtime_error("after the insertion");
        });
    }
};

struct not_a_table {
    using value_type = int;
};
static_assert(!tidefall::table<not_a_table>);
static_assert(!tidefall::table<std::vector<int>>);

}  // namespace

TEST_CASE("partition: a table of one's own, in one stripe and in many") {
    auto const clock = tidefall::make_manual_runtime();
    auto const stripes = GENERATE(std::size_t{1}, 2, 16);
    auto const batch = GENERATE(std::size_t{1}, 7, 1000);
    tests::recorder<int> const seen;
    set_buffer values({.partitions = 1, .processing_batch_size = batch, .runtime = clock}, seen,
                      tidefall::discard_undelivered{}, stripes);
    for (int round = 0; round < 3; ++round) {
        for (int value = 0; value < 100; ++value) CHECK(values.insert(value) == write_status::accepted);
    }
    CHECK(values.insert(-1) == write_status::stale);
    CHECK(values.size() == 100);
    clock->advance(5s);
    std::vector<std::size_t> expected(100 / batch, batch);
    if (100 % batch != 0) expected.push_back(100 % batch);
    CHECK(seen.sizes() == expected);  // gathered over the stripes: each full but the last
    auto all = seen.values();
    std::sort(all.begin(), all.end());
    for (int value = 0; value < 100; ++value) CHECK(all[static_cast<std::size_t>(value)] == value);
    auto const stats = values.stats();
    CHECK(stats.accepted == 300);
    CHECK(stats.coalesced == 200);
    CHECK(stats.refused == 1);
    CHECK(stats.processed == 100);
    CHECK(stats.ticks == 1);
    CHECK(stats.accepted == stats.processed + stats.coalesced);
}

TEST_CASE("partition: table mode over several stripes absorbs them") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> sizes;
    set_buffer values(
        {.partitions = 1, .runtime = clock},
        [&](set_table whole) { sizes.push_back(whole.size()); },  // NOLINT(performance-*)
        tidefall::discard_undelivered{}, 8);
    for (int value = 0; value < 100; ++value) values.insert(value);
    clock->advance(5s);
    for (int value = 0; value < 10; ++value) values.insert(value);
    clock->advance(5s);
    CHECK(sizes == std::vector<std::size_t>{100, 10});
}

TEST_CASE("partition: a write that throws after it changed its table still sets the tick") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    set_buffer values({.partitions = 1, .runtime = clock}, seen);
    CHECK_THROWS_AS(values.failing_insert(1), std::runtime_error);
    clock->advance(5s);
    CHECK(seen.values() == std::vector<int>{1});
}

TEST_CASE("partition: a threshold counts over the stripes, and every crossing starts a drain") {
    auto const clock = tidefall::make_manual_runtime();
    auto const stripes = GENERATE(std::size_t{1}, 4);
    tests::recorder<int> const seen;
    set_buffer values({.partitions = 1, .processing_batch_size = 1000, .drain_threshold = 10, .runtime = clock}, seen,
                      tidefall::discard_undelivered{}, stripes);
    for (int round = 0; round < 3; ++round) {
        for (int value = 0; value < 9; ++value) values.insert(value);
        clock->advance(0s);
        CHECK(values.size() == 9);
        values.insert(9);
        clock->advance(0s);
        CHECK(values.size() == 0);
    }
    CHECK(seen.sizes() == std::vector<std::size_t>{10, 10, 10});
    values.update_options({.drain_threshold = std::optional<std::size_t>{}});
    for (int value = 0; value < 50; ++value) values.insert(value);
    clock->advance(0s);
    CHECK(values.size() == 50);
    values.update_options({.drain_threshold = 60});
    for (int value = 50; value < 60; ++value) values.insert(value);
    clock->advance(0s);
    CHECK(values.size() == 0);
}

TEST_CASE("partition: stripes are a power of two") {
    CHECK_THROWS_WITH(set_buffer(
                          {}, [](std::span<int>) {}, tidefall::discard_undelivered{}, 3),
                      tests::ContainsSubstring("stripes is 3, but must be a power of two"));
    CHECK_THROWS_AS(set_buffer(
                        {}, [](std::span<int>) {}, tidefall::discard_undelivered{}, 0),
                    tidefall::invalid_options);
}

TEST_CASE("partition: ten intervals after its last swap an idle partition gives its memory back, once") {
    auto const clock = tidefall::make_manual_runtime();
    set_buffer values({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<int>) {});
    values.insert(1);
    clock->advance(1s);
    auto const before = set_table::shrunk;
    clock->advance(9999ms);
    CHECK(set_table::shrunk == before);
    clock->advance(1ms);
    CHECK(set_table::shrunk == before + 1);
    clock->advance(1h);
    CHECK(set_table::shrunk == before + 1);

    // What was written shortly before keeps its own tick.
    tests::recorder<int> const seen;
    set_buffer late({.partitions = 1, .processing_interval = 1s, .runtime = clock}, seen);
    late.insert(1);
    clock->advance(1s);
    clock->advance(9500ms);
    late.insert(2);
    clock->advance(999ms);
    CHECK(seen.values() == std::vector<int>{1});
    clock->advance(1ms);
    CHECK(seen.values() == std::vector<int>{1, 2});
}

TEST_CASE("partition: what is dropped at a deadline comes back from every stripe") {
    auto const clock = tidefall::make_manual_runtime();
    tests::returns<int> const back;
    set_buffer values(
        {.partitions = 2, .runtime = clock}, [](std::span<int>) {}, back, 4);
    for (int value = 0; value < 100; ++value) values.insert(value);
    CHECK(values.stop(0s).dropped == 100);
    auto all = back.values();
    std::sort(all.begin(), all.end());
    REQUIRE(all.size() == 100);
    CHECK(all.front() == 0);
    CHECK(all.back() == 99);
}

TEST_CASE("partition: a later write to another stripe does not postpone the tick") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    set_buffer values({.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen,
                      tidefall::discard_undelivered{}, 16);
    for (int value = 0; value < 5; ++value) {
        for (int i = 0; i < 10; ++i) values.insert(10 * value + i);  // some find a stripe empty
        clock->advance(999ms);
    }
    clock->advance(5ms);
    CHECK(seen.values().size() == 50);
}

TEST_CASE("partition: a stop closes every stripe, and what waits beside a call comes back from all of them") {
    auto const clock = tidefall::make_manual_runtime();
    bool const busy = GENERATE(false, true);
    latch entered;
    latch release;
    returns<int> const back;
    set_buffer values(
        {.partitions = 1, .runtime = clock},
        [&](std::span<int>) {
            entered.open();
            release.wait();
        },
        back, 8);
    std::thread other;
    if (busy) {
        values.insert(1000);
        other = std::thread([&] { clock->advance(5s); });
        entered.wait();
        for (int value = 0; value < 100; ++value) values.insert(value);
    } else {
        release.open();
    }
    CHECK(values.stop().dropped == (busy ? 100U : 0U));
    for (int value = 0; value < 100; ++value) CHECK(values.insert(value) == write_status::stopped);
    CHECK(back.values().size() == (busy ? 100U : 0U));
    CHECK(values.size() == 0);
    release.open();
    if (other.joinable()) other.join();
}

TEST_CASE("partition: an update brings the look at idle memory forward, and never postpones it") {
    auto const clock = tidefall::make_manual_runtime();
    auto const updated = GENERATE(1s, 1h);
    set_buffer values({.partitions = 1, .processing_interval = 10s, .runtime = clock}, [](std::span<int>) {});
    values.insert(1);
    clock->advance(10s);
    auto const before = set_table::shrunk;
    values.update_options({.processing_interval = updated});
    clock->advance(updated == 1s ? 10s : 100s);
    CHECK(set_table::shrunk == before + 1);
}

TEST_CASE("partition: the memory of a paused drain is looked at later") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    set_buffer values({.partitions = 1, .processing_interval = 1s, .processing_batch_size = 1, .runtime = clock},
                      [&](std::span<int> batch) {
                          seen(batch);
                          if (seen.batches().size() == 1) clock->advance(11s);
                      });
    for (int value = 0; value < 3; ++value) values.insert(value);
    auto const before = set_table::shrunk;
    CHECK(values.flush(1s) == drain_report{.processed = 1, .complete = false});
    CHECK(set_table::shrunk == before);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{0, 1, 2});
    clock->advance(10s);
    CHECK(set_table::shrunk > before);
}
