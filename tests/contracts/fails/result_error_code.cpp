// must fail: the processor's result would be lost: return a tidefall::batch_result
#include <system_error>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({}, [](std::span<int const>) { return std::make_error_code(std::errc::io_error); });
}
