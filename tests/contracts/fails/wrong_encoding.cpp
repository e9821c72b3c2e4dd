// must fail: with_spill: the encoding must be callable as encode(V const&, std::string& to)
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::with_spill([](std::span<int const>) {}, "f", [](int) { return 1; }));
}
