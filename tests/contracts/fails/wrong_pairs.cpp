// must fail: put_all takes a range of pairs
#include <tidefall/hash_map.hpp>
#include <vector>
void f(tidefall::hash_map<int, int>& map, std::vector<int>& numbers) {
    map.put_all(numbers);
}
