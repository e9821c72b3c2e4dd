// SPDX-License-Identifier: MIT
//
// The engine with a table of one's own: the extension point. What it shares with every buffer is tested there.
#include "../support/catch.hpp"
#include "../support/recorder.hpp"
#include "../support/set_table.hpp"

#include <tidefall/buffer.hpp>
#include <tidefall/manual_runtime.hpp>

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::recorder;
using tidefall::drain_report;
using tidefall::write_status;

namespace {

using set_table = tests::set_table<int>;
static_assert(tidefall::table<set_table>);

class set_buffer : public tests::set_buffer<int> {
public:
    using tests::set_buffer<int>::set_buffer;

    write_status positive_insert(int value) {
        return write(route_by(value), [&](set_table& table) {
            if (value < 0) return write_status::stale;
            table.insert(std::move(value));
            return write_status::accepted;
        });
    }
    write_status failing_insert(int value) {
        return write(route_by(value), [&](set_table& table) -> write_status {
            table.insert(std::move(value));
            throw std::runtime_error("after the insertion");
        });
    }
};

/// It appends no other.
struct lone_table : set_table {
    void absorb(lone_table&&) = delete;
};
struct lone_buffer : tidefall::buffer<lone_table> {
    using tidefall::buffer<lone_table>::buffer;
};
static_assert(tidefall::table<lone_table>);

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
        for (int value = 0; value < 100; ++value) CHECK(values.positive_insert(value) == write_status::accepted);
    }
    CHECK(values.positive_insert(-1) == write_status::stale);
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

TEST_CASE("partition: a write that throws after it changed its table still sets the tick") {
    auto const clock = tidefall::make_manual_runtime();
    tests::recorder<int> const seen;
    set_buffer values({.partitions = 1, .runtime = clock}, seen);
    CHECK_THROWS_AS(values.failing_insert(1), std::runtime_error);
    clock->advance(5s);
    CHECK(seen.values() == std::vector<int>{1});
}

TEST_CASE("partition: stripes are a power of two, 4,096 at most") {
    auto const made = [](std::size_t partitions, std::size_t stripes) {
        set_buffer values(
            {.partitions = partitions, .runtime = tidefall::make_manual_runtime()}, [](std::span<int>) {},
            tidefall::discard_undelivered{}, stripes);
        for (int i = 0; i < 100; ++i) values.insert(i);
        return values.stop().processed;
    };
    CHECK_THROWS_WITH(made(1, 3), tests::ContainsSubstring("stripes is 3, but must be a power of two"));
    for (std::size_t const count :
         {std::size_t{0}, std::size_t{8'192}, std::size_t{1} << (sizeof(std::size_t) * 8 - 1)}) {
        CHECK_THROWS_AS(made(1, count), tidefall::invalid_options);
        // The number of all stripes would not fit into a size_t: it is checked before they are counted.
        CHECK_THROWS_AS(made(65'536, count), tidefall::invalid_options);
    }
    CHECK(made(1, 4'096) == 100);
    CHECK(made(2, 4'096) == 100);
}

TEST_CASE("partition: table mode over several stripes needs a table that appends another") {
    auto const whole = [](std::size_t stripes) {
        lone_buffer(
            {.runtime = tidefall::make_manual_runtime()}, [](lone_table) {}, tidefall::discard_undelivered{}, stripes);
    };
    CHECK_NOTHROW(whole(1));
    CHECK_THROWS_AS(whole(2), std::invalid_argument);
    CHECK_NOTHROW(lone_buffer(
        {.runtime = tidefall::make_manual_runtime()}, [](std::span<int>) {}, tidefall::discard_undelivered{}, 2));
}

TEST_CASE("partition: ten intervals after its last swap an idle partition gives its memory back, once") {
    auto const clock = tidefall::make_manual_runtime();
    set_buffer values({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<int>) {});
    values.insert(1);
    clock->advance(1s);
    int const before = set_table::shrunk;
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

TEST_CASE("partition: a swap that takes something puts the look at its memory off, one that takes nothing does not") {
    auto const clock = tidefall::make_manual_runtime();
    set_buffer values({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [](std::span<int>) {});
    int const before = set_table::shrunk;
    for (int value = 0; value < 30; ++value) {
        values.insert(value);
        clock->advance(1s);
    }
    CHECK(set_table::shrunk == before);
    clock->advance(5s);
    values.flush();
    clock->advance(4999ms);
    CHECK(set_table::shrunk == before);
    clock->advance(1ms);
    CHECK(set_table::shrunk == before + 1);
}

TEST_CASE("partition: an update brings the look at idle memory forward, and never postpones it") {
    auto const clock = tidefall::make_manual_runtime();
    auto const updated = GENERATE(1s, 1h);
    set_buffer values({.partitions = 1, .processing_interval = 10s, .runtime = clock}, [](std::span<int>) {});
    values.insert(1);
    clock->advance(10s);
    int const before = set_table::shrunk;
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
    int const before = set_table::shrunk;
    CHECK(values.flush(1s) == drain_report{.processed = 1, .complete = false});
    CHECK(set_table::shrunk == before);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{0, 1, 2});
    clock->advance(10s);
    CHECK(set_table::shrunk > before);
}
