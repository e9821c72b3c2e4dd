// SPDX-License-Identifier: MIT
//
// A processor that writes to another buffer, which is full: where it waits, where it cannot, and what ends that.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/latch.hpp"

#include <tidefall/queue.hpp>
#include <tidefall/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>

using namespace std::chrono_literals;
using tests::latch;
using tidefall::write_status;
using int_queue = tidefall::queue<int>;

namespace {

constexpr auto never = std::chrono::nanoseconds::max();

/// A queue of one value, the first of which hangs in its call until it is let go.
class narrow_stage {
public:
    explicit narrow_stage(std::shared_ptr<tidefall::runtime> on)
        : items_({.partitions = 1,
                  .processing_interval = never,
                  .capacity = 1,
                  .overflow_timeout = never,
                  .shutdown_timeout = 1h,
                  .runtime = std::move(on)},
                 [this](std::span<int> batch) {
                     if (!std::exchange(has_hung_, true)) {
                         entered.open();
                         go_on.wait();
                     }
                     sum += batch.front();
                 }) {
        items_.push(1);
        entered.wait();
        items_.push(2);  // which waits
    }
    ~narrow_stage() { go_on.open(); }

    latch entered;
    latch go_on;
    std::atomic<int> sum{0};

    int_queue& operator*() { return items_; }

private:
    bool has_hung_ = false;
    int_queue items_;
};

tidefall::options one(std::shared_ptr<tidefall::runtime> const& on) {
    return {.partitions = 1, .processing_interval = never, .shutdown_timeout = 1h, .runtime = on};
}

}  // namespace

TEST_CASE("between: a processor waits for room in a buffer that has threads of its own") {
    narrow_stage second(nullptr);
    auto status = write_status::stale;
    latch writes;
    int_queue first(one(nullptr), [&](std::span<int>) {
        writes.open();
        status = (*second).push(3);
    });
    first.push(1);
    first.flush(0s);
    writes.wait();
    second.go_on.open();
    CHECK(first.stop().complete);
    CHECK(status == write_status::accepted);
    (*second).stop();
    CHECK(second.sum == 6);
}

TEST_CASE("between: on one runtime a processor waits while another worker does not, and else is answered full") {
    auto const workers = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{3});
    auto const runtime = tidefall::make_runtime({.workers = workers});
    std::optional<narrow_stage> second;
    if (workers > 1) second.emplace(runtime);
    int_queue idle({.partitions = 1,
                    .processing_interval = never,
                    .capacity = 1,
                    .overflow_timeout = never,
                    .shutdown_timeout = 1h,
                    .runtime = runtime},
                   [](std::span<int>) {});
    auto& full = second ? **second : idle;
    auto status = write_status::stale;
    latch written;
    int_queue first(one(runtime), [&](std::span<int>) {
        if (!second) {
            idle.push(1);  // queues a drain for which there is no worker
            idle.push(2);
        }
        if (second && workers == 3) second->go_on.open();
        status = full.push(3);
        written.open();
    });
    first.push(1);
    first.flush(0s);
    if (workers == 2) {  // one hangs in the second stage and does not wait; this one may
        CHECK_FALSE(written.is_open());
        second->go_on.open();
    }
    written.wait();
    CHECK(status == (workers == 1 ? write_status::full : write_status::accepted));
    CHECK(first.stop().complete);
}

TEST_CASE("between: two processors of one runtime do not both wait where two workers are all there are") {
    auto const runtime = tidefall::make_runtime({.workers = 2});
    narrow_stage elsewhere(nullptr);
    std::atomic<int> full{0};
    std::atomic<int> accepted{0};
    latch one_is_answered;
    auto const process = [&](std::span<int>) {
        if ((*elsewhere).push(3) == write_status::full) {
            ++full;
            one_is_answered.open();
        } else {
            ++accepted;
        }
    };
    int_queue a(one(runtime), process);
    int_queue b(one(runtime), process);
    a.push(1);
    b.push(1);
    a.flush(0s);
    b.flush(0s);
    one_is_answered.wait();
    elsewhere.go_on.open();
    CHECK(a.stop().complete);
    CHECK(b.stop().complete);
    CHECK(full == 1);
    CHECK(accepted == 1);
}

TEST_CASE("between: a write that waits in a call is answered full once the call's token stops") {
    narrow_stage second(nullptr);
    auto status = write_status::stale;
    auto how = one(nullptr);
    bool const by_timeout = GENERATE(true, false);
    if (by_timeout) how.processing_timeout = 1ms;
    latch writes;
    int_queue first(how, [&](std::span<int>) {  // it takes no token
        writes.open();
        status = (*second).push(3);
    });
    first.push(1);
    first.flush(0s);
    writes.wait();
    if (by_timeout) {
        first.flush();
    } else {
        first.stop(0s);  // its report may come before the call's end or after it
        while (first.stats().in_flight > 0) std::this_thread::yield();
    }
    CHECK(status == write_status::full);
}

TEST_CASE("between: a processor is answered full by its own buffer, and so is what is undelivered") {
    auto in_processor = write_status::stale;
    auto in_undelivered = write_status::stale;
    std::optional<int_queue> items;
    auto how = one(nullptr);
    how.capacity = 1;
    how.overflow_timeout = never;
    items.emplace(
        how,
        [&](std::span<int> batch) {
            if (batch.front() != 1) return;
            items->push(2);
            in_processor = items->push(3);
            throw 0;
        },
        [&](std::span<int>, tidefall::failure const&) { in_undelivered = items->push(4); });
    items->push(1);
    items->flush();
    CHECK(items->stats().failed == 1);
    CHECK(in_processor == write_status::full);
    CHECK(in_undelivered == write_status::full);
    items.reset();
}

TEST_CASE("between: a buffer that is gone is none that a processor keeps a worker from") {
    auto const runtime = tidefall::make_runtime({.workers = 1});
    {
        int_queue gone(one(runtime), [](std::span<int>) {});
    }
    narrow_stage second(nullptr);
    auto status = write_status::stale;
    latch writes;
    int_queue first(one(runtime), [&](std::span<int>) {
        writes.open();
        status = (*second).push(3);
    });
    first.push(1);
    first.flush(0s);
    writes.wait();
    second.go_on.open();
    CHECK(first.stop().complete);
    CHECK(status == write_status::accepted);
}

TEST_CASE("between: a processor that takes batches waits as any other does") {
    narrow_stage second(nullptr);
    auto status = write_status::stale;
    latch writes;
    int_queue first(one(nullptr), [&](tidefall::async_batch<int> batch) {
        writes.open();
        status = (*second).push(3);
        batch.complete();
    });
    first.push(1);
    first.flush(0s);
    writes.wait();
    second.go_on.open();
    CHECK(first.stop().complete);
    CHECK(status == write_status::accepted);
}
