// must fail: with_retry: the processor must be callable as f(std::span<V const>)
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::with_retry([](std::span<int>) {}));
}
