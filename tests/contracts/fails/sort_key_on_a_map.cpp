// must fail: the one tag that a hash map takes is partition_key
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map) {
    map.put(1, 1, tidefall::sort_key{1});
}
