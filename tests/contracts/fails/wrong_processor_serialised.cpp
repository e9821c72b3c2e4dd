// must fail: the processor must be callable as f(std::span<V>)
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::serialised([](std::string) {}));
}
