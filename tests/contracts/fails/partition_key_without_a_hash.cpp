// must fail: what routes a write, a partition_key or the result of partition_by, needs a std::hash
#include <tidefall/hash_map.hpp>
#include <utility>
void f(tidefall::hash_map<int, int>& map) {
    map.put(1, 1, tidefall::partition_key{std::pair(1, 1)});
}
