// must fail: this V has no default constructor: say what a new key starts from, as in update(key, first, f)
#include <tidefall/hash_map.hpp>
struct profile {
    explicit profile(int first) : visits(first) {}
    int visits;
};
void f(tidefall::hash_map<int, profile>& map) {
    map.update(1, [](profile& one) { ++one.visits; });
}
