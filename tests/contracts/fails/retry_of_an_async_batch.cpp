// must fail: with_retry
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, tidefall::with_retry([](tidefall::async_batch<int>) {}));
}
