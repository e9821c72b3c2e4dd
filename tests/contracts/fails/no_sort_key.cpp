// must fail: every write to a queue sorted by key carries a sort key
#include <tidefall/queue.hpp>
void f(tidefall::queue<int, tidefall::sorted_by_key<int>>& items) {
    items.push(1);
}
