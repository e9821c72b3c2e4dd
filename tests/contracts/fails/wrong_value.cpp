// must fail: the value cannot be made into the map's value type
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map) {
    map.put(1, std::string("one"));
}
