// SPDX-License-Identifier: MIT
//
// A queue whose every value is accounted for, as the scenarios use it.
#pragma once

#include "explorer.hpp"
#include "ledger.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace explore {

using namespace std::chrono_literals;
using nanoseconds = std::chrono::nanoseconds;
using item_queue = tidefall::queue<item>;

inline constexpr auto never = nanoseconds::max();

inline tidefall::detail::scheduler& schedule_of(tidefall::runtime const& one) {
    struct peek : tidefall::runtime {
        using tidefall::runtime::schedule;
    };
    return (one.*&peek::schedule)();
}

/// No alarm, and no job, of what is gone.
[[nodiscard]] inline bool nothing_is_left(tidefall::runtime const& one) {
    auto& schedule = schedule_of(one);
    return schedule.ticks.next() == tidefall::detail::never && schedule.timeouts.next() == tidefall::detail::never &&
           schedule.jobs.empty();
}
inline void require_nothing_left(tidefall::runtime const& one) {
    require(nothing_is_left(one), "no alarm and no job is left");
}

/// Hooks run without a lock.
class hook final : public tidefall::telemetry_hook {
public:
    void on_partition_start(tidefall::partition_start const&) override { look(); }
    void on_partition_stop(tidefall::partition_stop const&) override {
        look();
        ++stops;
    }
    void on_processing_start(tidefall::processing_start const&) override { look(); }
    void on_processing_stop(tidefall::processing_stop const&) override { look(); }
    void on_processing_exception(tidefall::processing_exception const&) override { look(); }
    void on_processing_failed(tidefall::processing_failed const&) override { look(); }
    void on_items_dropped(tidefall::items_dropped const&) override { look(); }
    void on_partition_full(tidefall::partition_full const&) override { look(); }
    void on_partition_room(tidefall::partition_room const&) override { look(); }

    std::size_t stops = 0;

private:
    static void look() {
        require_no_lock("a hook");
        point();
    }
};

/// Options that a schedule varies.
inline tidefall::options drawn_options(std::size_t partitions) {
    tidefall::options how;
    how.partitions = partitions;
    how.processing_interval = flip() ? nanoseconds(1ms) : never;
    how.processing_batch_size = 1 + draw(3);
    if (draw(3) == 0) how.drain_threshold = 1 + draw(3);
    if (draw(3) == 0) how.telemetry = std::make_shared<hook>();
    how.shutdown_timeout = 20min;
    how.unheard = tidefall::unheard_action::ignore;
    return how;
}

/// A queue, its ledger, and what its processor does.
class subject {
public:
    explicit subject(tidefall::options how, ledger::rules rules, std::function<void(std::span<item>)> work = {})
        : book_(std::make_shared<ledger>(rules)),
          items_(std::make_unique<item_queue>(
              std::move(how),
              [book = book_, work = std::move(work)](std::span<item> batch) {
                  ledger::call const here(*book, batch);
                  point();
                  if (work) work(batch);
                  point();
              },
              [book = book_](std::span<item> values, tidefall::failure const& why) {
                  book->undelivered(values, why);
                  point();
              })) {}

    tidefall::write_status push(int value) {
        return book_->write(value, [&] { return items_->push(value); });
    }

    /// Also the barrier that a flush is.
    tidefall::drain_report flush(nanoseconds within) {
        auto const before = book_->written();
        auto const report = items_->flush(within);
        if (report.complete) book_->require_outcomes(before);
        return report;
    }

    item_queue& operator*() const noexcept { return *items_; }
    item_queue* operator->() const noexcept { return items_.get(); }
    [[nodiscard]] ledger& book() const noexcept { return *book_; }

    /// After a stop, when nothing runs: everything is accounted for.
    void close() { book_->close(items_->stats()); }

    /// After a stop that may have left a call: destroys the buffer, and everything is accounted for.
    void destroy_and_close() {
        tidefall::buffer_stats stats;
        until([&] {
            stats = items_->stats();
            return stats.in_flight + stats.abandoned == 0;
        });
        items_.reset();
        book_->close(stats);
    }

    void destroy() { items_.reset(); }

private:
    std::shared_ptr<ledger> book_;
    std::unique_ptr<item_queue> items_;
};

/// Threads that each write so many values, which no other thread writes.
class writers {
public:
    writers(subject& to, std::size_t count, int values) {
        for (std::size_t i = 0; i < count; ++i) {
            threads_.emplace_back([&to, values, base = static_cast<int>(i) * 100] {
                for (int n = 0; n < values; ++n) to.push(base + n);
            });
        }
    }

private:
    std::vector<thread> threads_;
};

}  // namespace explore
