// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <coroutine>
#include <tidefall/queue.hpp>
struct task {
    struct promise_type {
        task get_return_object() { return {}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };
};
int main() {
    tidefall::queue<int> items({}, [](std::span<int const>) -> task { co_return; });
}
