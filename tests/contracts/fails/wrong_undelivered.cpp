// must fail: undelivered must be callable as f(std::span<V>, tidefall::failure const&)
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items(
        {}, [](std::span<int>) {}, [](std::span<int>) {});
}
