// must fail: the processor's result would be lost: return a tidefall::batch_result that says what was not taken, throw, or discard the result by static_cast<void>
#include <tidefall/queue.hpp>
#include <coroutine>
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
