// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items(
        {}, tidefall::per_partition([](std::size_t) { return [](std::span<int const>) { return true; }; }));
}
