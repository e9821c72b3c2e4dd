// SPDX-License-Identifier: MIT
//
// Which partition a writing thread keeps to.
#include "../support/catch.hpp"

#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <thread>
#include <vector>

using tidefall::detail::writer_places;

namespace {

/// Runs `f` on a thread of its own.
template <typename F>
void on_a_thread(F f) {
    std::thread(f).join();
}

std::unique_ptr<tidefall::queue<int>> make_queue(std::size_t partitions,
                                                 std::shared_ptr<tidefall::runtime> const& runtime) {
    return std::make_unique<tidefall::queue<int>>(tidefall::options{.partitions = partitions, .runtime = runtime},
                                                  [](std::span<int>) {});
}

std::vector<std::size_t> sizes(tidefall::queue<int> const& of) {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < of.partitions(); ++i) all.push_back(of.partition(i).size());
    return all;
}

}  // namespace

TEST_CASE("writer places: threads that write to two buffers in turn fill each evenly") {
    auto const partitions = GENERATE(std::size_t{2}, 4, 8);
    auto const runtime = tidefall::make_manual_runtime();
    auto const in = make_queue(partitions, runtime);
    auto const out = make_queue(partitions, runtime);
    for (int connection = 0; connection < 16; ++connection) {
        on_a_thread([&] { in->push(1); });
        on_a_thread([&] { out->push(1); });
    }
    CHECK(sizes(*in) == std::vector<std::size_t>(partitions, 16 / partitions));
    CHECK(sizes(*out) == std::vector<std::size_t>(partitions, 16 / partitions));
}

TEST_CASE("writer places: a thread has a place of its own in 16 buffers, and keeps every place that it has") {
    constexpr std::size_t partitions = 5;
    constexpr std::size_t buffers = 40;
    auto const runtime = tidefall::make_manual_runtime();
    std::vector<std::unique_ptr<tidefall::queue<int>>> all;
    for (std::size_t i = 0; i < buffers; ++i) all.push_back(make_queue(partitions, runtime));
    constexpr std::size_t writers = 2 * partitions;
    for (std::size_t writer = 0; writer < writers; ++writer) {
        on_a_thread([&] {
            for (int turn = 0; turn < 3; ++turn) {
                for (auto const& one : all) one->push(1);
            }
        });
    }
    for (std::size_t i = 0; i < buffers; ++i) {
        auto const each = sizes(*all[i]);
        // By its number in the process a thread meets any of the partitions, but always the same one.
        CHECK(std::all_of(each.begin(), each.end(), [](std::size_t size) { return size % 3 == 0; }));
        if (i < 16) CHECK(each == std::vector<std::size_t>(partitions, 6));
    }
}

TEST_CASE("writer places: a buffer at an old one's address has places of its own") {
    auto const runtime = tidefall::make_manual_runtime();
    std::set<std::uint64_t> keys;
    alignas(writer_places) std::byte here[sizeof(writer_places)];
    for (std::size_t i = 0; i < 1'000; ++i) {
        auto* const places = ::new (static_cast<void*>(here)) writer_places(1 + i % 7, 0);
        keys.insert(places->key());
        CHECK(places->of_this_thread().stripe < 1 + i % 7);
        std::destroy_at(places);
    }
    CHECK(keys.size() == 1'000);
    CHECK(keys.count(0) == 0);
}

TEST_CASE("writer places: the stripes of a partition are taken in turn, and not by those who share none") {
    constexpr std::size_t partitions = 3;
    writer_places places(partitions, 2);
    std::set<std::size_t> stripes;
    for (int writer = 0; writer < 12; ++writer) {
        on_a_thread([&] { stripes.insert(places.of_this_thread().stripe); });
    }
    CHECK(stripes.size() == 12);
    CHECK(*stripes.rbegin() == 11);
    writer_places others(partitions, 2);
    std::set<std::size_t> in_their_partition;
    for (int writer = 0; writer < 3; ++writer) {
        on_a_thread([&] { in_their_partition.insert(others.of_this_thread().stripe % 4); });
    }
    CHECK(in_their_partition.size() == 3);
}
