// must fail: a processor of whole tables takes them whole: a batch_result is for one that takes batches
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, [](tidefall::queue_table<int>) { return tidefall::batch_result(); });
}
