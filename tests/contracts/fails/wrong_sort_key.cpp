// must fail: the sort key cannot be made into the queue's key type
#include <tidefall/queue.hpp>
void f(tidefall::queue<int, tidefall::sorted_by_key<long>>& items) {
    items.push(1, tidefall::sort_key{"text"});
}
