// must fail: the f of partition_by{f} must be callable with one of the range's pairs, or with its key
#include <map>
#include <string>
#include <tidefall/hash_map.hpp>
void f(tidefall::hash_map<int, int>& map, std::map<int, int> const& pairs) {
    map.put_all(pairs, tidefall::partition_by{&std::string::size});
}
