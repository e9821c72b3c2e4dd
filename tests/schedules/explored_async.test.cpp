// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: batches that are completed later, several at once, on
// threads of the sink's own.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using explore::draw;
using explore::flip;
using explore::item;
using explore::never;
using explore::require;
using explore::thread;
using tidefall::async_batch;
using tidefall::batch_result;
using tidefall::failure_reason;
using namespace std::chrono_literals;

namespace {

/// A sink with threads of its own, which answers each batch in whatever way it draws; and what became of each value.
class sink {
public:
    /// `within`: no more batches of a partition may be out, but for those that were abandoned.
    sink(std::size_t within, bool times_out) : within_(within), times_out_(times_out) {}

    void take(async_batch<item> batch) {
        explore::require_no_lock("the processor");
        auto const& info = batch.info();
        auto& here = partitions_[info.partition];
        ++here.out;
        if (!times_out_) require(here.out <= within_, "no more batches are out than may be");
        // The place of a batch that waits is kept: none that is new is handed out before it.
        if (info.attempt == 1 && !times_out_) {
            for (auto& [index, one] : here.waiting) {
                // It may have been cut already.
                if (one.is_sure) require(within_ > 1 && ++one.passed_by == 1, "a batch keeps its place");
            }
        }
        here.waiting.erase(info.index);
        for (auto const& value : batch.values()) {
            auto& its = fates_[value.number];
            require(!its.taken && its.returned == 0, "a value that has its outcome is not offered again");
            require(!its.was_last, "there is no attempt after the last one");
            its.was_last = info.stopping;
        }
        explore::point();
        switch (draw(6)) {
            case 0: answer(std::move(batch)); break;
            case 1: {
                auto const gone = std::move(batch);
                note_end(gone);
                if (flip()) throw std::runtime_error("the call fails");
                break;
            }
            case 2:
                hold(std::move(batch));
                explore::point();
                if (flip()) throw std::runtime_error("the batch goes on");
                break;
            default: hold(std::move(batch)); explore::point();
        }
    }

    void returned(std::span<item const> values, tidefall::failure const& why) {
        explore::require_no_lock("undelivered");
        for (auto const& value : values) {
            auto& its = fates_[value.number];
            require(++its.returned == 1, "a value comes back once");
            its.why = why.reason;
            auto& waiting = partitions_[why.partition].waiting;
            for (auto& [index, one] : waiting) std::erase(one.values, value.number);
            std::erase_if(waiting, [](auto const& one) { return one.second.values.empty(); });
        }
        explore::point();
    }

    /// Answers batches until there will be none.
    void serve() {
        for (;;) {
            while (held_.empty() && !closed_) explore::wait_for(this, explore::clock_time::max());
            if (held_.empty()) return;
            auto const at = held_.begin() + static_cast<std::ptrdiff_t>(draw(held_.size()));
            auto const batch = std::move(*at);
            held_.erase(at);
            answer(std::move(*batch));
        }
    }
    /// How many values were handed out.
    [[nodiscard]] std::size_t seen() const noexcept { return fates_.size(); }

    /// How many batches nobody has begun to end.
    [[nodiscard]] std::size_t out() const {
        std::size_t total = 0;
        for (auto const& [partition, its] : partitions_) total += its.out;
        return total;
    }

    [[nodiscard]] std::size_t settled() const {
        return static_cast<std::size_t>(std::count_if(
            fates_.begin(), fates_.end(), [](auto const& one) { return one.second.taken || one.second.returned > 0; }));
    }

    void close() {
        closed_ = true;
        explore::wake_all(this);
    }

    void check(tidefall::buffer_stats const& stats, std::size_t written) {
        std::uint64_t lost = 0;
        for (auto const& [value, its] : fates_) {
            bool const timed_out = its.returned > 0 && its.why == failure_reason::timeout;
            require((its.taken && !timed_out) != (its.returned > 0),
                    "value " + std::to_string(value) + " has one outcome");
            lost += its.returned > 0 ? 1U : 0U;
        }
        require(fates_.size() == written, "each value comes out");
        require(stats.failed + stats.dropped == lost && stats.processed == written - lost, "what is counted was seen");
        require(stats.in_flight == 0 && stats.pending == 0 && stats.abandoned == 0, "nothing is left");
    }

private:
    struct fate {
        bool taken = false;
        bool was_last = false;
        int returned = 0;
        failure_reason why{};
    };
    /// A batch that is to be offered again: for sure once its completion has returned.
    struct again {
        std::vector<int> values;
        std::size_t attempt;
        bool is_sure = false;
        int passed_by = 0;
    };
    struct one_partition {
        std::size_t out = 0;
        std::map<std::size_t, again> waiting;  ///< by the index of the batch
    };

    void hold(async_batch<item> batch) {
        auto its = std::make_unique<async_batch<item>>(std::move(batch));
        held_.push_back(std::move(its));
        explore::wake_all(this);
    }

    void note_end(async_batch<item> const& batch) { --partitions_[batch.info().partition].out; }

    void answer(async_batch<item> batch) {
        if (times_out_ && draw(3) == 0) explore::pass(flip() ? 1ms : 3ms);
        explore::point();
        auto const values = batch.values();
        note_end(batch);
        switch (draw(5)) {
            case 0: batch.fail(std::make_exception_ptr(std::runtime_error("not taken"))); return;
            case 1: return;  // it is given up
            case 2:
            case 3: break;
            default:
                for (auto const& value : values) fates_[value.number].taken = true;
                batch.complete();
                batch.complete();  // the first counts
                return;
        }
        batch_result result;
        bool const retries = flip();
        std::vector<int> values_again;
        for (std::size_t i = 0; i < values.size(); ++i) {
            switch (draw(3)) {
                case 0:
                    result.reject(i);
                    if (retries && !batch.info().stopping) values_again.push_back(values[i].number);
                    break;
                case 1: result.refuse(i); break;
                default: fates_[values[i].number].taken = true;
            }
        }
        std::chrono::nanoseconds const delays[] = {0ns, std::chrono::nanoseconds(draw(2'000)), 1ms, 1h,
                                                   std::chrono::nanoseconds::max()};
        if (retries) result.retry_after(delays[draw(5)]);
        auto const info = batch.info();
        auto& waiting = partitions_[info.partition].waiting;
        if (!values_again.empty()) waiting[info.index] = {values_again, info.attempt};
        batch.complete(std::move(result));
        auto const its = waiting.find(info.index);
        if (its != waiting.end() && its->second.attempt == info.attempt) its->second.is_sure = true;
    }

    std::size_t const within_;
    bool const times_out_;
    bool closed_ = false;
    std::vector<std::unique_ptr<async_batch<item>>> held_;  ///< a batch that is moved lets other threads run
    std::map<std::size_t, one_partition> partitions_;
    std::map<int, fate> fates_;
};

tidefall::options drawn(std::size_t partitions, std::size_t in_flight) {
    auto how = explore::drawn_options(partitions);
    how.max_in_flight = in_flight;
    how.processing_batch_size = 1 + draw(2);
    how.processing_timeout = never;
    how.shutdown_timeout = 1h;
    return how;
}

template <typename Queue>
void write_six(Queue& to) {
    thread const one([&] {
        for (int i = 0; i < 3; ++i) to.push(i);
    });
    for (int i = 3; i < 6; ++i) to.push(i);
}

}  // namespace

TEST_CASE("explored: batches that are completed later, several at once, with flushes, stops and updates") {
    explore::schedules([] {
        auto const in_flight = 1 + draw(3);
        sink answers(in_flight, false);
        auto how = drawn(1 + draw(2), in_flight);
        constexpr std::chrono::nanoseconds times[] = {0ns, 1ms, never};
        tidefall::drain_report first;
        tidefall::drain_report second;
        tidefall::buffer_stats stats;
        {
            explore::item_queue items(
                std::move(how), [&](async_batch<item> batch) { answers.take(std::move(batch)); },
                [&](std::span<item> values, tidefall::failure const& why) { answers.returned(values, why); });
            thread const one([&] { answers.serve(); });
            thread const other([&] { answers.serve(); });
            write_six(items);
            if (flip()) items.flush(times[draw(2)]);
            if (flip()) items.update_options({.max_in_flight = in_flight});
            if (flip()) explore::pass(1ms);
            {
                auto const within = times[draw(3)];
                thread const stops([&] { first = items.stop(within); });
                second = items.stop(within);
            }
            explore::until([&] {
                stats = items.stats();
                return stats.in_flight == 0;
            });
            answers.close();
        }
        require(first == second, "every stop returns the same report");
        answers.check(stats, 6);
    });
}

TEST_CASE("explored: batches that are out too long, and are given up or waited for") {
    explore::schedules([] {
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        sink answers(1, true);
        auto how = drawn(1, 1 + draw(3));
        how.runtime = runtime;
        how.processing_timeout = 1ms;
        how.timeout_action = flip() ? tidefall::timeout_action::abandon : tidefall::timeout_action::wait;
        tidefall::buffer_stats stats;
        {
            explore::item_queue items(
                std::move(how), [&](async_batch<item> batch) { answers.take(std::move(batch)); },
                [&](std::span<item> values, tidefall::failure const& why) { answers.returned(values, why); });
            thread const one([&] { answers.serve(); });
            write_six(items);
            items.flush(2ms);
            items.stop(5ms);
            explore::until([&] {
                stats = items.stats();
                return stats.in_flight + stats.abandoned == 0;
            });
            answers.close();
        }
        answers.check(stats, 6);
        explore::require_nothing_left(*runtime);
    });
}

TEST_CASE("explored: a buffer that is destroyed while its batches are out, also by its own processor") {
    explore::schedules([] {
        auto const in_flight = 1 + draw(3);
        sink answers(in_flight, false);
        auto const runtime = tidefall::make_runtime({.workers = 1 + draw(2)});
        bool const by_itself = flip();
        constexpr std::chrono::nanoseconds times[] = {0ns, 1ms, 1h};
        bool is_over = false;
        bool may_go = false;
        std::unique_ptr<explore::item_queue> items;
        auto const callables = std::make_shared<int>(0);  // each of the buffer's has it
        auto how = drawn(1, in_flight);
        if (flip()) how.runtime = runtime;
        how.shutdown_timeout = times[draw(3)];
        if (by_itself) how.processing_interval = 1ms;
        items = std::make_unique<explore::item_queue>(
            std::move(how),
            [&, callables](async_batch<item> batch) {
                require(!is_over, "no call after the buffer's end");
                answers.take(std::move(batch));
                if (may_go && flip()) auto const gone = std::move(items);
            },
            [&, callables](std::span<item> values, tidefall::failure const& why) {
                require(!is_over, "nothing comes back after the buffer's end");
                answers.returned(values, why);
            });
        thread const one([&] { answers.serve(); });
        for (int i = 0; i < 4; ++i) items->push(i);
        if (flip()) items->flush(0ns);
        if (by_itself) {
            may_go = true;
            int looks = 0;  // what is offered again may take its time
            explore::until([&] { return !items || answers.seen() == 4 || ++looks > 20; });
            may_go = false;
        }
        auto rest = std::exchange(items, nullptr);
        bool const destroys = rest != nullptr;
        rest.reset();
        if (destroys) require(answers.out() == 0, "no batch outlives its buffer");
        // The last call may go on after its batch has ended.
        if (!destroys) explore::until([&] { return answers.settled() == 4 && callables.use_count() == 1; });
        is_over = destroys;
        if (destroys) explore::require_nothing_left(*runtime);
        answers.close();
    });
}
