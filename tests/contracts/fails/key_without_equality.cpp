// must fail: keys cannot be compared: give K an operator==, or the map a KeyEqual of its own
#include <tidefall/hash_map.hpp>
struct id {
    int number = 0;
};
struct hash_of_id {
    std::size_t operator()(id one) const { return static_cast<std::size_t>(one.number); }
};
int main() {
    tidefall::hash_map<id, int, hash_of_id> map({}, [](std::span<tidefall::entry<id, int>>) {});
    map.put(id{1}, 1);
}
