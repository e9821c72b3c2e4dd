// must fail: moves of a hash map's keys, values and versions must not throw
#include <tidefall/hash_map.hpp>
struct throws_when_moved {
    throws_when_moved() = default;
    throws_when_moved(throws_when_moved&&) noexcept(false) {}
};
void f(tidefall::hash_map<int, throws_when_moved>& map) {
    map.put(1, throws_when_moved());
}
