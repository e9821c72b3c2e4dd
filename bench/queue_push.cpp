// SPDX-License-Identifier: MIT
//
// What a push costs while ticks drain, beside what people write by hand, beside queues from packages and beside the
// limit: of 8 bytes, of 64, and of a string. queues.hpp has the contestants, and contest.hpp says how the runs are
// made.
#include "queues.hpp"

#include <cstdint>
#include <string>

namespace {

template <typename Item>
using tidefall_queue = bench::queue_contestant<bench::tidefall_storage<Item, tidefall::insertion_order, 8>>;
template <typename Item>
using tidefall_producers = bench::queue_contestant<bench::tidefall_storage<Item, tidefall::producer_order, 2>>;

/// Far slower than all others, so they take part in few rows, with a tenth of the writes.
void enter_slow([[maybe_unused]] bench::contest& all, [[maybe_unused]] std::string const& setting,
                [[maybe_unused]] unsigned producers) {
#if defined(TIDEFALL_BENCH_TBB)
    all.enter<bench::queue_contestant<bench::drained_by_a_thread<bench::tbb_queue<std::uint64_t>>>>(setting, producers);
#endif
#if defined(TIDEFALL_BENCH_SPDLOG)
    all.enter<bench::queue_contestant<bench::spdlog_async<std::uint64_t>>>(setting, producers);
#endif
}

template <typename Item>
void enter_all(bench::contest& all, std::string const& setting, unsigned producers) {
    all.enter<tidefall_queue<Item>>(setting, producers);
    bench::enter_rivals<Item>(all, setting, producers);
    if (producers == 1) all.enter<bench::queue_contestant<bench::unsynchronised_append<Item>>>(setting, producers);
}

}  // namespace

int main(int count, char** arguments) {
    bench::contest all(4'000'000, 15);
    for (unsigned const producers : {1U, 2U, 8U}) {
        enter_all<std::uint64_t>(all, std::to_string(producers) + " producers", producers);
        enter_slow(all, std::to_string(producers) + " producers", producers);
    }
    for (unsigned const producers : {8U, 16U, 64U}) {
        auto const setting = std::to_string(producers) + " producers, 2 partitions";
        all.enter<tidefall_producers<std::uint64_t>>(setting, producers);
        bench::enter_rivals<std::uint64_t>(all, setting, producers);
    }
    for (unsigned const producers : {1U, 4U}) {
        enter_all<bench::line>(all, std::to_string(producers) + " producers, 64 bytes", producers);
        enter_all<std::string>(all, std::to_string(producers) + " producers, strings", producers);
    }
    return all.hold(count, arguments);
}
