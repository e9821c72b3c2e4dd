// must fail: update changes the value in its place: its function must take a V&
#include <tidefall/hash_map.hpp>
void look(int const& value);
void f(tidefall::hash_map<int, int>& map) {
    map.update(1, 7, &look);
}
