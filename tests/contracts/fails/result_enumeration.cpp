// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <tidefall/queue.hpp>
enum class exported { yes, no };
int main() {
    tidefall::queue<int> items({}, [](std::span<int const>, tidefall::batch_info const&) { return exported::no; });
}
