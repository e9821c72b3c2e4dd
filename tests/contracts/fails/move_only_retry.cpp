// must fail: with_retry: the processor cannot be copied: give a move-only callable with std::move
#include <memory>
#include <tidefall/decorators.hpp>
int main() {
    auto processor = [owned = std::make_unique<int>()](std::span<int const>) {};
    tidefall::with_retry(processor);
}
