// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/recorder.hpp"
#include "../support/set_table.hpp"
#include "../support/threads.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/options.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tidefall::invalid_options;
using tidefall::options;
using tidefall::options_update;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();
constexpr auto most = std::numeric_limits<std::size_t>::max();
constexpr auto half_lost = (std::size_t{1} << std::numeric_limits<std::size_t>::digits / 2) + 1;

std::string message_of(std::function<void()> const& act) {
    try {
        act();
    } catch (invalid_options const& error) {
        return error.what();
    }
    return "";
}

/// An option with a value that it cannot have, and what the message says of it.
template <typename Options>
struct bad {
    std::string option;
    std::string value;
    std::string rule;
    std::function<void(Options&)> spoil;

    [[nodiscard]] std::string message() const {
        return "tidefall: option " + option + " is " + value + ", but must be " + rule;
    }
};

/// Every duration, wrong in every way that it can be; of `options` and of `options_update`.
template <typename Options>
std::vector<bad<Options>> bad_durations() {
    using std::chrono::nanoseconds;
    std::vector<std::pair<nanoseconds, std::string>> const negative{
        {-1ns, "-1ns"},
        {-1500ns, "-1500ns"},
        {-1us, "-1us"},
        {-1ms, "-1ms"},
        {-1500ms, "-1500ms"},
        {-1s, "-1s"},
        {-2h, "-7200s"},
        {nanoseconds::min() + 1ns, "-9223372036854775807ns"},
        {nanoseconds::min(), "nanoseconds::min()"},
    };
    std::vector<bad<Options>> table;
    auto const add = [&](std::string const& option, auto member, std::string const& rule) {
        for (auto const& each : negative) {
            auto const value = each.first;
            table.push_back({option, each.second, rule, [=](Options& o) { o.*member = value; }});
        }
    };
    add("processing_interval", &Options::processing_interval, "above 0");
    add("processing_timeout", &Options::processing_timeout, "above 0");
    add("overflow_timeout", &Options::overflow_timeout, "0 or more");
    add("shutdown_timeout", &Options::shutdown_timeout, "0 or more");
    table.push_back({"processing_interval", "0s", "above 0", [](Options& o) { o.processing_interval = 0s; }});
    table.push_back({"processing_timeout", "0s", "above 0", [](Options& o) { o.processing_timeout = 0s; }});
    return table;
}

/// The numbers that both have.
template <typename Options>
std::vector<bad<Options>> bad_numbers() {
    return {
        {"processing_batch_size", "0", "at least 1", [](Options& o) { o.processing_batch_size = 0; }},
        {"drain_threshold", "0", "none, or at least 1", [](Options& o) { o.drain_threshold = 0; }},
        {"capacity", "0", "none, or at least 1", [](Options& o) { o.capacity = 0; }},
    };
}

std::vector<bad<options>> bad_options() {
    using tidefall::destruction_action;
    using tidefall::overflow_policy;
    using tidefall::timeout_action;
    using tidefall::unheard_action;
    std::vector<bad<options>> table{
        {"name", "empty", "a name", [](options& o) { o.name = ""; }},
        {"partitions", "0", "1 to 65536", [](options& o) { o.partitions = 0; }},
        {"partitions", "65537", "1 to 65536", [](options& o) { o.partitions = 65'537; }},
        {"partitions", "131072", "1 to 65536", [](options& o) { o.partitions = 131'072; }},
        // 1, if it were cut to half of its bits.
        {"partitions", std::to_string(half_lost), "1 to 65536", [](options& o) { o.partitions = half_lost; }},
        {"partitions", std::to_string(most), "1 to 65536", [](options& o) { o.partitions = most; }},
        {"timeout_action", "2", "wait or abandon", [](options& o) { o.timeout_action = timeout_action{2}; }},
        {"timeout_action", "255", "wait or abandon", [](options& o) { o.timeout_action = timeout_action{255}; }},
        {"overflow", "drop_oldest", "block or reject: there is no capacity",
         [](options& o) { o.overflow = overflow_policy::drop_oldest; }},
        {"overflow", "3", "block, reject or drop_oldest", [](options& o) { o.overflow = overflow_policy{3}; }},
        {"overflow", "255", "block, reject or drop_oldest", [](options& o) { o.overflow = overflow_policy{255}; }},
        // A capacity does not make up for it.
        {"overflow", "9", "block, reject or drop_oldest",
         [](options& o) {
             o.capacity = 1;
             o.overflow = overflow_policy{9};
         }},
        {"calls_at_destruction", "2", "wait or leave",
         [](options& o) { o.calls_at_destruction = destruction_action{2}; }},
        {"calls_at_destruction", "255", "wait or leave",
         [](options& o) { o.calls_at_destruction = destruction_action{255}; }},
        {"unheard", "2", "say_once or ignore", [](options& o) { o.unheard = unheard_action{2}; }},
        {"unheard", "255", "say_once or ignore", [](options& o) { o.unheard = unheard_action{255}; }},
    };
    for (auto& row : bad_durations<options>()) table.push_back(std::move(row));
    for (auto& row : bad_numbers<options>()) table.push_back(std::move(row));
    return table;
}

std::vector<bad<options_update>> bad_updates() {
    auto table = bad_durations<options_update>();
    for (auto& row : bad_numbers<options_update>()) table.push_back(std::move(row));
    return table;
}

/// A processor that can be moved from.
struct owning_processor {
    std::unique_ptr<int> owned = std::make_unique<int>(0);
    void operator()(std::span<int>) const {}
};

/// What making a buffer of that kind throws.
template <typename Buffer>
std::string message_of_making(options const& how) {
    return message_of([&] { Buffer(how, [](std::span<typename Buffer::value_type>) {}); });
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
    CHECK(defaults.calls_at_destruction == tidefall::destruction_action::wait);
    CHECK(defaults.unheard == tidefall::unheard_action::say_once);
    CHECK_FALSE(defaults.telemetry);
    CHECK_FALSE(defaults.runtime);
}

TEST_CASE("options: a bad value is named, with what it is and the rule, before anything starts") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<tests::event_log>();
    auto const table = bad_options();
    CHECK(table.size() > 50);
    auto const before = tests::thread_count();
    auto const users_of_the_clock = clock.use_count();
    for (auto const& row : table) {
        for (bool const with_threads : {true, false}) {
            options how{.telemetry = log};
            if (!with_threads) how.runtime = clock;
            row.spoil(how);
            owning_processor process;
            CHECK(message_of([&] { tidefall::queue<int>(how, std::move(process)); }) == row.message());
            CHECK(process.owned);
            CHECK(tests::thread_count() == before);
        }
        CHECK(clock.use_count() == users_of_the_clock);
        CHECK(log.use_count() == 1);
    }
    CHECK(log->lines().empty());
    CHECK_THROWS_AS(tidefall::queue<int>({.partitions = 0}, [](std::span<int>) {}), std::invalid_argument);
}

TEST_CASE("options: every kind of buffer looks at them, and says what it alone cannot have") {
    auto const before = tests::thread_count();
    auto const check_each = [](options const& how, std::string const& message) {
        CHECK(message_of_making<tidefall::queue<int, tidefall::producer_order>>(how) == message);
        CHECK(message_of_making<tidefall::queue<int, tidefall::sorted_by<std::identity{}>>>(how) == message);
        CHECK(message_of_making<tidefall::queue<int, tidefall::sorted_by_key<int>>>(how) == message);
        CHECK(message_of_making<tidefall::hash_map<int, int>>(how) == message);
        CHECK(message_of_making<tests::set_buffer<int>>(how) == message);
    };
    for (auto const& row : bad_options()) {
        options how;
        row.spoil(how);
        check_each(how, row.message());
    }
    check_each({.capacity = 1, .overflow = tidefall::overflow_policy::drop_oldest},
               "tidefall: option overflow is drop_oldest, but must be block or reject: only a queue in insertion order "
               "has an oldest value");
    for (std::size_t const stripes : {std::size_t{0}, std::size_t{3}, std::size_t{48}, most}) {
        auto const make = [&] {
            tests::set_buffer<int>(
                options{}, [](std::span<int>) {}, tidefall::discard_undelivered{}, stripes);
        };
        CHECK(message_of(make) ==
              "tidefall: option stripes is " + std::to_string(stripes) + ", but must be a power of two");
    }
    CHECK(tests::thread_count() == before);
}

TEST_CASE("options: those of a runtime are looked at before a thread starts") {
    using tidefall::runtime_options;
    std::vector<bad<runtime_options>> const table{
        {"workers", "0", "1 to 1024", [](runtime_options& o) { o.workers = 0; }},
        {"workers", "1025", "1 to 1024", [](runtime_options& o) { o.workers = 1025; }},
        {"workers", std::to_string(half_lost), "1 to 1024", [](runtime_options& o) { o.workers = half_lost; }},
        {"workers", std::to_string(most), "1 to 1024", [](runtime_options& o) { o.workers = most; }},
        {"thread_name", "empty", "a name", [](runtime_options& o) { o.thread_name = ""; }},
    };
    auto const before = tests::thread_count();
    for (auto const& row : table) {
        runtime_options how;
        row.spoil(how);
        CHECK(message_of([&] { tidefall::make_runtime(how); }) == row.message());
        CHECK(tests::thread_count() == before);
    }
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
    CHECK(starts({.calls_at_destruction = tidefall::destruction_action::leave}));
    CHECK(starts({.unheard = tidefall::unheard_action::ignore}));
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
    std::vector<std::size_t> sizes;
    // What the next call does, with its token.
    std::function<void(std::stop_token const&)> in_call = [](std::stop_token const&) {};
    tidefall::queue<int> items({.partitions = 1,
                                .processing_interval = 5s,
                                .processing_batch_size = 2,
                                .processing_timeout = 3s,
                                .drain_threshold = 4,
                                .capacity = 6,
                                .overflow = tidefall::overflow_policy::reject,
                                .shutdown_timeout = 7s,
                                .runtime = clock},
                               [&](std::span<int> batch, std::stop_token const& token) {
                                   sizes.push_back(batch.size());
                                   std::exchange(in_call, [](std::stop_token const&) {})(token);
                               });
    auto const push = [&](int count) {
        std::size_t accepted = 0;
        for (int i = 0; i < count; ++i) accepted += items.push(i) == tidefall::write_status::accepted ? 1U : 0U;
        return accepted;
    };
    auto const drained = [&] { return std::exchange(sizes, {}); };
    using as = std::vector<std::size_t>;

    auto const check_that_all_is_as_it_was = [&] {
        push(3);
        clock->advance(4999ms);
        CHECK(drained().empty());
        clock->advance(1ms);
        CHECK(drained() == as{2, 1});

        push(3);
        clock->advance(0s);
        CHECK(drained().empty());
        push(1);
        clock->advance(0s);
        CHECK(drained() == as{2, 2});

        CHECK(push(7) == 6);
        in_call = [&](std::stop_token const& token) {
            clock->advance(2999ms);
            CHECK_FALSE(token.stop_requested());
            clock->advance(1ms);
            CHECK(token.stop_requested());
        };
        clock->advance(0s);
        CHECK(drained() == as{2, 2, 2});
    };

    /// All that an update can name, each other than it is.
    options_update const others{
        .processing_interval = 1s,
        .processing_batch_size = 1,
        .processing_timeout = 1s,
        .drain_threshold = 1,
        .capacity = 1,
        .overflow_timeout = 1s,
        .shutdown_timeout = 1s,
    };
    auto const table = bad_updates();
    CHECK(table.size() > 30);
    check_that_all_is_as_it_was();
    for (auto const& row : table) {
        auto update = others;
        row.spoil(update);
        CHECK(message_of([&] { items.update_options(update); }) == row.message());
        CHECK(message_of([&] { items.partition(0).update_options(update); }) == row.message());
        check_that_all_is_as_it_was();
    }
    auto const message = message_of([&] { items.partition(0).update_options(others); });
    CHECK(message == "tidefall: option shutdown_timeout is 1s, but must be updated for the whole buffer");
    check_that_all_is_as_it_was();

    // None of them is named by these.
    items.update_options({});
    items.partition(0).update_options({});
    check_that_all_is_as_it_was();

    // The deadline of a stop is 7 s, as it was: looked at between calls, it leaves time for a second one.
    push(3);
    in_call = [&](std::stop_token const&) { clock->advance(2999ms); };
    CHECK(items.stop().complete);
    CHECK(drained() == as{2, 1});
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
               tests::ContainsSubstring("shutdown_timeout is 1s, but must be updated for the whole buffer"));
    CHECK(tests::message_of<std::out_of_range>([&] { items.partition(9999); }) ==
          "tidefall: buffer \"" + items.name() + "\" has no partition 9999: it has 2, counted from 0");
    CHECK_THROWS_AS(std::as_const(items).partition(2), std::out_of_range);
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
