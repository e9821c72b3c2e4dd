// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <coroutine>
#include <tidefall/queue.hpp>
struct lazy {
    std::suspend_always operator co_await() const { return {}; }
};
int main() {
    tidefall::queue<int> items({}, [](std::span<int const>) { return lazy(); });
}
