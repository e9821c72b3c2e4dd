// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <future>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, [](tidefall::async_batch<int>) { return std::future<void>(); });
}
