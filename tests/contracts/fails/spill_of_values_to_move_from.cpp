// must fail: with_spill: the processor must be callable as f(std::span<V const>)
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::with_spill([](std::span<int>) {}, "f", [](int) { return "x"; }));
}
