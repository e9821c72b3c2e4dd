// must fail: the f of partition_by{f} and of sort_key_by{f} must be callable with one of the queue's items
#include <string>
#include <tidefall/queue.hpp>
#include <vector>
void f(tidefall::queue<int, tidefall::sorted_by_key<long>>& items, std::vector<int> const& numbers) {
    items.push_range(numbers, tidefall::sort_key_by{&std::string::size});
}
