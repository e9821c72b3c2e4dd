// SPDX-License-Identifier: MIT
#include "../support/catch.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <numeric>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using tests::event_log;
using tests::recorder;

TEST_CASE("manual_runtime: the tick comes one interval after the write that found its partition empty") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen);
    clock->advance(3s);
    items.push(1);
    clock->advance(4s);
    items.push(2);
    clock->advance(999ms);
    CHECK(seen.batches().empty());
    clock->advance(1ms);
    CHECK(seen.batches() == std::vector<std::vector<int>>{{1, 2}});
    clock->advance(100s);
    CHECK(seen.batches().size() == 1);  // an empty partition is left alone
}

TEST_CASE("manual_runtime: advance goes from deadline to deadline, each at its own time") {
    auto const clock = tidefall::make_manual_runtime();
    auto const start = clock->now();
    std::vector<std::chrono::nanoseconds> at;
    auto const note = [&](std::span<int>) { at.push_back(clock->now() - start); };
    tidefall::queue<int> slow({.partitions = 1, .processing_interval = 5s, .runtime = clock}, note);
    tidefall::queue<int> fast({.partitions = 1, .processing_interval = 2s, .runtime = clock}, [&](std::span<int>) {
        at.push_back(clock->now() - start);
        if (at.size() < 4) fast.push(1);
    });
    slow.push(1);
    fast.push(1);
    clock->advance(1min);
    CHECK(at == std::vector<std::chrono::nanoseconds>{2s, 4s, 5s, 6s});
    CHECK(clock->now() - start == 1min);
}

TEST_CASE("manual_runtime: an hour in one step is one tick") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1ms, .runtime = clock}, seen);
    items.push(1);
    clock->advance(1h);
    CHECK(items.stats().ticks == 1);
    clock->advance(std::chrono::nanoseconds::max());
    clock->advance(1s);
    CHECK(items.stats().ticks == 1);
    CHECK(items.push(1) == tidefall::write_status::accepted);
    CHECK(items.stop().processed == 1);
}

TEST_CASE("manual_runtime: durations of nanoseconds::max() never end, whenever they begin") {
    constexpr auto forever = std::chrono::nanoseconds::max();
    auto const clock = tidefall::make_manual_runtime();
    clock->advance(1h);
    recorder<int> const seen;
    tidefall::queue<int> items(
        {.partitions = 1, .processing_interval = forever, .processing_timeout = forever, .runtime = clock},
        [&](std::span<int> batch, std::stop_token const& token) {
            clock->advance(1h);
            CHECK_FALSE(token.stop_requested());
            seen(batch);
        });
    items.push(1);
    clock->advance(1h);
    CHECK(seen.batches().empty());
    CHECK(items.flush(forever) == tidefall::drain_report{.processed = 1});
    items.push(2);
    CHECK(items.stop(forever) == tidefall::drain_report{.processed = 1});
}

TEST_CASE("manual_runtime: a threshold's drain runs at the next advance, flush or stop") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .drain_threshold = 3, .runtime = clock}, seen);
    for (int i = 0; i < 5; ++i) items.push(i);
    CHECK(items.size() == 5);
    clock->advance(0s);
    CHECK(seen.sizes() == std::vector<std::size_t>{5});
    for (int i = 0; i < 3; ++i) items.push(i);
    items.flush();
    CHECK(seen.sizes() == std::vector<std::size_t>{5, 3});
    for (int i = 0; i < 3; ++i) items.push(i);
    items.stop();
    CHECK(seen.sizes() == std::vector<std::size_t>{5, 3, 3});
}

TEST_CASE("manual_runtime: within a processor, advance moves the clock and sounds timeouts only") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> order;
    tidefall::queue<int> other({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                               [&](std::span<int>) { order.emplace_back("other"); });
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 5s, .processing_timeout = 2s, .runtime = clock},
                               [&](std::span<int>, std::stop_token const& token) {
                                   other.push(1);
                                   order.emplace_back("begin");
                                   clock->advance(1999ms);
                                   CHECK_FALSE(token.stop_requested());
                                   clock->advance(1ms);
                                   CHECK(token.stop_requested());
                                   order.emplace_back("end");
                               });
    items.push(1);

    SECTION("in advance") {
        clock->advance(5s);
    }
    SECTION("in flush") {
        items.flush();
    }
    CHECK(order == std::vector<std::string>{"begin", "end", "other"});  // what fell due meanwhile ran afterwards
    CHECK(items.stats().failed == 1);
}

TEST_CASE("manual_runtime: a tick that falls due while its partition is processing is remembered, once") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1s, .runtime = clock}, [&](std::span<int> b) {
        auto const first = b.front() == 1;
        seen(b);
        if (first) {
            items.push(2);
            clock->advance(2500ms);  // its tick falls due, and would twice more
            items.push(3);
            CHECK(seen.batches().size() == 1);
        }
    });
    items.push(1);
    clock->advance(1s);
    CHECK(seen.batches() == std::vector<std::vector<int>>{{1}, {2, 3}});
    CHECK(items.stats().ticks == 2);
}

TEST_CASE("manual_runtime: flush looks at its deadline between calls, and the rest follows") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    auto const log = std::make_shared<tests::event_log>();
    tidefall::queue<int> items({.partitions = 1, .processing_batch_size = 10, .telemetry = log, .runtime = clock},
                               [&](std::span<int> batch) {
                                   seen(batch);
                                   clock->advance(1s);
                               });
    for (int i = 0; i < 50; ++i) items.push(i);
    log->clear();
    auto const report = items.flush(2s);
    CHECK(report == tidefall::drain_report{.processed = 20, .complete = false});
    CHECK(items.stats().in_flight == 30);
    clock->advance(0s);
    CHECK(seen.values().size() == 50);
    CHECK(log->lines() == std::vector<std::string>{"processing_start 0 50 flush", "processing_stop 0 50"});
}

TEST_CASE("manual_runtime: stop looks at its deadline between calls and drops the rest") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tests::returns<int> const back;
    auto const log = std::make_shared<tests::event_log>();
    tidefall::queue<int> items(
        {.partitions = 1, .processing_batch_size = 10, .telemetry = log, .runtime = clock},
        [&](std::span<int> batch) {
            seen(batch);
            clock->advance(1s);
        },
        back);
    for (int i = 0; i < 50; ++i) items.push(i);
    log->clear();
    auto const report = items.stop(2s);
    CHECK(report == tidefall::drain_report{.processed = 20, .dropped = 30, .complete = false});
    CHECK(items.stop() == report);
    CHECK(back.values().front() == 20);
    CHECK(back.values().size() == 30);
    CHECK(back.all().front().reason == tidefall::failure_reason::stopped);
    CHECK(items.stats().dropped == 30);
    auto const lines = log->lines();
    CHECK(std::count(lines.begin(), lines.end(), "items_dropped 0 30 stopped") == 1);
    CHECK(std::count(lines.begin(), lines.end(), "partition_stop 0 deadline") == 1);
    CHECK(std::count(lines.begin(), lines.end(), "processing_stop 0 50") == 1);
}

TEST_CASE("manual_runtime: flush(0s) starts the drain and does not wait, stop(0s) drops") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tests::returns<int> const back;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, seen, back);
    items.push(1);
    CHECK(items.flush(0s) == tidefall::drain_report{.complete = false});
    CHECK(seen.batches().empty());
    CHECK(items.size() == 0);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{1});
    CHECK(items.flush(0s).complete);  // nothing to do

    items.push(2);
    CHECK(items.stop(-1s) == tidefall::drain_report{.dropped = 1, .complete = false});
    CHECK(back.values() == std::vector<int>{2});
}

TEST_CASE("manual_runtime: flush never waits for a call on another thread") {
    auto const clock = tidefall::make_manual_runtime();
    tests::latch entered;
    tests::latch release;
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, [&](std::span<int> batch) {
        entered.open();
        release.wait();
        seen(batch);
    });
    items.push(1);
    std::thread other([&] { clock->advance(5s); });
    entered.wait();
    items.push(2);
    CHECK_FALSE(items.flush().complete);  // and no second call for the partition
    clock->advance(60s);                  // moves the clock only
    CHECK(seen.batches().empty());
    release.open();
    other.join();
    CHECK(seen.batches() == std::vector<std::vector<int>>{{1}, {2}});
}

TEST_CASE("manual_runtime: the memory of an idle partition is looked at once, ten intervals after its last swap") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 1s, .runtime = clock}, seen);
    for (int i = 0; i < 3; ++i) {
        items.push(i);
        clock->advance(20s);
    }
    CHECK(seen.values() == std::vector<int>{0, 1, 2});
}

TEST_CASE("manual_runtime: a sorted drain that is paused before its first call is sorted once and delivered whole") {
    auto const clock = tidefall::make_manual_runtime();
    auto const log = std::make_shared<tests::event_log>();
    log->then = [&](std::string const& what) {
        if (what == "processing_start") clock->advance(2s);
    };
    recorder<int> const seen;
    tidefall::queue<int, tidefall::sorted_by<std::identity{}>> items(
        {.partitions = 1, .processing_batch_size = 2, .telemetry = log, .runtime = clock}, seen);
    for (int i = 0; i < 5; ++i) items.push(5 - i);
    CHECK(items.flush(1s) == tidefall::drain_report{.complete = false});
    items.stop();
    CHECK(seen.values() == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("manual_runtime: what is left of a paused drain when its buffer stops leaves no alarm behind") {
    auto const clock = tidefall::make_manual_runtime();
    {
        recorder<int> const seen;
        tidefall::queue<int> items({.partitions = 1, .processing_batch_size = 1, .runtime = clock},
                                   [&](std::span<int> batch) {
                                       seen(batch);
                                       clock->advance(1s);
                                   });
        for (int i = 0; i < 10; ++i) items.push(i);
        CHECK(items.flush(3s).processed == 3);
        CHECK(items.stop(0s) == tidefall::drain_report{.dropped = 7, .complete = false});
    }
    clock->advance(120s);
}

TEST_CASE("manual_runtime: what fell due during a flush runs after it, also where its deadline passed") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const other_seen;
    tidefall::queue<int> other({.partitions = 1, .processing_interval = 5s, .runtime = clock}, other_seen);
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_batch_size = 1, .runtime = clock}, [&](std::span<int> b) {
        seen(b);
        clock->advance(10s);
    });
    items.push(1);
    items.push(2);
    other.push(1);
    CHECK(items.flush(1s).processed == 1);
    CHECK(other_seen.values() == std::vector<int>{1});
    CHECK(seen.values() == std::vector<int>{1});
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{1, 2});
}

TEST_CASE("manual_runtime: processors of many partitions that move the clock do not nest") {
    auto const clock = tidefall::make_manual_runtime();
    int processed = 0;
    tidefall::queue<int> items({.partitions = 60'000, .runtime = clock}, [&](std::span<int> batch) {
        processed += static_cast<int>(batch.size());
        clock->advance(1ns);
    });
    for (int i = 0; i < 100'000; ++i) items.push(i, tidefall::partition_key{i});
    clock->advance(5s);
    CHECK(processed == 100'000);
}

TEST_CASE("manual_runtime: a tick that falls due while its drain is paused is remembered") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_batch_size = 1, .runtime = clock}, [&](std::span<int> b) {
        seen(b);
        if (seen.batches().size() > 1) return;
        items.push(3);
        clock->advance(10s);
    });
    items.push(1);
    items.push(2);
    CHECK_FALSE(items.flush(1s).complete);
    clock->advance(0s);
    CHECK(seen.values() == std::vector<int>{1, 2, 3});
}

TEST_CASE("manual_runtime: after a flush the next write waits a whole interval") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen);
    items.push(1);
    items.flush();
    clock->advance(3s);
    items.push(2);
    clock->advance(4999ms);
    CHECK(seen.values() == std::vector<int>{1});
    clock->advance(1ms);
    CHECK(seen.values() == std::vector<int>{1, 2});
}

TEST_CASE("manual_runtime: the tick after a swap is one interval after the write, whatever was planned at the swap") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const seen;
    tidefall::queue<int> items({.partitions = 1, .processing_interval = 5s, .runtime = clock}, seen);
    items.push(1);
    clock->advance(5s);
    SECTION("a write between the swap and one interval later") {
        clock->advance(2s);
        items.push(2);
        clock->advance(4999ms);
    }
    SECTION("one later than that") {
        clock->advance(20s);
        items.push(2);
        clock->advance(4999ms);
    }
    SECTION("a longer interval does not postpone it") {
        clock->advance(2s);
        items.push(2);
        clock->advance(1s);
        items.update_options({.processing_interval = 60s});
        clock->advance(3999ms);
    }
    SECTION("a longer interval is that of writes that come then") {
        items.update_options({.processing_interval = 60s});
        items.push(2);
        clock->advance(59'999ms);
    }
    SECTION("a shorter interval brings it forward") {
        clock->advance(1s);
        items.push(2);
        items.update_options({.processing_interval = 1s});
        clock->advance(999ms);
    }
    SECTION("an interval of for ever ends") {
        items.update_options({.processing_interval = std::chrono::nanoseconds::max()});
        items.push(0);
        items.flush();
        clock->advance(1h);
        items.update_options({.processing_interval = 5s});
        items.push(2);
        clock->advance(4999ms);
    }
    CHECK(items.size() == 1);
    clock->advance(1ms);
    CHECK(seen.values().back() == 2);
    CHECK(items.size() == 0);
    clock->advance(500ms);
    items.push(3);
    auto const since = clock->now();
    while (items.size() == 1) clock->advance(1ms);
    CHECK((clock->now() - since == 5s || clock->now() - since == 60s || clock->now() - since == 1s));
}

TEST_CASE("manual_runtime: after a stop an update plans no tick for what was written before") {
    auto const clock = tidefall::make_manual_runtime();
    tidefall::queue<int> items({.partitions = 1, .unheard = tidefall::unheard_action::ignore, .runtime = clock},
                               [&](std::span<int>) {
                                   items.push(2);
                                   std::thread([&] { CHECK_FALSE(items.stop(1h).complete); }).join();
                                   items.update_options({.processing_interval = 1ms});
                               });
    items.push(1);
    items.flush();
    CHECK(items.stop().dropped == 1);  // without threads nobody waits for the call
}

TEST_CASE("manual_runtime: what falls due together runs in the order in which it fell due") {
    auto const clock = tidefall::make_manual_runtime();
    std::string order;
    tidefall::queue<int> a({.partitions = 1, .runtime = clock}, [&](std::span<int>) { order += 'a'; });
    tidefall::queue<int> b({.partitions = 1, .runtime = clock}, [&](std::span<int>) { order += 'b'; });
    tidefall::queue<int> c({.partitions = 1, .runtime = clock}, [&](std::span<int>) { order += 'c'; });
    a.push(1);
    b.push(1);
    c.push(1);
    clock->advance(5s);
    CHECK(order == "abc");
}

TEST_CASE("manual_runtime: a flush runs the work of its own buffer only") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<int> const other_seen;
    recorder<int> const seen;
    tidefall::queue<int> other({.partitions = 1, .runtime = clock}, other_seen);
    tidefall::queue<int> items({.partitions = 1, .runtime = clock}, seen);
    other.push(1);
    other.flush(0s);
    items.push(2);
    CHECK(items.flush().complete);
    CHECK(other_seen.batches().empty());
    clock->advance(0s);
    CHECK(other_seen.values() == std::vector<int>{1});
}

TEST_CASE("manual_runtime: what falls due in a nested flush runs after the outermost processor") {
    auto const clock = tidefall::make_manual_runtime();
    std::string order;
    tidefall::queue<int> third({.partitions = 1, .processing_interval = 1s, .runtime = clock},
                               [&](std::span<int>) { order += "third "; });
    tidefall::queue<int> inner({.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        clock->advance(2s);
        order += "inner ";
    });
    tidefall::queue<int> outer({.partitions = 1, .runtime = clock}, [&](std::span<int>) {
        inner.push(1);
        inner.flush();
        order += "outer ";
    });
    third.push(1);
    outer.push(1);
    outer.flush();
    CHECK(order == "inner outer third ");
}

TEST_CASE("manual_runtime: within a processor too a timeout sounds at its own time") {
    auto const clock = tidefall::make_manual_runtime();
    auto const start = clock->now();
    std::chrono::nanoseconds at{};
    auto const log = std::make_shared<event_log>();
    log->then = [&](std::string const& what) {
        if (what == "processing_failed") at = clock->now() - start;
    };
    tidefall::queue<int> items({.partitions = 1, .processing_timeout = 2s, .telemetry = log, .runtime = clock},
                               [&](std::span<int>) { clock->advance(5s); });
    items.push(1);
    items.flush();
    CHECK(at == 2s);
}

TEST_CASE("manual_runtime: who sees that the clock was moved sees what was done before") {
    auto const clock = tidefall::make_manual_runtime();
    auto const start = clock->now();
    int written = 0;
    std::thread moves([&] {
        written = 1;
        clock->advance(1s);
    });
    while (clock->now() == start) std::this_thread::yield();
    CHECK(written == 1);  // ThreadSanitizer looks here
    moves.join();
}
