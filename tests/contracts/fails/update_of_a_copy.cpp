// must fail: update changes the value in its place: its function must take a V&
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map) {
    map.update(1, [](int value) { return value + 1; });
}
