// SPDX-License-Identifier: MIT
//
// What a push costs where all producers write to one partition of eight, by one routing key, beside a mutex with two
// vectors: there the stripe's lock is all that counts.
#include "queues.hpp"

#include <cstdint>
#include <string>

int main(int count, char** arguments) {
    bench::contest all(4'000'000, 15);
    for (unsigned const producers : {2U, 4U, 8U, 64U}) {
        auto const setting = std::to_string(producers) + " producers, one key";
        all.enter<bench::queue_contestant<bench::tidefall_storage<std::uint64_t, tidefall::insertion_order, 8, true>>>(
            setting, producers);
        all.enter<bench::queue_contestant<bench::mutex_and_vectors<std::uint64_t>>>(setting, producers);
    }
    return all.hold(count, arguments);
}
