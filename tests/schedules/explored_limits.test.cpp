// SPDX-License-Identifier: MIT
//
// The real engine under schedules that the explorer makes up: limits by weight, those of all partitions together, and
// processors that wait for room in another buffer.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using explore::draw;
using explore::flip;
using explore::never;
using explore::require;
using explore::thread;
using tidefall::overflow_policy;
using tidefall::partition_key;
using tidefall::write_status;
using namespace std::chrono_literals;

namespace {

constexpr overflow_policy policies[] = {overflow_policy::block, overflow_policy::reject, overflow_policy::drop_oldest};

/// Counts how often each value came out.
struct counts {
    std::vector<int> taken = std::vector<int>(16);
    std::vector<int> returned = std::vector<int>(16);

    void require_each_once(std::vector<write_status> const& written) const {
        for (std::size_t i = 0; i < written.size(); ++i) {
            int const expected = written[i] == write_status::accepted ? 1 : 0;
            require(taken[i] + returned[i] == expected,
                    "value " + std::to_string(i) + " came out as often as it went in: " + std::to_string(taken[i]) +
                        " and " + std::to_string(returned[i]));
        }
    }
};

}  // namespace

TEST_CASE("explored: as many values wait in all partitions together as may") {
    explore::schedules([] {
        auto how = explore::drawn_options(1 + draw(3));
        auto const limit = 1 + draw(4);
        how.total_capacity = limit;
        how.overflow = policies[draw(3)];
        how.overflow_timeout = never;
        how.processing_timeout = never;
        how.shutdown_timeout = never;
        if (flip()) how.capacity = 1 + draw(3);
        counts all;
        std::vector<write_status> written(8, write_status::stopped);
        bool const changes = draw(4) == 0;
        {
            tidefall::queue<int> items(
                std::move(how),
                [&](std::span<int const> batch) {
                    explore::point();
                    for (int const one : batch) ++all.taken[static_cast<std::size_t>(one)];
                },
                [&](std::span<int const> values, tidefall::failure const&) {
                    explore::require_no_lock("undelivered");
                    for (int const one : values) ++all.returned[static_cast<std::size_t>(one)];
                });
            auto const write = [&](std::size_t from) {
                for (std::size_t i = from; i < from + 4; ++i) {
                    written[i] = items.push(static_cast<int>(i), partition_key{draw(5)});
                    if (!changes) require(items.size() <= limit + 1, "one more waits than may, for the other writer");
                }
            };
            thread const one([&] { write(0); });
            thread const other([&] { write(4); });
            if (changes) {
                auto to = std::optional<std::size_t>(1 + draw(6));
                if (flip()) to.reset();
                items.update_options({.total_capacity = to});
            }
            if (flip()) items.flush(0s);
        }
        all.require_each_once(written);
    });
}

TEST_CASE("explored: all room is given back, whoever leased it") {
    explore::schedules([] {
        auto how = explore::drawn_options(2);
        how.processing_interval = never;
        how.drain_threshold.reset();
        auto const limit = 4 + draw(8);
        how.total_capacity = limit;
        how.overflow = overflow_policy::reject;
        auto const runtime = tidefall::make_runtime({.workers = 1});
        how.runtime = runtime;
        tidefall::queue<int> items(std::move(how), [](std::span<int const>) {});
        auto const write = [&](std::size_t key) {
            for (int i = 0; i < 3; ++i) static_cast<void>(items.push(0, partition_key{key}));
        };
        {
            thread const one([&] { write(draw(4)); });
            thread const other([&] { write(draw(4)); });
            if (flip()) items.flush(0s);
        }
        items.flush(never);
        std::size_t accepted = 0;
        while (items.push(0, partition_key{draw(4)}) == write_status::accepted && items.stats().ticks < 100) {
            ++accepted;
            if (accepted > limit) break;
        }
        require(accepted >= limit, "nothing that was leased is lost");
    });
}

TEST_CASE("explored: limits by weight, with writers that wait for room of theirs") {
    explore::schedules([] {
        static constexpr auto weight = [](int value) { return static_cast<std::size_t>(1 + value % 4); };
        auto how = explore::drawn_options(1 + draw(2));
        how.capacity_weight = 1 + draw(8);
        if (flip()) how.drain_threshold_weight = 1 + draw(8);
        how.processing_batch_weight = 1 + draw(6);
        auto const most = *how.processing_batch_weight;
        how.overflow = policies[draw(3)];
        how.overflow_timeout = never;
        how.processing_timeout = never;
        how.shutdown_timeout = never;
        counts all;
        std::vector<write_status> written(6, write_status::stopped);
        {
            tidefall::queue<int, tidefall::insertion_order, tidefall::weighed_by<weight>> items(
                std::move(how),
                [&](std::span<int const> batch) {
                    std::size_t sum = 0;
                    for (int const one : batch) {
                        sum += weight(one);
                        ++all.taken[static_cast<std::size_t>(one)];
                    }
                    require(batch.size() == 1 || sum <= most, "a batch is no heavier than it may be");
                },
                [&](std::span<int const> values, tidefall::failure const&) {
                    for (int const one : values) ++all.returned[static_cast<std::size_t>(one)];
                });
            auto const write = [&](std::size_t from) {
                for (std::size_t i = from; i < from + 3; ++i) written[i] = items.push(static_cast<int>(i));
            };
            thread const one([&] { write(0); });
            thread const other([&] { write(3); });
            if (flip()) items.flush(0s);
        }
        all.require_each_once(written);
    });
}

TEST_CASE("explored: stages that write to each other, on one runtime or several") {
    explore::schedules([] {
        auto const shared = tidefall::make_runtime({.workers = 1 + draw(3)});
        auto const runtime = [&] { return flip() ? shared : nullptr; };
        auto const stage = [&] {
            tidefall::options how;
            how.partitions = 1;
            how.processing_interval = flip() ? std::chrono::nanoseconds(1ms) : never;
            how.drain_threshold = 1 + draw(2);
            how.processing_batch_size = 1 + draw(2);
            how.capacity = 2;
            how.overflow_timeout = never;
            how.processing_timeout = never;
            how.shutdown_timeout = never;
            how.unheard = tidefall::unheard_action::ignore;
            how.runtime = runtime();
            return how;
        };
        int arrived = 0;
        int refused = 0;
        auto first_how = stage();
        bool const times_out = draw(3) == 0;
        if (times_out) first_how.processing_timeout = 1ms;
        {
            tidefall::queue<int> third(stage(),
                                       [&](std::span<int const> batch) { arrived += static_cast<int>(batch.size()); });
            auto const hand_on = [&](tidefall::queue<int>& to) {
                return [&](std::span<int const> batch) {
                    for (int const one : batch) {
                        if (to.push(one) != write_status::accepted) ++refused;
                    }
                };
            };
            tidefall::queue<int> second(stage(), hand_on(third));
            tidefall::queue<int> first(std::move(first_how), hand_on(second));
            thread const writer([&] {
                for (int i = 0; i < 3; ++i) static_cast<void>(first.push(i));
            });
            for (int i = 3; i < 6; ++i) static_cast<void>(first.push(i));
        }
        require(arrived + refused == 6, "each value is handed on, or said to be refused");
    });
}

TEST_CASE("explored: a call that waits for room in another buffer waits no more once its token stops") {
    explore::schedules([] {
        explore::gate hangs;
        auto const how = [] {
            tidefall::options one;
            one.partitions = 1;
            one.processing_interval = never;
            one.drain_threshold = 1;
            one.processing_timeout = never;
            one.shutdown_timeout = never;
            one.overflow_timeout = never;
            one.unheard = tidefall::unheard_action::ignore;
            return one;
        };
        auto second_how = how();
        second_how.capacity = 1;
        bool is_answered = false;
        {
            tidefall::queue<int> second(std::move(second_how), [&](std::span<int const>) { hangs.wait(); });
            require(second.push(1) == write_status::accepted, "the first value hangs in its call");
            explore::until([&] { return second.size() == 0; });
            require(second.push(2) == write_status::accepted, "the second one waits");
            auto first_how = how();
            bool const by_timeout = flip();
            if (by_timeout) first_how.processing_timeout = 1ms;
            tidefall::queue<int> first(std::move(first_how), [&](std::span<int const>) {
                is_answered = second.push(3) == write_status::full;
            });
            first.push(0);
            if (by_timeout) {
                first.flush(never);
            } else {
                first.stop(1ms);
            }
            explore::until([&] { return first.stats().in_flight + first.size() == 0; });
            if (first.stats().dropped == 0) require(is_answered, "the write was answered full");
            hangs.open();
        }
    });
}
