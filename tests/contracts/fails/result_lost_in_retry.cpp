// must fail: the processor's result would be lost: return a tidefall::batch_result that says what was not taken, throw, or discard the result by static_cast<void>
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::with_retry([](std::span<int const>) { return true; }));
}
