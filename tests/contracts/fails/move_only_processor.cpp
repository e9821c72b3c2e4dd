// must fail: the processor cannot be copied into the buffer: give a move-only callable with std::move
#include <memory>
#include <tidefall/queue.hpp>
int main() {
    auto processor = [owned = std::make_unique<int>()](std::span<int>) {};
    tidefall::queue<int> items({}, processor);
}
