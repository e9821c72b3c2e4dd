// must fail: the version cannot be made into the map's version type
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map) {
    map.put_newer(1, 1, 1.5);
}
