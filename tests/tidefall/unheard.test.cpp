// SPDX-License-Identifier: MIT
//
// Values are lost, and there is nobody to tell: one line on standard error stands for all of it.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/recorder.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#if defined(__unix__) || defined(__APPLE__)

#include "../support/standard_error.hpp"

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using tests::standard_error;

namespace {

constexpr char const* rest_of_line =
    ". There is neither undelivered nor telemetry to tell, so this line stands for all that follow "
    "(options::unheard).\n";

std::string line(std::string const& what) {
    return "tidefall: buffer \"lossy\": " + what + rest_of_line;
}

enum class listener { nobody, nobody_by_choice, undelivered, telemetry };

/// A way to lose values, twice.
struct loss {
    std::string said;
    std::function<void(listener)> happens;
};

std::shared_ptr<tidefall::manual_runtime> manual() {
    return tidefall::make_manual_runtime();
}

tidefall::options lossy(listener who, std::shared_ptr<tidefall::manual_runtime> clock) {
    return {.name = "lossy",
            .partitions = 1,
            .processing_batch_size = 2,
            .unheard = who == listener::nobody_by_choice ? tidefall::unheard_action::ignore
                                                         : tidefall::unheard_action::say_once,
            .telemetry = who == listener::telemetry ? std::make_shared<tests::event_log>() : nullptr,
            .runtime = std::move(clock)};
}

template <typename Buffer = tidefall::queue<int>, typename Processor, typename Use>
void with_buffer(listener who, tidefall::options const& how, Processor process, Use use) {
    using value_type = typename Buffer::value_type;
    if (who == listener::undelivered) {
        Buffer items(how, std::move(process), [](std::span<value_type>, tidefall::failure const&) {});
        use(items);
    } else {
        Buffer items(how, std::move(process));
        use(items);
    }
}

loss const losses[] = {
    {"2 values failed: the disk is full",
     [](listener who) {
         auto const fails = [](std::span<int>) { throw std::runtime_error("the disk is full"); };
         with_buffer(who, lossy(who, manual()), fails, [](auto& items) {
             for (int i = 0; i < 5; ++i) items.push(i);
             items.flush();
             items.push(5);
             items.flush();
         });
     }},
    {"1 value failed: not a std::exception",
     [](listener who) {
         with_buffer(
             who, lossy(who, manual()), [](std::span<int>) { throw 1; },
             [](auto& items) {
                 for (int i = 0; i < 2; ++i) {
                     items.push(i);
                     items.flush();
                 }
             });
     }},
    {"2 values failed: the call took longer than processing_timeout",
     [](listener who) {
         auto const clock = manual();
         with_buffer(
             who, lossy(who, clock), [&](std::span<int>) { clock->advance(60s); },
             [](auto& items) {
                 for (int i = 0; i < 4; ++i) items.push(i);
                 items.flush();
             });
     }},
    {"1 value dropped to make room for newer ones",
     [](listener who) {
         auto how = lossy(who, manual());
         how.capacity = 1;
         how.overflow = tidefall::overflow_policy::drop_oldest;
         with_buffer(
             who, how, [](std::span<int>) {},
             [](auto& items) {
                 for (int i = 0; i < 3; ++i) items.push(i);
             });
     }},
    {"3 values dropped at the deadline of stop",
     [](listener who) {
         auto how = lossy(who, manual());
         how.partitions = 2;
         with_buffer(
             who, how, [](std::span<int>) {},
             [](auto& items) {
                 // Whichever partition the key goes to, it is one.
                 for (int i = 0; i < 3; ++i) items.push(i, tidefall::partition_key{1});
                 items.stop(0s);
             });
     }},
    {"3 values failed: the table is lost",
     [](listener who) {
         with_buffer(
             who, lossy(who, manual()),
             [](tidefall::queue_table<int>) { throw std::runtime_error("the table is lost"); },
             [](auto& items) {
                 for (int round = 0; round < 2; ++round) {
                     for (int i = 0; i < 3; ++i) items.push(i);
                     items.flush();
                 }
             });
     }},
    {"2 values failed: the table of a map is lost",
     [](listener who) {
         using map = tidefall::hash_map<int, int>;
         with_buffer<map>(
             who, lossy(who, manual()), [](map::table_type) { throw std::runtime_error("the table of a map is lost"); },
             [](auto& items) {
                 for (int round = 0; round < 2; ++round) {
                     for (int i = 0; i < 2; ++i) items.put(i, i);
                     items.flush();
                 }
             });
     }},
};

}  // namespace

TEST_CASE("unheard: the first loss of a buffer that nobody listens to is said, once") {
    for (auto const& one : losses) {
        standard_error const captured;
        one.happens(listener::nobody);
        CHECK(captured.text() == line(one.said));
    }
}

TEST_CASE("unheard: with undelivered, with telemetry, or where it is not wanted, nothing is said") {
    for (auto const& one : losses) {
        INFO(one.said);
        for (auto const who : {listener::nobody_by_choice, listener::undelivered, listener::telemetry}) {
            standard_error const captured;
            one.happens(who);
            CHECK(captured.text().empty());
        }
    }
}

TEST_CASE("unheard: a timeout is said while the call runs") {
    standard_error const captured;
    auto const clock = manual();
    std::string said;
    tidefall::queue<int> items(lossy(listener::nobody, clock), [&](std::span<int>) {
        clock->advance(60s);
        said = captured.text();
    });
    items.push(1);
    clock->advance(5s);
    CHECK(said == line("1 value failed: the call took longer than processing_timeout"));
    CHECK(captured.text() == said);
}

TEST_CASE("unheard: each buffer says its own, and one that loses nothing says nothing") {
    standard_error const captured;
    auto const clock = manual();
    auto const fails = [](std::span<int>) { throw std::runtime_error("bad"); };
    tidefall::queue<int> first({.name = "first", .partitions = 1, .runtime = clock}, fails);
    tidefall::queue<int> second({.name = "second", .partitions = 1, .runtime = clock}, fails);
    tidefall::queue<int> fine({.name = "fine", .partitions = 1, .runtime = clock}, [](std::span<int>) {});
    first.push(1);
    second.push(1);
    fine.push(1);
    clock->advance(5s);
    fine.stop();
    CHECK(captured.text() == std::string("tidefall: buffer \"first\": 1 value failed: bad") + rest_of_line +
                                 "tidefall: buffer \"second\": 1 value failed: bad" + rest_of_line);
}

#endif
