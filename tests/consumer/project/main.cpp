// SPDX-License-Identifier: MIT
//
// Uses the library as its headers stand, without a flag of the library's own.
#include <tidefall/tidefall.hpp>

#include <cstdio>
#include <string>

int main() {
    std::size_t items = 0;
    int visits = 0;
    {
        tidefall::queue<int> numbers({.name = "numbers", .partitions = 1},
                                     [&](std::span<int> batch) { items += batch.size(); });
        tidefall::hash_map<std::string, int> counters({.name = "counters", .partitions = 1},
                                                      [&](std::span<tidefall::entry<std::string, int>> batch) {
                                                          for (auto const& one : batch) visits += one.value;
                                                      });
        for (int i = 0; i < 100; ++i) {
            numbers.push(i);
            counters.update("visits", [](int& count) { ++count; });
        }
    }
    std::printf("tidefall %s: %zu items, %d visits\n", tidefall::version.data(), items, visits);
    return items == 100 && visits == 100 ? 0 : 1;
}
