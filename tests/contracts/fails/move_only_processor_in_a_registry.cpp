// must fail: the processor cannot be copied into the buffer: give a move-only callable with std::move
#include <memory>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>
int main() {
    auto processor = [owned = std::make_unique<int>()](std::span<int>) {};
    tidefall::registry<tidefall::queue<int>> all;
    all.start("one", {}, processor);
}
