// must fail with -Werror: declaration order
#include <chrono>
#include <tidefall/queue.hpp>
int main() {
    tidefall::queue<int> items({.processing_interval = std::chrono::seconds(1), .name = "items"},
                               [](std::span<int>) {});
}
