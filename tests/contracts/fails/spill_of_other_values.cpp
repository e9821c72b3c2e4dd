// must fail: with_spill: the encoding must be callable
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    auto const spill = tidefall::open_spill<long>("spill", [](long) { return ""; });
    tidefall::queue<int> items({}, tidefall::with_spill([](std::span<int const>) {}, spill));
}
