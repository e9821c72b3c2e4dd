// must fail: after the item come tags: partition_key and, in a queue sorted by key, sort_key
#include <tidefall/queue.hpp>
void f(tidefall::queue<int>& items) {
    items.push(1, tidefall::partition_key{1}, tidefall::partition_key{2});
}
