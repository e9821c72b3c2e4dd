// must fail: the weight of weighed_by<Weight> must be callable with one of the queue's items and give a number
#include <string>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<std::string, tidefall::insertion_order, tidefall::weighed_by<[](int) { return 1; }>> items(
        {}, [](std::span<std::string>) {});
}
