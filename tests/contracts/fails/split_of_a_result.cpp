// must fail: with_split: the processor takes a batch whole or throws
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    auto const process = [](std::span<int const>) { return tidefall::batch_result(); };
    tidefall::queue<int> items({}, tidefall::with_split(process, [](std::exception_ptr const&) { return true; }));
}
