// SPDX-License-Identifier: MIT
#include "../support/environment.hpp"

#include "../support/catch.hpp"

#include <tidefall/environment.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/queue.hpp>

#include <chrono>
#include <clocale>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using tests::environment_variable;
using tidefall::invalid_options;
using tidefall::options;
using tidefall::options_from_environment;

namespace {

constexpr auto forever = std::chrono::nanoseconds::max();
constexpr auto most = std::numeric_limits<std::size_t>::max();

constexpr char const* above_0 =
    "a duration above 0 with its unit, such as 500ms, 1.5s or 2m, up to 292 years, or never";
constexpr char const* not_negative =
    "a duration of 0 or more with its unit, such as 500ms, 1.5s or 2m, up to 292 years, or never";
constexpr char const* limit = "none, or a whole number from 1 to the largest size_t";

/// What options_from_environment("TF", base) throws.
std::string message_with(options const& base = {}) {
    try {
        options_from_environment("TF", base);
    } catch (invalid_options const& error) {
        return error.what();
    }
    return "";
}

std::string refused(std::string const& variable, std::string const& text, std::string const& rule) {
    return "tidefall: environment variable " + variable + " is \"" + text + "\", but must be " + rule;
}

options with(std::string const& variable, std::string const& text) {
    environment_variable const set(variable, text);
    return options_from_environment("TF");
}

bool same(options const& a, options const& b) {
    return a.name == b.name && a.partitions == b.partitions && a.processing_interval == b.processing_interval &&
           a.processing_batch_size == b.processing_batch_size && a.processing_timeout == b.processing_timeout &&
           a.timeout_action == b.timeout_action && a.drain_threshold == b.drain_threshold && a.capacity == b.capacity &&
           a.overflow == b.overflow && a.overflow_timeout == b.overflow_timeout &&
           a.shutdown_timeout == b.shutdown_timeout && a.calls_at_destruction == b.calls_at_destruction &&
           a.unheard == b.unheard && a.telemetry == b.telemetry && a.runtime == b.runtime;
}

/// Unlike the defaults in every field.
options unusual() {
    return {.name = "unusual",
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
            .telemetry = std::make_shared<tidefall::telemetry_hook>(),
            .runtime = tidefall::make_manual_runtime()};
}

}  // namespace

TEST_CASE("environment: without a variable the base is what it was") {
    auto const base = unusual();
    CHECK(same(options_from_environment("TF", base), base));
    CHECK(same(options_from_environment("TF"), options{}));
}

TEST_CASE("environment: each variable changes its option and no other") {
    struct row {
        std::string variable;
        std::string text;
        std::function<void(options&)> change;
    };
    using tidefall::destruction_action;
    using tidefall::overflow_policy;
    using tidefall::timeout_action;
    using tidefall::unheard_action;
    std::vector<row> const table{
        {"TF_NAME", "orders", [](options& o) { o.name = "orders"; }},
        {"TF_PARTITIONS", "7", [](options& o) { o.partitions = 7; }},
        {"TF_PROCESSING_INTERVAL", "500ms", [](options& o) { o.processing_interval = 500ms; }},
        {"TF_PROCESSING_BATCH_SIZE", "512", [](options& o) { o.processing_batch_size = 512; }},
        {"TF_PROCESSING_TIMEOUT", "2m", [](options& o) { o.processing_timeout = 2min; }},
        {"TF_TIMEOUT_ACTION", "wait", [](options& o) { o.timeout_action = timeout_action::wait; }},
        {"TF_DRAIN_THRESHOLD", "100", [](options& o) { o.drain_threshold = 100; }},
        {"TF_DRAIN_THRESHOLD", "none", [](options& o) { o.drain_threshold.reset(); }},
        {"TF_CAPACITY", "1000", [](options& o) { o.capacity = 1000; }},
        {"TF_OVERFLOW", "reject", [](options& o) { o.overflow = overflow_policy::reject; }},
        {"TF_OVERFLOW", "block", [](options& o) { o.overflow = overflow_policy::block; }},
        {"TF_OVERFLOW_TIMEOUT", "0s", [](options& o) { o.overflow_timeout = 0s; }},
        {"TF_SHUTDOWN_TIMEOUT", "never", [](options& o) { o.shutdown_timeout = forever; }},
        {"TF_CALLS_AT_DESTRUCTION", "wait", [](options& o) { o.calls_at_destruction = destruction_action::wait; }},
        {"TF_UNHEARD", "say_once", [](options& o) { o.unheard = unheard_action::say_once; }},
    };
    auto const base = unusual();
    for (auto const& each : table) {
        INFO(each.variable << '=' << each.text);
        environment_variable const set(each.variable, each.text);
        auto expected = base;
        each.change(expected);
        CHECK_FALSE(same(expected, base));
        CHECK(same(options_from_environment("TF", base), expected));
    }
    CHECK(with("TF_TIMEOUT_ACTION", "abandon").timeout_action == timeout_action::abandon);
    CHECK(with("TF_CALLS_AT_DESTRUCTION", "leave").calls_at_destruction == destruction_action::leave);
    CHECK(with("TF_UNHEARD", "ignore").unheard == unheard_action::ignore);
    environment_variable const capacity("TF_CAPACITY", "1");
    CHECK(with("TF_OVERFLOW", "drop_oldest").overflow == overflow_policy::drop_oldest);
}

TEST_CASE("environment: all variables at once, and a buffer that they set up") {
    environment_variable const name("TF_NAME", "orders");
    environment_variable const partitions("TF_PARTITIONS", "1");
    environment_variable const interval("TF_PROCESSING_INTERVAL", "1.5s");
    environment_variable const size("TF_PROCESSING_BATCH_SIZE", "all");
    environment_variable const threshold("TF_DRAIN_THRESHOLD", "none");
    auto const clock = tidefall::make_manual_runtime();
    std::vector<std::size_t> sizes;
    tidefall::queue<int> items(options_from_environment("TF", {.drain_threshold = 2, .runtime = clock}),
                               [&](std::span<int> batch) { sizes.push_back(batch.size()); });
    CHECK(items.name() == "orders");
    items.push_range(std::vector<int>(1000));
    clock->advance(1499ms);
    CHECK(sizes.empty());
    clock->advance(1ms);
    CHECK(sizes == std::vector<std::size_t>{1000});
}

TEST_CASE("environment: how a duration is written") {
    struct row {
        char const* text;
        std::chrono::nanoseconds value;
    };
    for (auto const& each : std::vector<row>{
             {"0ns", 0ns},
             {"1ns", 1ns},
             {"1us", 1us},
             {"1ms", 1ms},
             {"1s", 1s},
             {"1m", 1min},
             {"1h", 1h},
             {"007s", 7s},
             {"-0s", 0s},
             {"1.5s", 1500ms},
             {"0.25m", 15s},
             {"1.50h", 90min},
             {"0.001us", 1ns},
             {"0.000000001s", 1ns},
             {"1.000000000000s", 1s},
             {"2.5us", 2500ns},
             {"1.0ns", 1ns},
             {"0.0000000005m", 30ns},
             {"9223372036854775806ns", forever - 1ns},
             {"9223372036854775807ns", forever},
             {"9223372036.854775807s", forever},
             {"2562047h", std::chrono::hours(2'562'047)},
             {"never", forever},
         }) {
        INFO(each.text);
        CHECK(with("TF_OVERFLOW_TIMEOUT", each.text).overflow_timeout == each.value);
    }
}

TEST_CASE("environment: what is no duration is refused, with the variable, its text and the rule") {
    for (std::string const text : {
             "500",
             "0",
             "s",
             "ms",
             "1 s",
             " 1s",
             "1s ",
             "1S",
             "1sec",
             "1min",
             "1d",
             "1.s",
             ".5s",
             "1.5.5s",
             "1,5s",
             "1e3s",
             "+1s",
             "--1s",
             "-",
             "0x10s",
             "1s1s",
             "1ss",
             "NEVER",
             "never ",
             "infinity",
             "-never",
             "1.5ns",
             ".s",
             "1..5s",
             "0.0000000001s",
             "1.00000000005m",
             "9223372036854775808ns",
             "9223372036.854775808s",
             "9223372037s",
             "153722868m",
             "2562048h",
             "99999999999999999999999s",
             "18446744073709551617ns",
             "18446744074s",
             "-1s",
             "-9223372036854775807ns",
             "-9223372036854775808ns",
         }) {
        for (std::string const variable : {"TF_PROCESSING_INTERVAL", "TF_PROCESSING_TIMEOUT"}) {
            environment_variable const set(variable, text);
            CHECK(message_with() == refused(variable, text, above_0));
        }
        for (std::string const variable : {"TF_OVERFLOW_TIMEOUT", "TF_SHUTDOWN_TIMEOUT"}) {
            environment_variable const set(variable, text);
            CHECK(message_with() == refused(variable, text, not_negative));
        }
    }
    for (std::string const variable : {"TF_PROCESSING_INTERVAL", "TF_PROCESSING_TIMEOUT"}) {
        environment_variable const set(variable, "0s");
        CHECK(message_with() == refused(variable, "0s", above_0));
    }
}

TEST_CASE("environment: how a number is written, and what is none") {
    CHECK(with("TF_PARTITIONS", "1").partitions == 1);
    CHECK(with("TF_PARTITIONS", "65536").partitions == 65'536);
    CHECK(with("TF_PARTITIONS", "0016").partitions == 16);
    CHECK(with("TF_PROCESSING_BATCH_SIZE", "all").processing_batch_size == most);
    CHECK(with("TF_PROCESSING_BATCH_SIZE", std::to_string(most)).processing_batch_size == most);
    CHECK(with("TF_DRAIN_THRESHOLD", std::to_string(most)).drain_threshold == most);
    CHECK(with("TF_CAPACITY", std::to_string(most)).capacity == most);

    struct row {
        std::string variable;
        std::string rule;
        std::vector<std::string> texts;
    };
    for (auto const& each : std::vector<row>{
             {"TF_PARTITIONS",
              "a whole number from 1 to 65536",
              {"65537", "4294967297", "all", "none", "18446744073709551615"}},
             {"TF_PROCESSING_BATCH_SIZE",
              "a whole number from 1 to the largest size_t, or all",
              {"none", "ALL", "all "}},
             {"TF_DRAIN_THRESHOLD", limit, {"all", "NONE", "none "}},
             {"TF_CAPACITY", limit, {"all", "None", "never"}},
         }) {
        auto texts = each.texts;
        for (char const* const text :
             {"0", "-1", "+1", "1.0", "1.", "1e3", "0x10", "1'000", "1,000", " 1", "1 ", "1s", "ten",
              "18446744073709551616", "18446744073709551617", "99999999999999999999999"}) {
            texts.emplace_back(text);
        }
        for (auto const& text : texts) {
            environment_variable const set(each.variable, text);
            CHECK(message_with() == refused(each.variable, text, each.rule));
        }
    }
}

TEST_CASE("environment: names of enumerators are read as they are written in the program") {
    for (std::string const text : {"WAIT", "wait ", "0", "1", "abandoned", "none", "timeout_action::wait"}) {
        environment_variable const set("TF_TIMEOUT_ACTION", text);
        CHECK(message_with() == refused("TF_TIMEOUT_ACTION", text, "wait or abandon"));
    }
    for (std::string const text : {"Block", "drop-oldest", "drop", "2", "none"}) {
        environment_variable const set("TF_OVERFLOW", text);
        CHECK(message_with() == refused("TF_OVERFLOW", text, "block, reject or drop_oldest"));
    }
    for (std::string const text : {"Wait", "leave ", "0", "abandon", "none"}) {
        environment_variable const set("TF_CALLS_AT_DESTRUCTION", text);
        CHECK(message_with() == refused("TF_CALLS_AT_DESTRUCTION", text, "wait or leave"));
    }
    for (std::string const text : {"say-once", "SAY_ONCE", "say", "1", "none"}) {
        environment_variable const set("TF_UNHEARD", text);
        CHECK(message_with() == refused("TF_UNHEARD", text, "say_once or ignore"));
    }
}

TEST_CASE("environment: an empty variable is as if it were not set") {
    auto const base = unusual();
    for (std::string const variable :
         {"TF_NAME", "TF_PARTITIONS", "TF_PROCESSING_INTERVAL", "TF_PROCESSING_BATCH_SIZE", "TF_PROCESSING_TIMEOUT",
          "TF_TIMEOUT_ACTION", "TF_DRAIN_THRESHOLD", "TF_CAPACITY", "TF_OVERFLOW", "TF_OVERFLOW_TIMEOUT",
          "TF_SHUTDOWN_TIMEOUT", "TF_CALLS_AT_DESTRUCTION", "TF_UNHEARD"}) {
        environment_variable const set(variable, "");
        CHECK(same(options_from_environment("TF", base), base));
    }
}

TEST_CASE("environment: a variable that nearly names an option is refused, with the option that it nearly names") {
    struct row {
        std::string variable;
        std::string meant;
    };
    for (auto const& each : std::vector<row>{
             {"TF_PROCESING_INTERVAL", "TF_PROCESSING_INTERVAL"},
             {"TF_PROCESSING_INTERVALL", "TF_PROCESSING_INTERVAL"},
             {"TF_PROCESSING_INTREVAL", "TF_PROCESSING_INTERVAL"},
             {"TF_PROCESSINGINTERVAL", "TF_PROCESSING_INTERVAL"},
             {"TF_PROCESSING-BATCH-SIZE", "TF_PROCESSING_BATCH_SIZE"},
             {"TF_PROCESSING_TIMEOUTS", "TF_PROCESSING_TIMEOUT"},
             {"TF_TIMEOUT_ACTIONS", "TF_TIMEOUT_ACTION"},
             {"TF_DRAIN_TRESHOLD", "TF_DRAIN_THRESHOLD"},
             {"TF_CAPACITIES", ""},  // three edits
             {"TF_CAPCITY", "TF_CAPACITY"},
             {"TF_OVERFLOWS", "TF_OVERFLOW"},
             {"TF_OVERFLOW_TIMEOU", "TF_OVERFLOW_TIMEOUT"},
             {"TF_SHUTDOWN_TIMEOUT_S", "TF_SHUTDOWN_TIMEOUT"},
             {"TF_CALLS_AT_DESTRUCTOIN", "TF_CALLS_AT_DESTRUCTION"},
             {"TF_UNHEAR", "TF_UNHEARD"},
             {"TF_PARTITION", "TF_PARTITIONS"},
             {"TF_ARTITION", "TF_PARTITIONS"},
             {"TF__PARTITIONS", "TF_PARTITIONS"},
             {"TF___PARTITIONS", "TF_PARTITIONS"},
             {"TF_NAM", "TF_NAME"},
             {"TF_NAMES", "TF_NAME"},
             {"TF_HOME", "TF_NAME"},
             {"TF_NO", ""},
             {"TF_", ""},
             {"TF_PARTITIONS_TO_COME", ""},
             {"TF_partitions", ""},
             {"tf_PARTITION", ""},
             {"TFPARTITION", ""},
             {"TFX_PARTITION", ""},
             {"TF_NAMES_PARTITIONS", ""},
             {"TF_X_PARTITIONS", ""},  // of the prefix TF_X
             {"TF_X_PARTITION", ""},   // three edits
             {"TF_A_NAME", ""},
         }) {
        INFO(each.variable);
        environment_variable const set(each.variable, "1");
        CHECK(message_with() == (each.meant.empty() ? ""
                                                    : "tidefall: environment variable " + each.variable +
                                                          " names no option: did you mean " + each.meant + "?"));
    }
    environment_variable const empty("TF_PARTITION", "");
    CHECK(message_with().empty());
    environment_variable const longer("TF_EVENTS_PARTITON", "1");
    CHECK(message_with().empty());
    CHECK_THROWS_AS(options_from_environment("TF_EVENTS"), invalid_options);
}

TEST_CASE("environment: edits are counted one by one") {
    using tidefall::detail::edits_between;
    CHECK(edits_between("", "") == 0);
    CHECK(edits_between("", "ab") == 2);
    CHECK(edits_between("name", "name") == 0);
    CHECK(edits_between("name", "nam") == 1);
    CHECK(edits_between("ame", "name") == 1);
    CHECK(edits_between("nmae", "name") == 2);
    CHECK(edits_between("kitten", "sitting") == 3);
    CHECK(edits_between("sitting", "kitten") == 3);
    CHECK(edits_between("ab", "ba") == 2);
    CHECK(edits_between("abcd", "badc") == 3);
    CHECK(edits_between(std::string(100'000, 'a'), "name") > tidefall::detail::most_edits);
}

TEST_CASE("environment: what does not go with the rest names the variable that does not") {
    using tidefall::overflow_policy;
    environment_variable const overflow("TF_OVERFLOW", "drop_oldest");
    CHECK(message_with() == refused("TF_OVERFLOW", "drop_oldest", "block or reject: there is no capacity"));
    CHECK(message_with({.capacity = 1}).empty());
    {
        environment_variable const capacity("TF_CAPACITY", "5");
        CHECK(message_with().empty());
    }
    environment_variable const other("TG_CAPACITY", "none");
    auto const message = [] {
        try {
            options_from_environment("TG", {.capacity = 1, .overflow = overflow_policy::drop_oldest});
        } catch (invalid_options const& error) {
            return std::string(error.what());
        }
        return std::string();
    }();
    CHECK(message == refused("TG_CAPACITY", "none", "at least 1: overflow is drop_oldest"));
}

TEST_CASE("environment: the base is checked, and named as an option") {
    CHECK(message_with({.partitions = 0}) == "tidefall: option partitions is 0, but must be 1 to 65536");
    CHECK(message_with({.overflow = tidefall::overflow_policy::drop_oldest}) ==
          "tidefall: option overflow is drop_oldest, but must be block or reject: there is no capacity");
    environment_variable const partitions("TF_PARTITIONS", "4");
    CHECK(message_with({.partitions = 0}).empty());
}

TEST_CASE("environment: the prefix is a view, and a part of a name") {
    environment_variable const set("TF_PARTITIONS", "5");
    std::string_view const longer = "TF_PARTITIONS";
    CHECK(options_from_environment(longer.substr(0, 2)).partitions == 5);
    for (std::string const& prefix : {std::string(), std::string("T=F"), std::string("TF\0", 3)}) {
        std::string message;
        try {
            options_from_environment(prefix);
        } catch (invalid_options const& error) {
            message = error.what();
        }
        CHECK_THAT(message,
                   tests::ContainsSubstring("the prefix of environment variables is \"" + prefix.substr(0, 2)));
    }
}

TEST_CASE("environment: the locale changes nothing") {
    std::string const before = std::setlocale(LC_ALL, nullptr);
    std::setlocale(LC_ALL, "");
    CHECK(with("TF_PROCESSING_INTERVAL", "1.5s").processing_interval == 1500ms);
    std::setlocale(LC_ALL, before.c_str());
}
