// SPDX-License-Identifier: MIT
//
// How long a tick takes from the clock to the processor's call, whatever waits: the swap of one partition of a queue,
// of a queue in producer order and of a hash map, which have up to 32 stripes. The processor takes the whole table, so
// nothing of it is looked at. It is on one thread, with a clock that is moved by hand: nobody else holds a lock, and
// all of the time but a part is spent while the stripes are locked. Beside it the swap of two vectors under a mutex.
#include "contest.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using item = std::uint64_t;
constexpr int repetitions = 15;
constexpr auto interval = 1s;

double nanoseconds(clock_type::duration time) {
    return std::chrono::duration<double, std::nano>(time).count();
}

void check(bool right) {
    if (right) return;
    std::fprintf(stderr, "a value was lost\n");
    std::abort();
}

/// A buffer that is written by `writers` threads in turn, each at a place of its own.
template <typename Buffer>
class swapped {
public:
    template <typename Write>
    double run(std::uint64_t values, unsigned writers, Write const& write) {
        for (unsigned writer = 0; writer < writers; ++writer) {
            std::thread([&] {
                for (auto i = writer * values / writers; i < (writer + 1) * values / writers; ++i) write(buffer_, i);
            }).join();
        }
        taken_ = 0;
        auto const begin = clock_type::now();
        clock_->advance(interval);
        check(taken_ == values);
        return nanoseconds(called_ - begin);
    }

private:
    std::shared_ptr<tidefall::manual_runtime> const clock_ = tidefall::make_manual_runtime();
    clock_type::time_point called_{};
    std::uint64_t taken_ = 0;
    Buffer buffer_{{.partitions = 1, .processing_interval = interval, .processing_batch_size = 64, .runtime = clock_},
                   [this](std::span<typename Buffer::value_type const> batch) {
                       if (taken_ == 0) called_ = clock_type::now();
                       taken_ += batch.size();
                   }};
};

void enter(bench::turns& all, std::uint64_t values) {
    auto const setting = std::to_string(values) + " values wait";
    auto const push = [](auto& queue, item value) { queue.push(value); };
    all.enter(setting, "tidefall::queue, 1 thread",
              [=, one = std::make_shared<swapped<tidefall::queue<item>>>()] { return one->run(values, 1, push); });
    all.enter(setting, "tidefall, producer_order, 32 threads",
              [=, one = std::make_shared<swapped<tidefall::queue<item, tidefall::producer_order>>>()] {
                  return one->run(values, 32, push);
              });
    if (values <= 1'000'000) {
        all.enter(setting, "tidefall::hash_map",
                  [=, one = std::make_shared<swapped<tidefall::hash_map<item, item>>>()] {
                      return one->run(values, 1, [](auto& map, item value) { map.put(value, value); });
                  });
    }
    all.enter(setting, "mutex and two vectors", [values] {
        std::mutex mutex;
        std::vector<item> written(values);
        std::vector<item> drained;
        auto const begin = clock_type::now();
        {
            std::lock_guard const lock(mutex);
            written.swap(drained);
        }
        auto const end = clock_type::now();
        check(drained.size() == values);
        return nanoseconds(end - begin);
    });
}

}  // namespace

int main() {
    bench::turns all;
    for (std::uint64_t const values : {1'000U, 100'000U, 10'000'000U}) enter(all, values);
    all.hold(repetitions, "ns a tick");
}
