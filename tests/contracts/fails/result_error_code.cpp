// must fail: the processor's result would be lost: return a tidefall::batch_result that says what was not taken, throw, or discard the result by static_cast<void>
#include <tidefall/queue.hpp>
#include <system_error>
int main() {
    tidefall::queue<int> items({}, [](std::span<int const>) { return std::make_error_code(std::errc::io_error); });
}
