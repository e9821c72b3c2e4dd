// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <system_error>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, [](tidefall::queue_table<int>) { return std::error_condition(); });
}
