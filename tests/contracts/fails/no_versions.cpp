// must fail: put_newer needs a map with versions: the one of this map is void
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int, std::hash<int>, std::equal_to<int>, void>& map) {
    map.put_newer(1, 1, 1);
}
