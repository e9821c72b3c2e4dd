// must fail: a hash map's keys, values and versions are moved
#include <atomic>
#include <tidefall/hash_map.hpp>
int main() {
    tidefall::hash_map<int, std::atomic<int>> map({}, [](std::span<tidefall::entry<int, std::atomic<int>>>) {});
    map.update(1, [](std::atomic<int>& n) { ++n; });
}
