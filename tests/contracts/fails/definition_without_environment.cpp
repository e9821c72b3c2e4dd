// must fail: a definition says where else its options come from: static constexpr std::string_view environment =
#include <tidefall/definition.hpp>
#include <tidefall/queue.hpp>
struct events : tidefall::definition<events, tidefall::queue<int>> {};
int main() {
    events::start([](std::span<int>) {});
}
