// must fail: only a queue sorted by key takes a sort key
#include <tidefall/queue.hpp>
void f(tidefall::queue<int>& items) {
    items.push(1, tidefall::sort_key{1});
}
