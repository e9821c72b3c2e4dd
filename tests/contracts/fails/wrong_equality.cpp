// must fail: the equality must be callable as KeyEqual{}(a, b)
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int, std::hash<int>, std::equal_to<std::string>>& map) {
    map.put(1, 1);
}
