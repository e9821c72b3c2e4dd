// must fail: the hash function must be callable as Hash{}(key)
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int, std::hash<std::string>>& map) {
    map.put(1, 1);
}
