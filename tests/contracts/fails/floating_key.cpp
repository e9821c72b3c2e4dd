// must fail: floating-point keys need a hash and an equality of their own
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<double, int>& map) {
    map.put(1.5, 1);
}
