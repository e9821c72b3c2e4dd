// must fail: a processor that takes an async_batch gives the batch_result to async_batch::complete
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, [](tidefall::async_batch<int>) { return tidefall::batch_result(); });
}
