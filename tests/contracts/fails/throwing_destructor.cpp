// must fail: destructors of values must not throw
#include <tidefall/queue.hpp>
struct bad {
    ~bad() noexcept(false) {}
};
int main() {
    tidefall::queue<bad> items({}, [](std::span<bad>) {});
}
