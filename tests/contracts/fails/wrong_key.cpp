// must fail: the key is no map key
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map) {
    map.put(std::string("one"), 1);
}
