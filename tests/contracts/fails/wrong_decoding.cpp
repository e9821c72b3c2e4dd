// must fail: open_spill: the decoding must be callable as decode(std::string_view), and return a V
#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>
int main() {
    auto const spill = tidefall::open_spill<int>(
        "spill", [](int) { return ""; }, [](int) { return 1; });
}
