// must fail: start needs a processor, or the definition one of its own: a static member `process`
#include <tidefall/definition.hpp>
#include <tidefall/queue.hpp>
struct events : tidefall::definition<events, tidefall::queue<int>> {
    static constexpr std::string_view environment = tidefall::no_environment;
};
int main() {
    events::start();
}
