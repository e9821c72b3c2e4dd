// must fail: undelivered cannot be copied into the buffer: give a move-only callable with std::move
#include <memory>
#include <tidefall/queue.hpp>
int main() {
    auto undelivered = [owned = std::make_unique<int>()](std::span<int>, tidefall::failure const&) {};
    tidefall::queue<int> items(
        {}, [](std::span<int>) {}, undelivered);
}
