// must fail: versions must be totally ordered: floating point is not
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int, std::hash<int>, std::equal_to<int>, double>& map) {
    map.put(1, 1);
}
