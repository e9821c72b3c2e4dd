// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <tidefall/queue.hpp>
struct expected {
    bool has_value() const { return false; }
    int error() const { return 1; }
};
int main() {
    tidefall::queue<int> items({}, [](std::span<int>) { return expected(); });
}
