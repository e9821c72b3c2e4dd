// SPDX-License-Identifier: MIT
//
// Bytes a value: what a buffer takes from the heap while so many values of 8 bytes wait, or so many entries of a
// key and a value of 8 bytes each, divided by their number; and what a buffer takes while it is empty. Beside it
// moodycamel's queue, a vector, and std::unordered_map. One thread writes, and the clock is moved by hand.
#include "contest.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <malloc.h>

#if defined(TIDEFALL_BENCH_MOODYCAMEL)
#include <concurrentqueue/concurrentqueue.h>
#endif

namespace {

/// Bytes of the heap that are in use.
std::size_t taken() {
    auto const now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

using item = std::uint64_t;
template <typename Version>
using map_of = tidefall::hash_map<item, item, std::hash<item>, std::equal_to<item>, Version>;

/// Bytes that `make()` takes and `fill` adds to, for each of so many values.
template <typename Make, typename Fill>
double bytes_a_value(std::uint64_t values, Make const& make, Fill const& fill) {
    auto const before = taken();
    auto const one = make();
    for (item i = 0; i < values; ++i) fill(*one, i);
    return static_cast<double>(taken() - before) / static_cast<double>(values);
}

/// On a runtime that is there before the count begins.
template <typename Buffer>
auto maker() {
    return [clock = tidefall::make_manual_runtime()] {
        return std::make_unique<Buffer>(tidefall::options{.partitions = 1, .runtime = clock},
                                        [](std::span<typename Buffer::value_type>) {});
    };
}

void enter(bench::turns& all, std::uint64_t values) {
    auto const number = std::to_string(values);
    auto const push = [](auto& to, item value) { to.push(value); };
    auto const put = [](auto& to, item value) { to.put(value, value); };
    auto const queues = number + " values";
    all.enter(queues, "tidefall::queue",
              [=, make = maker<tidefall::queue<item>>()] { return bytes_a_value(values, make, push); });
#if defined(TIDEFALL_BENCH_MOODYCAMEL)
    all.enter(queues, "moodycamel, implicit", [=] {
        return bytes_a_value(
            values, [] { return std::make_unique<moodycamel::ConcurrentQueue<item>>(); },
            [](auto& to, item value) { to.enqueue(value); });
    });
#endif
    all.enter(queues, "std::vector", [=] {
        return bytes_a_value(
            values, [] { return std::make_unique<std::vector<item>>(); },
            [](auto& to, item value) { to.push_back(value); });
    });
    auto const maps = number + " entries";
    all.enter(maps, "tidefall::hash_map",
              [=, make = maker<map_of<void>>()] { return bytes_a_value(values, make, put); });
    all.enter(maps, "hash_map with versions",
              [=, make = maker<map_of<std::uint64_t>>()] { return bytes_a_value(values, make, put); });
    all.enter(maps, "std::unordered_map", [=] {
        return bytes_a_value(
            values, [] { return std::make_unique<std::unordered_map<item, item>>(); },
            [](auto& to, item value) { to[value] = value; });
    });
}

}  // namespace

int main() {
    bench::turns all;
    for (std::uint64_t const values : {1'000U, 100'000U, 10'000'000U}) enter(all, values);
    constexpr std::size_t buffers = 1'000;
    auto const enter_empty = [&]<typename Buffer>(std::in_place_type_t<Buffer>, char const* name) {
        all.enter("1000 empty buffers", name, [make = maker<Buffer>()] {
            auto const before = taken();
            std::vector<decltype(make())> made;
            while (made.size() < buffers) made.push_back(make());
            return static_cast<double>(taken() - before) / static_cast<double>(buffers);
        });
    };
    enter_empty(std::in_place_type<tidefall::queue<item>>, "tidefall::queue, 1 partition");
    enter_empty(std::in_place_type<map_of<std::uint64_t>>, "tidefall::hash_map, 1 partition");
    all.hold(1, "bytes a value");
}
