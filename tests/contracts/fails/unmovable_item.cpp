// must fail: a queue's values are moved: give T a move or a copy constructor
#include <tidefall/queue.hpp>
struct pinned {
    pinned() = default;
    pinned(pinned const&) = delete;
    pinned& operator=(pinned const&) = delete;
};
int main() {
    tidefall::queue<pinned> items({}, [](std::span<pinned>) {});
    items.push(pinned());
}
