// SPDX-License-Identifier: MIT
//
// Queues of what is no number and no text: move-only, over-aligned, constant, large, without an address.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using tests::numbers;
using tests::one_partition;
using tests::recorder;

namespace {

struct move_only {
    explicit move_only(int v) : value(std::make_unique<int>(v)) {}
    std::unique_ptr<int> value;
};

struct alignas(256) over_aligned {
    int value;
};

struct constant_member {
    int const value;
};

struct large {
    int value;
    std::array<char, 100'000> rest{};
};

}  // namespace

TEST_CASE("queue: items may be move-only, over-aligned, constant, large, bool or empty") {
    auto const clock = tidefall::make_manual_runtime();
    auto const batch = GENERATE(std::size_t{3}, 1000);

    SECTION("move-only, not default-constructible") {
        std::vector<int> seen;
        tidefall::queue<move_only> items(one_partition(clock, batch), [&](std::span<move_only> b) {
            for (auto& one : b) seen.push_back(*std::exchange(one.value, nullptr));
        });
        for (int i = 0; i < 500; ++i) {
            if (i % 2 == 0)
                items.push(move_only(i));
            else
                items.emplace(i);
        }
        items.flush();
        CHECK(seen == numbers(0, 500));
        for (int i = 0; i < 50; ++i) items.push(move_only(i));
    }
    SECTION("over-aligned") {
        int misaligned = 0;
        std::vector<int> seen;
        tidefall::queue<over_aligned> items(one_partition(clock, batch), [&](std::span<over_aligned> b) {
            for (auto& one : b) {
                misaligned += reinterpret_cast<std::uintptr_t>(&one) % 256 == 0 ? 0 : 1;
                seen.push_back(one.value);
            }
        });
        for (int i = 0; i < 500; ++i) items.push({i});
        items.flush();
        CHECK(misaligned == 0);
        CHECK(seen == numbers(0, 500));
    }
    SECTION("constant members") {
        std::vector<int> seen;
        tidefall::queue<constant_member> items(one_partition(clock, batch), [&](std::span<constant_member const> b) {
            for (auto& one : b) seen.push_back(one.value);
        });
        for (int i = 0; i < 500; ++i) items.push({i});
        items.flush();
        CHECK(seen == numbers(0, 500));
    }
    SECTION("larger than a segment") {
        std::vector<int> seen;
        tidefall::queue<large> items(one_partition(clock, batch), [&](std::span<large> b) {
            for (auto& one : b) seen.push_back(one.value);
        });
        for (int i = 0; i < 20; ++i) items.push({.value = i});
        items.flush();
        CHECK(seen == numbers(0, 20));
    }
    SECTION("bool") {
        recorder<char> const seen;
        int count = 0;
        tidefall::queue<bool> items(one_partition(clock, batch), [&](std::span<bool> b) {
            for (bool const one : b) count += one ? 1 : 0;
        });
        for (int i = 0; i < 2000; ++i) items.push(i % 4 == 0);
        items.flush();
        CHECK(count == 500);
    }
}

TEST_CASE("queue: push_range moves what can only be moved out of a container that it was given") {
    auto const clock = tidefall::make_manual_runtime();
    recorder<std::unique_ptr<int>> const seen;
    tidefall::queue<std::unique_ptr<int>> items(one_partition(clock), seen);
    std::vector<std::unique_ptr<int>> vector;
    vector.push_back(std::make_unique<int>(1));
    CHECK(items.push_range(std::move(vector)) == 1);
    std::list<std::unique_ptr<int>> list;
    list.push_back(std::make_unique<int>(2));
    CHECK(items.push_range(std::move(list)) == 1);
    tidefall::queue<std::shared_ptr<int>> shared(one_partition(clock), [](std::span<std::shared_ptr<int>>) {});
    std::vector<std::unique_ptr<int>> converted;
    converted.push_back(std::make_unique<int>(3));
    CHECK(shared.push_range(std::move(converted)) == 1);
    items.flush();
    REQUIRE(seen.batches().size() == 1);
    CHECK(seen.batches()[0].size() == 2);
}

namespace {
struct no_address {
    int value = 0;
    no_address* operator&() = delete;
    no_address const* operator&() const = delete;
    template <typename T>
    friend void operator,(no_address*, T&&) = delete;
};
}  // namespace

TEST_CASE("queue: items may overload operator& and the comma") {
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> seen;
    auto const processor = [&](std::span<no_address> batch) {
        for (auto const& one : batch) seen.push_back(one.value);
    };
    tidefall::queue<no_address, tidefall::sorted_by<&no_address::value>> sorted(one_partition(clock), processor);
    sorted.push({2});
    sorted.push({1});
    sorted.push_range(std::vector<no_address>{{3}});
    sorted.flush();
    tidefall::queue<no_address> items(one_partition(clock), processor);
    items.push_range(std::vector<no_address>{{4}});
    items.flush();
    CHECK(seen == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("queue: a table that was partly taken can be moved") {
    tidefall::queue_table<int> table;
    for (int i = 0; i < 3; ++i) table.emplace_back(i);
    CHECK(table.take(1)[0] == 0);
    auto moved = std::move(table);
    REQUIRE(moved.size() == 2);
    CHECK(*moved.begin() == 1);
    CHECK(moved.take(9)[0] == 1);
}

TEST_CASE("queue: after a move that threw while values were gathered, the next drains are whole") {
    static int moves_left;
    struct big {
        int value;
        char padding[508] = {};
        explicit big(int v) : value(v) {}
        big(big&& other) : value(other.value) {
            if (moves_left > 0 && --moves_left == 0) throw std::runtime_error("move");
        }
    };
    auto const clock = tidefall::make_manual_runtime();
    std::vector<int> seen;
    std::vector<int> back;
    tidefall::queue<big> items(
        {.partitions = 1, .processing_batch_size = 3, .runtime = clock},
        [&](std::span<big> batch) {
            for (auto const& one : batch) seen.push_back(one.value);
        },
        [&](std::span<big> rest, tidefall::failure const&) {
            for (auto const& one : rest) back.push_back(one.value);
        });
    std::vector<int> const all{0, 1, 2, 3, 4, 5};
    for (int throws_at : {2, 1, 3}) {
        back.clear();
        moves_left = 0;
        for (int const value : all) items.push(big(value));
        moves_left = throws_at;
        CHECK(items.flush().failed == 6);
        CHECK(back == all);
    }
    moves_left = 0;
    for (int const value : all) items.push(big(value));
    CHECK(items.flush().processed == 6);
    CHECK(seen == all);
    for (int const value : all) items.push(big(value));
    moves_left = 1;
    CHECK(items.flush().failed == 6);
    back.clear();
    for (int const value : all) items.push(big(value));
    items.flush(0s);
    CHECK(items.stop(0s).dropped == 6);
    CHECK(back == all);
}

TEST_CASE("queue: emplace takes numbers of other types for an aggregate, as parentheses do") {
    struct sample {
        std::uint64_t id;
        float value;
        std::string unit;
    };
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::string> seen;
    tidefall::queue<sample> items(one_partition(clock), [&](std::span<sample> batch) {
        for (auto const& one : batch) seen.push_back(std::to_string(one.id) + one.unit);
    });
    int const id = 2;
    items.emplace(id, 1.5, "ms");
    items.emplace(tidefall::partition_key{1}, 3, 2, std::string("s"));
    items.flush();
    CHECK(seen == std::vector<std::string>{"2ms", "3s"});
}

TEST_CASE("queue: a batch whose values lie side by side is handed out where they were written") {
    struct counts_moves {
        explicit counts_moves(int* all) : moves(all) {}
        counts_moves(counts_moves&& other) noexcept : moves(other.moves) { ++*moves; }
        counts_moves& operator=(counts_moves&&) = delete;
        ~counts_moves() = default;
        int* moves;
    };
    auto const clock = tidefall::make_manual_runtime();
    int moves = 0;
    std::size_t values = 0;
    auto const count = [&](std::span<counts_moves> batch) { values += batch.size(); };
    auto const check = [&](auto&& items) {
        for (int i = 0; i < 9; ++i) items.emplace(&moves);
        auto const when_written = moves;
        items.flush();
        CHECK(values == 9);
        CHECK(moves == when_written);
    };
    SECTION("cut by number") {
        check(tidefall::queue<counts_moves>(one_partition(clock, 3), count));
    }
    SECTION("cut by weight") {
        constexpr auto weight = [](counts_moves const&) -> std::size_t { return 1; };
        auto how = one_partition(clock, 100);
        how.processing_batch_weight = 3;
        check(tidefall::queue<counts_moves, tidefall::insertion_order, tidefall::weighed_by<weight>>(how, count));
    }
}

TEST_CASE("queue: a range of values that are trivially copyable, and may only be moved, is moved") {
    struct handle {
        int number = 0;
        explicit handle(int of) : number(of) {}
        handle(handle const&) = delete;
        handle(handle&&) = default;
        handle& operator=(handle const&) = delete;
        handle& operator=(handle&&) = default;
    };
    static_assert(std::is_trivially_copyable_v<handle>);
    int sum = 0;
    tidefall::queue<handle> items({.partitions = 1, .runtime = tidefall::make_manual_runtime()},
                                  [&](std::span<handle> batch) {
                                      for (auto const& one : batch) sum += one.number;
                                  });
    std::vector<handle> range;
    for (int i = 1; i <= 3; ++i) range.emplace_back(i);
    CHECK(items.push_range(std::move(range)) == 3);
    items.stop();
    CHECK(sum == 6);
}
