// SPDX-License-Identifier: MIT
//
// Queues whose stripes lean to one writer, who enters without the lock, under schedules in which its stores are seen
// late by others.
#include "../support/catch.hpp"
#include "explorer/subject.hpp"

#include <map>
#include <optional>
#include <span>
#include <vector>

using explore::draw;
using explore::flip;
using explore::item;
using explore::item_queue;
using explore::require;
using explore::thread;
using namespace std::chrono_literals;

namespace {

/// What came out of a queue: each number once, and those of one writer in their order.
class outcome {
public:
    static constexpr int a_writer = 1'000;

    void add(std::span<item const> batch) {
        for (auto const& one : batch) {
            auto& last = last_[one.number / a_writer];
            require(last < one.number, "a writer's values come in their order, and once");
            last = one.number;
            ++count_;
        }
    }
    [[nodiscard]] int count() const { return count_; }

private:
    std::map<int, int> last_;
    int count_ = 0;
};

tidefall::options lean_options() {
    return {.partitions = 1,
            .processing_interval = flip() ? explore::nanoseconds(1ms) : explore::never,
            .processing_batch_size = 1 + draw(4),
            .processing_timeout = explore::never,
            .shutdown_timeout = explore::never};
}

void write(item_queue& to, int first, int count) {
    for (int i = 0; i < count; ++i) {
        require(to.push(item(first + i)) == tidefall::write_status::accepted, "a write is accepted");
    }
}

}  // namespace

TEST_CASE("explored: an owner, swaps and a stop") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            {
                thread const owner([&] { write(items, 1, 14); });
                thread const flushes([&] {
                    for (int i = 0; i < 2; ++i) items.flush(explore::never);
                });
            }
            if (flip()) items.stop();
        }
        require(all.count() == 14, "each value comes out");
    });
}

TEST_CASE("explored: an owner and an intruder") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            thread const owner([&] { write(items, 1, 12); });
            thread const intruder([&] {
                write(items, outcome::a_writer, 1);
                static_cast<void>(items.size());
                write(items, outcome::a_writer + 1, 3);
            });
        }
        require(all.count() == 16, "each value comes out");
    });
}

TEST_CASE("explored: an owner, and two who ask at once") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            thread const owner([&] { write(items, 1, 12); });
            thread const looks([&] {
                for (int i = 0; i < 3; ++i) require(items.size() <= 12, "so many wait at most");
            });
            thread const counts([&] {
                items.flush(explore::never);
                auto const counted = items.stats();
                require(counted.accepted <= 12, "so many are accepted at most");
                static_cast<void>(items.size());
            });
        }
        require(all.count() == 12, "each value comes out");
    });
}

TEST_CASE("explored: a writer ends, and another one follows") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            for (int writer = 0; writer < 3; ++writer) {
                thread const one([&, writer] { write(items, writer * outcome::a_writer + 1, 6); });
                if (flip()) items.flush(explore::never);
            }
        }
        require(all.count() == 18, "each value comes out");
    });
}

TEST_CASE("explored: who was the owner before comes back") {
    explore::schedules([] {
        outcome all;
        auto const others = 1 + static_cast<int>(draw(3));
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            write(items, 1, 7);
            int written = 0;
            bool is_over = false;
            std::vector<thread> owners;
            for (int k = 1; k <= others; ++k) {
                items.flush(explore::never);
                written = 0;
                owners.emplace_back([&, k] {
                    for (int i = 0; i < 7; ++i) {
                        write(items, k * outcome::a_writer + i, 1);
                        ++written;
                    }
                    explore::until([&] { return is_over; });
                });
                explore::until([&] { return written >= (k < others ? 7 : 2); });
            }
            write(items, 8, 3);
            is_over = true;
        }
        require(all.count() == 10 + 7 * others, "each value comes out");
    });
}

TEST_CASE("explored: two who ask, one after the other and at once") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            int written = 0;
            thread const owner([&] {
                for (int i = 1; i <= 16; ++i) {
                    write(items, i, 1);
                    written = i;
                }
            });
            thread const looks([&] {
                explore::until([&] { return written >= 6; });
                static_cast<void>(items.size());
            });
            thread const swaps([&] {
                explore::until([&] { return written >= 6; });
                static_cast<void>(items.flush(explore::nanoseconds(0)));
                static_cast<void>(items.size());
            });
        }
        require(all.count() == 16, "each value comes out");
    });
}

TEST_CASE("explored: an owner whose limits change, and a stop that refuses it") {
    explore::schedules([] {
        outcome all;
        int accepted = 0;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            thread const owner([&] {
                for (int i = 1; i <= 12; ++i) accepted += items.push(item(i)) == tidefall::write_status::accepted;
            });
            thread const changes([&] {
                if (flip()) items.update_options({.capacity = std::optional<std::size_t>(2 + draw(3))});
                if (flip()) items.update_options({.capacity = std::optional<std::size_t>{}});
                if (flip()) items.stop();
            });
        }
        require(all.count() == accepted, "what was accepted comes out");
    });
}

TEST_CASE("explored: a bulk write of the owner's") {
    explore::schedules([] {
        outcome all;
        {
            item_queue items(lean_options(), [&](std::span<item const> batch) { all.add(batch); });
            thread const owner([&] {
                write(items, 1, 5);
                std::vector<item> more;
                for (int i = 6; i <= 9; ++i) more.emplace_back(i);
                require(items.push_range(more) == 4, "all are accepted");
                write(items, 10, 3);
            });
            thread const flushes([&] { items.flush(explore::never); });
        }
        require(all.count() == 12, "each value comes out");
    });
}
