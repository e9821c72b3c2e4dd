// must fail: what routes a write, a partition_key or the result of partition_by, needs a std::hash
#include <tidefall/queue.hpp>
#include <utility>
#include <vector>
void f(tidefall::queue<int>& items, std::vector<int> const& numbers) {
    items.push_range(numbers, tidefall::partition_by{[](int n) { return std::pair(n, n); }});
}
