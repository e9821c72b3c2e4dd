// SPDX-License-Identifier: MIT
//
// What a definition starts lives as long as the program: each case has definitions of its own.
#include "../support/catch.hpp"
#include "../support/common.hpp"
#include "../support/environment.hpp"
#include "../support/latch.hpp"
#include "../support/recorder.hpp"
#include "../support/set_table.hpp"
#include "../support/threads.hpp"

#include <tidefall/definition.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/registry.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using tests::environment_variable;
using tests::latch;
using tests::message_of;
using tests::recorder;
using tests::until;
using tidefall::definition;
using tidefall::invalid_options;
using tidefall::options;
using tidefall::options_overlay;
using tidefall::write_status;

namespace {

using numbers_queue = tidefall::queue<int>;

void ignore(std::span<int>) {
}

/// Stops the buffer of a definition when a case ends, however it does.
template <typename Definition>
struct stopped_at_the_end {
    ~stopped_at_the_end() { Definition::stop(); }
};

}  // namespace

// ---- one life

struct plain_queue : definition<plain_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "plain", .partitions = 1, .processing_interval = 1h}; }
};

TEST_CASE("definition: started, reached from anywhere, stopped") {
    recorder<int> const seen;
    CHECK(message_of<std::logic_error>([] { plain_queue::instance(); }) ==
          "tidefall: definition plain_queue is not started: call start() before instance()");
    CHECK(plain_queue::stop() == tidefall::drain_report{});

    auto& started = plain_queue::start(seen);
    CHECK(&plain_queue::instance() == &started);
    CHECK(plain_queue::instance().name() == "plain");
    CHECK(plain_queue::instance().push(1) == write_status::accepted);
    std::thread([] { plain_queue::instance().push(2); }).join();

    CHECK(plain_queue::stop() == tidefall::drain_report{.processed = 2});
    CHECK(seen.values() == std::vector<int>{1, 2});
    CHECK_THROWS_AS(plain_queue::instance(), std::logic_error);
    CHECK(plain_queue::stop() == tidefall::drain_report{});
}

struct restarted_queue : definition<restarted_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "restarted", .partitions = 1, .processing_interval = 1h}; }
};

TEST_CASE("definition: it can be started again, and a reference from before is answered") {
    stopped_at_the_end<restarted_queue> const end;
    recorder<int> const first;
    recorder<int> const second;
    auto& before = restarted_queue::start(first);
    CHECK(before.push(1) == write_status::accepted);
    restarted_queue::stop();
    CHECK(before.push(2) == write_status::stopped);

    auto& after = restarted_queue::start(second);
    CHECK(&after != &before);
    CHECK(after.push(3) == write_status::accepted);
    CHECK(before.push(4) == write_status::stopped);
    CHECK(before.size() == 0);
    CHECK(before.stats().processed == 1);
    CHECK(before.stats().refused == 2);
    CHECK(before.flush() == tidefall::drain_report{});
    CHECK(before.stop() == tidefall::drain_report{.processed = 1});
    before.update_options({.processing_interval = 1s, .drain_threshold = 1, .capacity = 1});
    CHECK(before.name() == "restarted");
    restarted_queue::stop();
    CHECK(first.values() == std::vector<int>{1});
    CHECK(second.values() == std::vector<int>{3});
}

struct counted_queue : definition<counted_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "counted", .partitions = 2}; }
};

TEST_CASE("definition: a stop gives back the threads and the processor") {
    auto const threads = tests::thread_count();
    auto const captured = std::make_shared<int>(0);
    counted_queue::start([captured](std::span<int>) {}, [captured](std::span<int>, tidefall::failure const&) {});
    CHECK(captured.use_count() == 3);
    counted_queue::stop();
    CHECK(captured.use_count() == 1);
    CHECK(tests::thread_count_becomes(threads));

    auto const clock = tidefall::make_manual_runtime();
    auto const users = clock.use_count();
    counted_queue::start([captured](std::span<int>) {}, {.runtime = clock});
    counted_queue::stop();
    CHECK(clock.use_count() == users);
}

template <typename Buffer>
struct cut_short : definition<cut_short<Buffer>, Buffer> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() {
        return {.name = "cut short", .partitions = 1, .runtime = tidefall::make_manual_runtime()};
    }
};

template <typename Buffer, typename Write>
void check_a_stop_that_drops(Write write) {
    auto const captured = std::make_shared<int>(0);
    cut_short<Buffer>::start([captured](std::span<typename Buffer::value_type>) {});
    for (int i = 0; i < 1000; ++i) write(cut_short<Buffer>::instance(), i);
    CHECK(cut_short<Buffer>::stop(0s).dropped == 1000);
    CHECK(captured.use_count() == 1);
}

TEST_CASE("definition: a stop that drops what waits gives back the processor too") {
    check_a_stop_that_drops<tidefall::queue<std::string>>([](auto& to, int i) { to.push(std::to_string(i)); });
    check_a_stop_that_drops<tidefall::queue<std::string, tidefall::producer_order>>(
        [](auto& to, int i) { to.push(std::to_string(i)); });
    check_a_stop_that_drops<tidefall::queue<std::string, tidefall::sorted_by_key<int>>>(
        [](auto& to, int i) { to.push(std::to_string(i), tidefall::sort_key{-i}); });
    check_a_stop_that_drops<tidefall::hash_map<int, std::string>>(
        [](auto& to, int i) { to.put(i, std::to_string(i)); });
}

latch sorting;
latch go_on_sorting;

struct waits_once {
    bool operator()(int a, int b) const {
        sorting.open();
        go_on_sorting.wait();
        return a < b;
    }
};

struct sorted_queue : definition<sorted_queue, tidefall::queue<int, tidefall::sorted_by<std::identity{}, waits_once>>> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "sorted", .partitions = 1, .processing_interval = 1h}; }
};

TEST_CASE("definition: a stop leaves what another one hands back through") {
    auto const captured = std::make_shared<int>(0);
    latch handing_back;
    latch go_on;
    sorted_queue::start(ignore, [&, captured](std::span<int> values, tidefall::failure const&) {
        if (values.front() != 3) return;
        handing_back.open();
        go_on.wait();
    });
    sorted_queue::instance().push_range(std::vector{2, 1});
    sorted_queue::instance().flush(0s);
    sorting.wait();
    sorted_queue::instance().push(3);
    std::thread first([] { sorted_queue::stop(0s); });  // drops 3, beside the worker
    handing_back.wait();
    go_on_sorting.open();
    sorted_queue::stop(0s);
    CHECK(captured.use_count() == 2);
    go_on.open();
    first.join();
}

struct dropping_queue : definition<dropping_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() {
        return {.name = "dropping", .partitions = 1, .capacity = 1, .overflow = tidefall::overflow_policy::drop_oldest};
    }
};

TEST_CASE("definition: what a writer may be calling stays, and not the processor") {
    auto const clock = tidefall::make_manual_runtime();
    auto const captured = std::make_shared<int>(0);
    latch entered;
    latch leave;
    std::atomic<int> back{0};
    dropping_queue::start([captured](std::span<int>) {},
                          [&](std::span<int> values, tidefall::failure const&) {
                              entered.open();
                              leave.wait();
                              back += values.front();
                          },
                          {.runtime = clock});
    dropping_queue::instance().push(7);
    std::thread writer([] { dropping_queue::instance().push(8); });  // hands 7 back
    entered.wait();
    dropping_queue::stop();
    CHECK(captured.use_count() == 1);
    leave.open();
    writer.join();
    CHECK(back == 7);
}

struct hanging_queue : definition<hanging_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "hanging", .partitions = 1, .processing_interval = 1ns}; }
};

TEST_CASE("definition: a call that outlives the stop keeps its processor") {
    auto const threads = tests::thread_count();
    latch entered;
    latch leave;
    auto const captured = std::make_shared<std::atomic<int>>(0);
    hanging_queue::start([&, captured](std::span<int> batch) {
        entered.open();
        leave.wait();
        *captured += batch.front();
    });
    auto& one = hanging_queue::instance();
    one.push(5);
    entered.wait();
    CHECK_FALSE(hanging_queue::stop(0s).complete);
    CHECK_THROWS_AS(hanging_queue::instance(), std::logic_error);
    hanging_queue::start(ignore, {.processing_interval = 1h});
    CHECK(one.push(6) == write_status::stopped);
    leave.open();
    until([&] { return one.stats().processed == 1; });
    CHECK(*captured == 5);
    hanging_queue::stop();
    CHECK(tests::thread_count_becomes(threads));
}

// ---- forms of start

struct every_form : definition<every_form, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "forms", .partitions = 1, .runtime = tidefall::make_manual_runtime()}; }
};

TEST_CASE("definition: every form of start") {
    auto const undelivered = [](std::span<int>, tidefall::failure const&) {};
    options_overlay overlay{.partitions = 3};
    auto const partitions_of = [](auto start) {
        stopped_at_the_end<every_form> const end;
        start();
        return every_form::instance().partitions();
    };
    CHECK(partitions_of([&] { every_form::start(ignore); }) == 1);
    CHECK(partitions_of([&] { every_form::start(ignore, {}); }) == 1);
    CHECK(partitions_of([&] { every_form::start(ignore, {.partitions = 2, .processing_interval = 500ms}); }) == 2);
    CHECK(partitions_of([&] { every_form::start(ignore, overlay); }) == 3);
    CHECK(partitions_of([&] { every_form::start(ignore, std::as_const(overlay)); }) == 3);
    CHECK(partitions_of([&] { every_form::start(ignore, options_overlay{.partitions = 4}); }) == 4);
    CHECK(partitions_of([&] { every_form::start(ignore, undelivered); }) == 1);
    CHECK(partitions_of([&] { every_form::start(ignore, undelivered, {.partitions = 5}); }) == 5);
    CHECK(partitions_of([&] { every_form::start(ignore, undelivered, overlay); }) == 3);
    CHECK(partitions_of([&] {
              every_form::start([owned = std::make_unique<int>()](std::span<int>) {}, {.partitions = 6});
          }) == 6);
}

struct undelivered_queue : definition<undelivered_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
};
struct named_map : definition<named_map, tidefall::hash_map<std::string, int>> {
    static constexpr std::string_view environment = tidefall::no_environment;
};
struct named_set : definition<named_set, tests::set_buffer<int>> {
    static constexpr std::string_view environment = tidefall::no_environment;
};

TEST_CASE("definition: undelivered, buffers of every kind, and no defaults") {
    auto const clock = tidefall::make_manual_runtime();
    tests::returns<int> const back;
    undelivered_queue::start([](std::span<int>) { throw std::runtime_error("no"); }, back, {.runtime = clock});
    undelivered_queue::instance().push(1);
    CHECK(undelivered_queue::instance().name() == "undelivered_queue");
    CHECK(undelivered_queue::stop().failed == 1);
    CHECK(back.values() == std::vector<int>{1});

    int sum = 0;
    named_map::start([&](std::span<tidefall::entry<std::string, int>> batch) { sum += batch.front().value; },
                     {.runtime = clock});
    named_map::instance().put("x", 4);
    named_map::stop();
    CHECK(sum == 4);

    named_set::start(ignore, {.runtime = clock});
    named_set::instance().insert(1);
    CHECK(named_set::stop().processed == 1);
}

// ---- names

namespace {

namespace inner {
struct hidden {
    struct nested {};
};
enum class kind { a };
template <typename T, inner::kind Kind = inner::kind::a>
struct of_any {
    template <typename U>
    struct nested_of {};
};
}  // namespace inner

template <typename T>
std::string_view name_of_a_local(T) {
    struct local {};
    return tidefall::detail::name_of_type<local>;
}

}  // namespace

namespace app::deep {
struct clicks : definition<clicks, numbers_queue> {
    static constexpr std::string_view environment = "TF_CLICKS";
};
template <typename T>
struct events_of : definition<events_of<T>, tidefall::queue<T>> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "tidefall"}; }
};
}  // namespace app::deep

TEST_CASE("definition: the name of a type is cut from what the compiler calls it") {
    using tidefall::detail::name_of_type;
    using tidefall::detail::unqualified;
    STATIC_REQUIRE(name_of_type<plain_queue> == "plain_queue");
    STATIC_REQUIRE(name_of_type<app::deep::clicks> == "clicks");
    STATIC_REQUIRE(name_of_type<app::deep::events_of<std::vector<std::string>>> == "events_of");
    STATIC_REQUIRE(name_of_type<inner::hidden> == "hidden");
    STATIC_REQUIRE(name_of_type<inner::hidden::nested> == "nested");
    STATIC_REQUIRE(name_of_type<inner::of_any<plain_queue>> == "of_any");
    STATIC_REQUIRE(name_of_type<inner::of_any<inner::hidden>::nested_of<app::deep::clicks>> == "nested_of");
    CHECK(name_of_a_local(1) == "local");
    struct in_a_case {};
    CHECK(name_of_type<in_a_case> == "in_a_case");
    // As compilers write them.
    STATIC_REQUIRE(unqualified("struct app::events") == "events");
    STATIC_REQUIRE(unqualified("class events") == "events");
    STATIC_REQUIRE(unqualified("struct app::of<struct b::c,class d>") == "of");
    STATIC_REQUIRE(unqualified("`anonymous-namespace'::events") == "events");
    STATIC_REQUIRE(unqualified("(anonymous namespace)::events") == "events");
    STATIC_REQUIRE(unqualified("{anonymous}::a<(b)0>::events") == "events");
    STATIC_REQUIRE(unqualified("f(int) [with T = a::b]::events") == "events");
    STATIC_REQUIRE(unqualified("a::") == "a::");
}

TEST_CASE("definition: without a name, or with the one that any buffer has, it is called as its type") {
    auto const clock = tidefall::make_manual_runtime();
    {
        stopped_at_the_end<app::deep::events_of<int>> const end;
        CHECK(app::deep::events_of<int>::start(ignore, {.runtime = clock}).name() == "events_of");
    }
    CHECK(message_of<std::logic_error>([] { app::deep::events_of<int>::instance(); }) ==
          "tidefall: definition events_of is not started: call start() before instance()");
    using app::deep::clicks;
    stopped_at_the_end<clicks> const end;
    CHECK(clicks::start(ignore, {.runtime = clock}).name() == "clicks");
    clicks::stop();
    environment_variable const set("TF_CLICKS_NAME", "from the environment");
    CHECK(clicks::start(ignore, {.runtime = clock}).name() == "from the environment");
    clicks::stop();
    CHECK(clicks::start(ignore, {.name = "given", .runtime = clock}).name() == "given");
}

// ---- where options come from

struct layered_queue : definition<layered_queue, numbers_queue> {
    static constexpr std::string_view environment = "TF_LAYERED";
    static inline options base = {};
    static options defaults() { return base; }
};

namespace {

/// The sizes of the calls for 6 values.
std::vector<std::size_t> batches_of_layered(options_overlay const& given) {
    stopped_at_the_end<layered_queue> const end;
    recorder<int> const seen;
    layered_queue::start(seen, given);
    layered_queue::instance().push_range(tests::numbers(0, 6));
    layered_queue::instance().flush();
    return seen.sizes();
}

}  // namespace

TEST_CASE("definition: defaults, before them the environment, before it what start is given") {
    using sizes = std::vector<std::size_t>;
    layered_queue::base = {
        .name = "layered", .partitions = 1, .processing_batch_size = 5, .runtime = tidefall::make_manual_runtime()};
    CHECK(batches_of_layered({}) == sizes{5, 1});
    environment_variable const batch_size("TF_LAYERED_PROCESSING_BATCH_SIZE", "4");
    CHECK(batches_of_layered({}) == sizes{4, 2});
    CHECK(batches_of_layered({.processing_interval = 1h}) == sizes{4, 2});
    CHECK(batches_of_layered({.processing_batch_size = 3}) == sizes{3, 3});
    environment_variable const name("TF_LAYERED_NAME", "from the environment");
    layered_queue::start(ignore);
    CHECK(layered_queue::instance().name() == "from the environment");
    layered_queue::stop();
    layered_queue::start(ignore, {.name = "given"});
    CHECK(layered_queue::instance().name() == "given");
    layered_queue::stop();
    layered_queue::base = {};
}

TEST_CASE("definition: every option of an overlay goes before the defaults") {
    auto const hook = std::make_shared<tests::event_log>();
    auto const clock = tidefall::make_manual_runtime();
    options_overlay const given{.name = "given",
                                .partitions = 3,
                                .processing_interval = 11s,
                                .processing_batch_size = 12,
                                .processing_timeout = 13s,
                                .timeout_action = tidefall::timeout_action::abandon,
                                .drain_threshold = 14,
                                .capacity = 15,
                                .overflow = tidefall::overflow_policy::drop_oldest,
                                .overflow_timeout = 16s,
                                .shutdown_timeout = 17s,
                                .calls_at_destruction = tidefall::destruction_action::leave,
                                .unheard = tidefall::unheard_action::ignore,
                                .telemetry = hook,
                                .runtime = clock};
    options all;
    tidefall::detail::apply(given, all);
    CHECK(all.name == "given");
    CHECK(all.partitions == 3);
    CHECK(all.processing_interval == 11s);
    CHECK(all.processing_batch_size == 12);
    CHECK(all.processing_timeout == 13s);
    CHECK(all.timeout_action == tidefall::timeout_action::abandon);
    CHECK(all.drain_threshold == 14);
    CHECK(all.capacity == 15);
    CHECK(all.overflow == tidefall::overflow_policy::drop_oldest);
    CHECK(all.overflow_timeout == 16s);
    CHECK(all.shutdown_timeout == 17s);
    CHECK(all.calls_at_destruction == tidefall::destruction_action::leave);
    CHECK(all.unheard == tidefall::unheard_action::ignore);
    CHECK(all.telemetry == hook);
    CHECK(all.runtime == clock);

    tidefall::detail::apply({.name = "again"}, all);
    CHECK(all.name == "again");
    CHECK(all.capacity == 15);
    CHECK(all.telemetry == hook);
    tidefall::detail::apply({.drain_threshold = std::optional<std::size_t>{},
                             .capacity = std::optional<std::size_t>{},
                             .telemetry = nullptr,
                             .runtime = nullptr},
                            all);
    CHECK_FALSE(all.drain_threshold);
    CHECK_FALSE(all.capacity);
    CHECK_FALSE(all.telemetry);
    CHECK_FALSE(all.runtime);
}

struct deaf_queue : definition<deaf_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.partitions = 1, .runtime = tidefall::make_manual_runtime()}; }
};

TEST_CASE("definition: with no_environment it is not read") {
    environment_variable const d("_PARTITION", "3");
    environment_variable const a("_PARTITIONS", "3");
    environment_variable const b("PARTITIONS", "3");
    environment_variable const c("TIDEFALL_PARTITIONS", "3");
    stopped_at_the_end<deaf_queue> const end;
    deaf_queue::start(ignore);
    CHECK(deaf_queue::instance().partitions() == 1);
}

struct faulty_queue : definition<faulty_queue, numbers_queue> {
    static constexpr std::string_view environment = "TF_FAULTY";
    static inline options base = {};
    static options defaults() { return base; }
};

TEST_CASE("definition: a bad option says where it came from, before anything starts, and then it can be started") {
    using tidefall::overflow_policy;
    auto const threads = tests::thread_count();
    auto const message_with = [](options_overlay const& given) {
        return message_of<invalid_options>([&] { faulty_queue::start(ignore, given); });
    };
    std::string const in_defaults = " (definition faulty_queue, in its defaults)";
    std::string const in_start = " (definition faulty_queue, in the options given to its start)";
    std::string const zero = "tidefall: option partitions is 0, but must be 1 to 65536";
    std::string const no_capacity =
        "tidefall: option overflow is drop_oldest, but must be block or reject: there is no capacity";

    faulty_queue::base = {.name = "faulty", .partitions = 0};
    CHECK(message_with({}) == zero + in_defaults);
    faulty_queue::base = {.name = "faulty", .overflow = overflow_policy::drop_oldest};
    CHECK(message_with({}) == no_capacity + in_defaults);
    CHECK(message_with({.partitions = 0}) == zero + in_start);
    CHECK(message_with({.overflow = overflow_policy::drop_oldest}) == no_capacity + in_start);
    CHECK(message_with({.capacity = std::optional<std::size_t>{}}) == no_capacity + in_start);
    faulty_queue::base = {.name = "faulty"};
    {
        environment_variable const bad("TF_FAULTY_PARTITIONS", "0");
        std::string const expected =
            "tidefall: environment variable TF_FAULTY_PARTITIONS is \"0\", but must be a whole number from 1 to 65536";
        CHECK(message_with({}) == expected);
        CHECK(message_with({.partitions = 1}) == expected);  // for all that, it is wrong
    }
    {
        environment_variable const bad("TF_FAULTY_OVERFLOW", "drop_oldest");
        CHECK(message_with({}) ==
              "tidefall: environment variable TF_FAULTY_OVERFLOW is \"drop_oldest\", but must be "
              "block or reject: there is no capacity");
    }
    {
        environment_variable const misspelt("TF_FAULTY_PARTITION", "1");
        CHECK(message_with({.partitions = 1}) ==
              "tidefall: environment variable TF_FAULTY_PARTITION names no option: did you mean TF_FAULTY_PARTITIONS?");
    }
    CHECK(message_of<std::invalid_argument>([] { faulty_queue::start(std::function<void(std::span<int>)>()); }) ==
          "tidefall: the processor is empty: there is nothing to call");
    CHECK(tests::thread_count() == threads);
    CHECK_THROWS_AS(faulty_queue::instance(), std::logic_error);

    // What is made good by a later one is good.
    faulty_queue::base = {.name = "", .partitions = 0, .overflow = overflow_policy::drop_oldest};
    environment_variable const capacity("TF_FAULTY_CAPACITY", "1");
    stopped_at_the_end<faulty_queue> const end;
    faulty_queue::start(ignore, {.name = "x", .partitions = 1});
    CHECK(faulty_queue::instance().partitions() == 1);
}

// ---- starts and stops that meet

struct taken_queue : definition<taken_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "taken", .partitions = 1}; }
};

TEST_CASE("definition: a start while it is started throws before anything") {
    stopped_at_the_end<taken_queue> const end;
    auto& one = taken_queue::start(ignore);
    auto const log = std::make_shared<tests::event_log>();
    auto const threads = tests::thread_count();
    CHECK(message_of<std::logic_error>([&] { taken_queue::start(ignore, {.telemetry = log}); }) ==
          "tidefall: definition taken_queue is started already: stop it first");
    CHECK(message_of<std::logic_error>([&] { taken_queue::start(ignore, {.partitions = 0}); }) ==
          "tidefall: definition taken_queue is started already: stop it first");
    CHECK(log->lines().empty());
    CHECK(tests::thread_count() == threads);
    CHECK(&taken_queue::instance() == &one);
    CHECK(one.push(1) == write_status::accepted);
}

struct throwing_queue : definition<throwing_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "throwing", .partitions = 1}; }
};

TEST_CASE("definition: a start that threw can be made again, and one within another throws") {
    stopped_at_the_end<throwing_queue> const end;
    struct copied {
        std::function<void()> act;
        explicit copied(std::function<void()> f) : act(std::move(f)) {}
        copied(copied const& other) : act(other.act) { act(); }
        void operator()(std::span<int>) const {}
    };
    copied const throwing([] { throw std::runtime_error("copied"); });
    CHECK_THROWS_AS(throwing_queue::start(throwing), std::runtime_error);
    CHECK_THROWS_AS(throwing_queue::instance(), std::logic_error);
    std::string inner;
    bool there = true;
    copied const starting([&] {
        inner = message_of<std::logic_error>([] { throwing_queue::start(ignore); });
        there = message_of<std::logic_error>([] { throwing_queue::instance(); }).empty();
    });
    throwing_queue::start(starting);
    CHECK(inner == "tidefall: definition throwing_queue is being started already");
    CHECK_FALSE(there);
    CHECK(throwing_queue::instance().push(1) == write_status::accepted);
}

struct raced_queue : definition<raced_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "raced", .partitions = 1, .runtime = tidefall::make_manual_runtime()}; }
};

TEST_CASE("definition: of several starts at once one wins") {
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> won{0};
        std::atomic<int> lost{0};
        latch go;
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&] {
                go.wait();
                try {
                    raced_queue::start(ignore);
                    ++won;
                } catch (std::logic_error const&) {
                    ++lost;
                }
            });
        }
        go.open();
        for (auto& each : threads) each.join();
        CHECK(won == 1);
        CHECK(lost == 2);
        CHECK(raced_queue::instance().push(1) == write_status::accepted);
        CHECK(raced_queue::stop().processed == 1);
    }
}

struct stopping_queue : definition<stopping_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "stopping", .partitions = 1, .processing_interval = 1ns}; }
};

TEST_CASE("definition: until its stop ends it is there, and cannot be started") {
    latch entered;
    latch leave;
    std::atomic<bool> reached{false};
    stopping_queue::start([&](std::span<int>) {
        entered.open();
        leave.wait();
        reached = stopping_queue::instance().push(9) == write_status::stopped;
    });
    auto& one = stopping_queue::instance();
    one.push(1);
    entered.wait();
    std::vector<tidefall::drain_report> reports(2);
    std::vector<std::thread> threads;
    for (auto& report : reports) threads.emplace_back([&] { report = stopping_queue::stop(); });
    until([&] { return one.push(2) == write_status::stopped; });
    CHECK(&stopping_queue::instance() == &one);
    CHECK(message_of<std::logic_error>([] { stopping_queue::start(ignore); }) ==
          "tidefall: definition stopping_queue is started already: stop it first");
    leave.open();
    for (auto& each : threads) each.join();
    CHECK(reached);
    auto const expected = one.stop();
    CHECK(expected.processed > 0);
    // One that came when all was over found nothing.
    for (auto const& report : reports) CHECK((report == expected || report == tidefall::drain_report{}));
    CHECK((reports[0] == expected || reports[1] == expected));
    CHECK_THROWS_AS(stopping_queue::instance(), std::logic_error);
}

struct inside_queue : definition<inside_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "inside", .partitions = 1}; }
};

TEST_CASE("definition: a stop in its own processor throws, and nothing changes") {
    auto const clock = tidefall::make_manual_runtime();
    bool threw = false;
    inside_queue::start([&](std::span<int>) { threw = tests::deadlock_would_occur([] { inside_queue::stop(); }); },
                        {.runtime = clock});
    inside_queue::instance().push(1);
    clock->advance(5s);
    CHECK(threw);
    CHECK(inside_queue::instance().push(2) == write_status::accepted);
    CHECK(inside_queue::stop().processed == 1);
}

struct shared_queue : definition<shared_queue, numbers_queue> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static options defaults() { return {.name = "shared", .partitions = 2, .processing_interval = 1ms}; }
};

TEST_CASE("definition: writers, starts and stops at once") {
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> processed{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
            while (!over) {
                try {
                    auto& one = shared_queue::instance();
                    for (int i = 0; i < 10; ++i) accepted += one.push(i) == write_status::accepted ? 1U : 0U;
                } catch (std::logic_error const&) {
                    std::this_thread::yield();
                }
            }
        });
    }
    for (int t = 0; t < 2; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 30; ++i) {
                try {
                    shared_queue::start([&](std::span<int> batch) { processed += batch.size(); });
                } catch (std::logic_error const&) {
                }
                shared_queue::stop();
            }
            over = true;
        });
    }
    for (auto& each : threads) each.join();
    shared_queue::stop();
    CHECK(accepted == processed);
}

// ---- a processor of its own, options for others, notes

namespace {

struct own_process : tidefall::definition<own_process, tidefall::queue<int>> {
    static constexpr std::string_view environment = tidefall::no_environment;
    static inline std::vector<std::size_t> sizes;
    static void process(std::span<int const> batch, tidefall::batch_info const& info) {
        CHECK(info.buffer == "own_process");
        sizes.push_back(batch.size());
    }
    static tidefall::options defaults() { return {.partitions = 1, .processing_batch_size = 2}; }
};

struct own_callable : tidefall::definition<own_callable, tidefall::queue<int>> {
    static constexpr std::string_view environment = "TIDEFALL_TEST_OWN";
    static inline std::size_t seen = 0;
    static constexpr auto process = [](std::span<int> batch) { seen += batch.size(); };
};

class note_log final : public tidefall::telemetry_hook {
public:
    std::vector<std::string> notes;
    void on_partition_stop(tidefall::partition_stop const& e) override { notes.emplace_back(e.note); }
};

}  // namespace

TEST_CASE("definition: a static member may be the processor") {
    own_process::start().push_range(std::vector{1, 2, 3});
    CHECK(own_process::stop().processed == 3);
    CHECK(own_process::sizes == std::vector<std::size_t>{2, 1});
    tidefall::options_overlay const given{.partitions = 1, .processing_batch_size = 3};
    own_process::start(given).push_range(std::vector{1, 2, 3});
    own_process::stop();
    CHECK(own_process::sizes.back() == 3);
    std::size_t other = 0;
    own_process::start([&](std::span<int const> batch) { other += batch.size(); }).push(1);
    own_process::stop();
    CHECK(other == 1);
    own_callable::start({.partitions = 1}).push(1);
    own_callable::stop();
    CHECK(own_callable::seen == 1);
}

TEST_CASE("definition: options_for gives the layered options, for further buffers of the kind") {
    auto const how = own_process::options_for({.partitions = 3});
    CHECK(how.name == "own_process");
    CHECK(how.partitions == 3);
    CHECK(how.processing_batch_size == 2);
    CHECK(own_process::options_for().partitions == 1);
    CHECK_THROWS_AS(own_process::options_for({.partitions = std::size_t{0}}), tidefall::invalid_options);
    tests::environment_variable const set("TIDEFALL_TEST_OWN_PARTITIONS", "7");
    CHECK(own_callable::options_for().partitions == 7);
    CHECK(own_callable::options_for({.partitions = 2}).partitions == 2);
}

TEST_CASE("definition: of several stops the first note is told") {
    auto const log = std::make_shared<note_log>();
    tidefall::queue<int> items({.partitions = 2, .telemetry = log}, [](std::span<int>) {});
    items.stop(1s, "deploy");
    items.stop(1s, "too late");
    CHECK(log->notes == std::vector<std::string>{"deploy", "deploy"});
    own_process::start({.partitions = 1, .telemetry = log});
    own_process::stop(1s, "by the definition");
    CHECK(log->notes.back() == "by the definition");
    tidefall::registry<tidefall::queue<int>> all;
    all.start("a", {.partitions = 1, .telemetry = log}, [](std::span<int>) {});
    all.start("b", {.partitions = 1, .telemetry = log}, [](std::span<int>) {});
    all.stop("a", 1s, "by the registry");
    CHECK(log->notes.back() == "by the registry");
    all.stop_all(1s, "all of them");
    CHECK(log->notes.back() == "all of them");
    tidefall::queue<int> quiet({.partitions = 1, .telemetry = log}, [](std::span<int>) {});
    quiet.stop();
    CHECK(log->notes.back().empty());
}
