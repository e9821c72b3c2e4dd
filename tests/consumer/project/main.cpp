// SPDX-License-Identifier: MIT
#include <tidefall/queue.hpp>

#include <cstdio>

int main() {
    std::size_t sum = 0;
    {
        tidefall::queue<int> numbers({.name = "numbers", .partitions = 1},
                                     [&](std::span<int> batch) { sum += batch.size(); });
        for (int i = 0; i < 100; ++i) numbers.push(i);
    }
    std::printf("%zu\n", sum);
    return sum == 100 ? 0 : 1;
}
