// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::serialised([](std::span<int const>) { return true; }));
}
