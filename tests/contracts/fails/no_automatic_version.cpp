// must fail: put_newer without a version needs a map whose version type is an integer of 64 bits
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int, std::hash<int>, std::equal_to<int>, std::string>& map) {
    map.put_newer(1, 1);
}
