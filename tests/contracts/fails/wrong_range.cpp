// must fail: the range's items cannot be made into the queue's
#include <tidefall/queue.hpp>
#include <string>
#include <vector>
void f(tidefall::queue<int>& items, std::vector<std::string>& texts) { items.push_range(texts); }
