// SPDX-License-Identifier: MIT
//
// How the cost of a push grows, while ticks drain every 5 ms: by the number of values, of producers, of partitions, of
// buffers on one runtime, and by what a value is. With one producer the pushes are timed, with more everything until
// the last value is processed. Beside it, with the same work: a mutex with two vectors, and, with one producer, an
// append without any synchronisation.
#include "queues.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int repetitions = 9;

/// Buffers on one runtime, that are written in turn.
template <typename Item>
class buffers {
public:
    using item = Item;
    static constexpr char const* name = "tidefall::queue";

    buffers(bench::sink<Item>& processed, std::size_t partitions, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            all_.push_back(std::make_unique<tidefall::queue<Item>>(
                tidefall::options{.partitions = partitions,
                                  .processing_interval = bench::interval(),
                                  .processing_batch_size = bench::batch_size,
                                  .runtime = runtime_},
                [&processed](std::span<Item const> batch) { processed(batch); }));
        }
    }
    auto writer() {
        return [this, next = std::size_t{0}](Item&& value) mutable {
            all_[next]->push(std::move(value));
            if (++next == all_.size()) next = 0;
        };
    }
    void drain() {
        for (auto const& one : all_) one->flush();
    }

private:
    std::shared_ptr<tidefall::runtime> const runtime_ = tidefall::make_runtime({.workers = 2});
    std::vector<std::unique_ptr<tidefall::queue<Item>>> all_;
};

template <typename Item>
class by_hand : public bench::mutex_and_vectors<Item> {
public:
    by_hand(bench::sink<Item>& processed, std::size_t, std::size_t) : bench::mutex_and_vectors<Item>(processed) {}
    auto writer() {
        return [this](Item&& value) { this->push(std::move(value)); };
    }
};

template <typename Item>
class append : public bench::unsynchronised_append<Item> {
public:
    append(bench::sink<Item>& processed, std::size_t, std::size_t) : bench::unsynchronised_append<Item>(processed) {}
    auto writer() {
        return [this](Item&& value) { this->push(std::move(value)); };
    }
};

struct size {
    std::uint64_t items = 2'000'000;
    unsigned producers = 1;
    std::size_t partitions = 8;
    std::size_t buffers = 1;
};

/// One setting is run to its end before the next: a machine is to hold one of them at a time.
template <typename Item>
void measure(std::string const& setting, size const& of) {
    bench::turns all;
    auto const enter = [&]<typename Storage>(std::in_place_type_t<Storage>) {
        all.enter(setting, Storage::name, [=] {
            bench::queue_contestant<Storage> one(of.partitions, of.buffers);
            return bench::last_of_rounds(one, of.producers, of.items) * 1e9 / static_cast<double>(of.items);
        });
    };
    enter(std::in_place_type<buffers<Item>>);
    enter(std::in_place_type<by_hand<Item>>);
    if (of.producers == 1) enter(std::in_place_type<append<Item>>);
    all.hold(repetitions, "ns a value");
}

}  // namespace

int main() {
    using number = std::uint64_t;
    for (std::uint64_t const items : {1'000U, 10'000U, 100'000U, 1'000'000U, 10'000'000U}) {
        measure<number>(std::to_string(items) + " values", {.items = items});
    }
    for (unsigned const producers : {1U, 4U, 16U, 64U, 256U}) {
        measure<number>(std::to_string(producers) + " producers", {.producers = producers});
    }
    for (std::size_t const partitions : {1U, 4U, 16U, 64U, 256U}) {
        measure<number>(std::to_string(partitions) + " partitions, 8 producers",
                        {.producers = 8, .partitions = partitions});
    }
    for (std::size_t const count : {1U, 100U, 10'000U}) {
        measure<number>(std::to_string(count) + " buffers", {.partitions = 1, .buffers = count});
    }
    measure<number>("8 bytes", {});
    measure<bench::line>("64 bytes", {});
    measure<bench::page>("256 bytes", {});
    measure<std::string>("24 characters", {});
}
