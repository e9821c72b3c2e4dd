// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: batches that are taken in part, wait to be offered again,
// and go to a spill file and back.
#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "explorer/subject.hpp"

#include <tidefall/decorators.hpp>

#include <map>
#include <string>
#include <string_view>
#include <vector>

using explore::draw;
using explore::flip;
using explore::item;
using explore::never;
using explore::require;
using explore::thread;
using tidefall::batch_info;
using tidefall::batch_result;
using tidefall::failure_reason;
using namespace std::chrono_literals;

namespace {

/// What became of each value, where it may be offered several times: it is taken once, or comes back once.
class fates {
public:
    /// A call of the processor, which draws what it says. What it does not take is the next batch of the partition, in
    /// its order, or comes back.
    batch_result called(std::span<item const> batch, batch_info const& info, std::size_t rejects_of_four) {
        explore::require_no_lock("the processor");
        auto& waiting = waiting_[info.partition];
        require(info.attempt == 1 + waiting.attempts, "an attempt follows the one before");
        if (info.attempt > 1) {
            require(waiting.values.size() == batch.size(), "what was rejected is the next batch");
            for (std::size_t i = 0; i < batch.size(); ++i) {
                require(waiting.values[i] == batch[i].number, "what was rejected keeps its order");
            }
        }
        waiting = {};
        batch_result result;
        explore::point();
        bool const retries = flip();
        for (std::size_t i = 0; i < batch.size(); ++i) {
            auto const number = batch[i].number;
            auto& its = all_[number];
            require(!its.taken && its.returned == 0, "a value that has its outcome is not offered again");
            require(!its.was_last, "there is no attempt after the last one");
            its.was_last = info.stopping;
            if (draw(4) >= rejects_of_four) {
                its.taken = true;
            } else if (flip()) {
                result.refuse(i);
            } else {
                result.reject(i);
                if (retries && !info.stopping) waiting.values.push_back(number);
            }
        }
        if (!waiting.values.empty()) waiting.attempts = info.attempt;
        std::chrono::nanoseconds const delays[] = {0ns, std::chrono::nanoseconds(draw(2'000)), 1ms, 1h,
                                                   std::chrono::nanoseconds::max()};
        if (retries) result.retry_after(delays[draw(5)]);
        explore::point();
        return result;
    }

    void returned(std::span<item const> values, tidefall::failure const& why) {
        explore::require_no_lock("undelivered");
        for (auto const& value : values) {
            auto& its = all_[value.number];
            require(++its.returned == 1, "a value comes back once");
            its.why = why.reason;
            std::erase(waiting_[why.partition].values, value.number);
        }
        if (waiting_[why.partition].values.empty()) waiting_[why.partition] = {};
        explore::point();
    }

    /// When all is over.
    void close(tidefall::buffer_stats const& stats, std::size_t written) {
        std::uint64_t processed = 0;
        std::uint64_t failed = 0;
        std::uint64_t dropped = 0;
        for (auto const& [value, its] : all_) {
            auto const name = "value " + std::to_string(value);
            bool const timed_out = its.why == failure_reason::timeout && its.returned > 0;
            require((its.taken && !timed_out) != (its.returned > 0), name + " has one outcome");
            if (its.returned == 0) {
                ++processed;
            } else if (its.why == failure_reason::stopped) {
                ++dropped;
            } else {
                ++failed;
            }
        }
        require(all_.size() == written, "each value comes out");
        require(stats.processed == processed && stats.failed == failed && stats.dropped == dropped,
                "what is counted was seen");
        require(stats.in_flight == 0 && stats.pending == 0, "nothing is left");
    }

private:
    struct fate {
        bool taken = false;
        bool was_last = false;
        int returned = 0;
        failure_reason why{};
    };
    struct offer {
        std::vector<int> values;
        std::size_t attempts = 0;
    };
    std::map<int, fate> all_;
    std::map<std::size_t, offer> waiting_;
};

/// Two threads that write three values each.
class two_writers {
public:
    template <typename Queue>
    explicit two_writers(Queue& to)
        : one_([&to] {
              for (int i = 0; i < 3; ++i) to.push(i);
          }),
          other_([&to] {
              for (int i = 3; i < 6; ++i) to.push(i);
          }) {}

private:
    thread one_;
    thread other_;
};

}  // namespace

TEST_CASE("explored: batches that are taken in part, with flushes and stops that have deadlines") {
    explore::schedules([] {
        fates book;
        auto how = explore::drawn_options(1 + draw(2));
        how.shutdown_timeout = 1h;
        auto const rejects = 1 + draw(3);
        constexpr std::chrono::nanoseconds times[] = {0ns, 1ms, never};
        tidefall::drain_report first;
        tidefall::drain_report second;
        tidefall::buffer_stats stats;
        {
            explore::item_queue items(
                std::move(how),
                [&](std::span<item> batch, batch_info const& info) { return book.called(batch, info, rejects); },
                [&](std::span<item> values, tidefall::failure const& why) { book.returned(values, why); });
            {
                two_writers const both(items);
                if (flip()) items.flush(times[draw(2)]);
            }
            if (flip()) explore::pass(1ms);
            {
                auto const for_stop = times[draw(3)];
                thread const stops([&] { first = items.stop(for_stop); });
                second = items.stop(for_stop);
            }
            explore::until([&] {
                stats = items.stats();
                return stats.in_flight == 0;
            });
        }
        require(first == second, "every stop returns the same report");
        book.close(stats, 6);
    });
}

TEST_CASE("explored: a batch that waits for its time while the buffer is flushed, closed and destroyed") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        fates book;
        auto how = explore::drawn_options(1);
        how.runtime = runtime;
        how.shutdown_timeout = never;
        bool is_over = false;
        {
            explore::item_queue items(
                std::move(how),
                [&](std::span<item> batch, batch_info const& info) {
                    require(!is_over, "no call after the buffer's end");
                    return book.called(batch, info, 3);
                },
                [&](std::span<item> values, tidefall::failure const& why) { book.returned(values, why); });
            two_writers const both(items);
            items.flush(flip() ? 0ns : 1ms);
            if (draw(3) == 0) {
                thread const closes([&] { items.stop(); });
                items.flush(never);
            }
        }
        is_over = true;
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: a flush on the only worker does the batch that waits, once it is its time") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1});
        auto how = explore::drawn_options(1);
        how.runtime = runtime;
        how.shutdown_timeout = never;
        how.processing_timeout = never;
        int calls = 0;
        auto also = how;
        tidefall::queue<int> inner(std::move(how), [&](std::span<int const>, batch_info const& info) {
            ++calls;
            batch_result result;
            if (info.attempt < 3) result.reject_from(0);
            return result.retry_after(flip() ? 0ns : 1ms);
        });
        tidefall::queue<int> outer(std::move(also), [&](std::span<int const>) {
            inner.push(1);
            require(inner.flush(never).complete, "a flush without a deadline is complete");
        });
        outer.push(1);
        require(outer.flush(never).complete, "a flush without a deadline is complete");
        require(calls >= 3, "each attempt was made");
    });
}

TEST_CASE("explored: calls that time out and are abandoned say nothing of their batch") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        std::map<int, int> taken;
        std::map<int, int> returned;
        auto how = explore::drawn_options(1);
        how.runtime = runtime;
        how.processing_timeout = 1ms;
        how.timeout_action = flip() ? tidefall::timeout_action::abandon : tidefall::timeout_action::wait;
        how.shutdown_timeout = 1h;
        tidefall::buffer_stats stats;
        {
            explore::item_queue items(
                std::move(how),
                [&](std::span<item> batch, batch_info const&) {
                    batch_result result;
                    if (flip()) explore::pass(flip() ? 1ms : 3ms);
                    for (std::size_t i = 0; i < batch.size(); ++i) {
                        if (flip()) {
                            result.reject(i);
                        } else {
                            ++taken[batch[i].number];
                        }
                    }
                    return result.retry_after(flip() ? 0ns : 1ms);
                },
                [&](std::span<item> values, tidefall::failure const&) {
                    for (auto const& value : values) ++returned[value.number];
                });
            {
                two_writers const both(items);
                items.flush(2ms);
            }
            items.stop(5ms);
            explore::until([&] {
                stats = items.stats();
                return stats.in_flight + stats.abandoned == 0;
            });
        }
        std::uint64_t lost = 0;
        for (int i = 0; i < 6; ++i) {
            require(returned[i] <= 1, "a value comes back once");
            require(taken[i] + returned[i] > 0, "each value comes out");
            lost += returned[i] > 0 ? 1U : 0U;
        }
        require(stats.failed + stats.dropped == lost && stats.processed == 6 - lost, "what is counted was seen");
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: what goes back from a spill file beside what is spilled") {
    explore::schedules([] {
        tests::temporary_directory const directory;
        auto const spill = tidefall::open_spill<int>(
            directory / "spill", [](int value) { return std::to_string(value); },
            [](std::string_view record) { return std::stoi(std::string(record)); }, {.sync = false});
        std::map<int, int> stored;
        auto how = explore::drawn_options(2);
        how.shutdown_timeout = 1h;
        how.processing_timeout = never;
        {
            tidefall::queue<int> items(std::move(how),
                                       tidefall::with_spill(
                                           [&](std::span<int const> batch) {
                                               explore::require_no_lock("the processor");
                                               if (flip()) throw std::runtime_error("away");
                                               for (int const one : batch) ++stored[one];
                                           },
                                           spill),
                                       spill->undelivered());
            {
                two_writers const both(items);
                if (flip()) items.flush(1ms);
            }
            items.stop(flip() ? 0ns : 1h);
        }
        tidefall::read_spill(directory / "spill",
                             [&](std::string_view record) { ++stored[std::stoi(std::string(record))]; });
        for (int i = 0; i < 6; ++i) require(stored[i] == 1, "each value is delivered, or in the file, once");
    });
}
