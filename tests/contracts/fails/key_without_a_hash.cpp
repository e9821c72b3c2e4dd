// must fail: there is no std::hash of the key: specialise std::hash<K>, or give the map a Hash of its own
#include <tidefall/hash_map.hpp>
struct id {
    int number = 0;
    bool operator==(id const&) const = default;
};
int main() {
    tidefall::hash_map<id, int> map({}, [](std::span<tidefall::entry<id, int>>) {});
    map.put(id{1}, 1);
}
