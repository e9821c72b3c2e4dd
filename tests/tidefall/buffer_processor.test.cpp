// SPDX-License-Identifier: MIT
//
// What a buffer takes as its processor: by the real types, since the choice is made when it is compiled.
#include "../support/catch.hpp"
#include "../support/kinds.hpp"
#include "../support/recorder.hpp"

#include <tidefall/manual_runtime.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <utility>

using insertion_queue = tests::insertion_queue_of<int>;
using producer_queue = tests::producer_queue_of<int>;
using sorted_queue = tests::sorted_queue_of<int>;
using map = tests::map_of<int>;
using custom = tests::custom_of<int>;

namespace {

template <typename Buffer, typename Processor>
void deliver(Processor&& process) {
    Buffer items({.partitions = 1, .runtime = tidefall::make_manual_runtime()}, std::forward<Processor>(process));
    tests::write_to(items, 1);
    auto const processed = items.flush().processed;
    if (processed != 1) FAIL("processed " << processed);
}

}  // namespace

TEMPLATE_TEST_CASE("buffer: the forms of a processor", "", insertion_queue, producer_queue, sorted_queue, map, custom) {
    using value = typename TestType::value_type;
    using table = typename tests::whole_table<TestType>::type;
    using batch = std::span<value>;
    using const_batch = std::span<value const>;
    int calls = 0;
    deliver<TestType>([&](batch, std::stop_token const& token) { calls += token.stop_possible() ? 1 : 0; });
    deliver<TestType>([&](const_batch, std::stop_token) { ++calls; });
    deliver<TestType>([&](batch) { ++calls; });
    deliver<TestType>([&](const_batch) { ++calls; });
    deliver<TestType>([&](table, std::stop_token) { ++calls; });
    deliver<TestType>([&](table) { ++calls; });
    deliver<TestType>([&](table const&) { ++calls; });
    deliver<TestType>([&](auto values) {
        static_assert(std::is_same_v<decltype(values), batch>);
        ++calls;
    });
    deliver<TestType>([&, only = std::make_unique<int>(1)](batch) { calls += *only; });
    deliver<TestType>([&](batch) mutable { return ++calls; });
    deliver<TestType>(std::function<void(batch)>([&](batch) { ++calls; }));
    CHECK(calls == 11);
    struct both {
        int& calls;
        void operator()(std::span<value>, std::stop_token const&) const { calls += 100; }
        void operator()(std::span<value>) const {}
        void operator()(table const&) const {}
    };
    deliver<TestType>(both{calls});
    CHECK(calls == 111);
}

TEMPLATE_TEST_CASE("buffer: an empty callable is refused before anything starts", "", insertion_queue, producer_queue,
                   sorted_queue, map, custom) {
    using batch = std::span<typename TestType::value_type>;
    auto const log = std::make_shared<tests::event_log>();
    tidefall::options const how{.partitions = 1, .telemetry = log};
    auto const good = [](batch) {};
    std::function<void(batch)> const no_function;
    void (*const no_pointer)(batch) = nullptr;
    std::function<void(batch, tidefall::failure const&)> const no_handler;
    CHECK_THROWS_AS(TestType(how, no_function), std::invalid_argument);
    CHECK_THROWS_AS(TestType(how, no_pointer), std::invalid_argument);
    CHECK_THROWS_WITH(TestType(how, good, no_handler), tests::ContainsSubstring("undelivered is empty"));
    CHECK(log->lines().empty());
}
