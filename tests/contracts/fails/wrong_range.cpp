// must fail: the range's items cannot be made into the queue's
#include <string>
#include <tidefall/queue.hpp>
#include <vector>
void f(tidefall::queue<int>& items, std::vector<std::string>& texts) {
    items.push_range(texts);
}
