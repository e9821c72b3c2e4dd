// SPDX-License-Identifier: MIT
//
// Options that come from elsewhere: what whoever runs the program has to say.
//
//     auto how = tidefall::options_from_environment("MYAPP_EVENTS", {.name = "events", .processing_interval = 1s});
//     // MYAPP_EVENTS_PROCESSING_INTERVAL=500ms MYAPP_EVENTS_CAPACITY=10000 myapp
#pragma once

#include <tidefall/detail/text/option_text.hpp>
#include <tidefall/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#if defined(__APPLE__)
#include <crt_externs.h>
#elif defined(__linux__)
#include <unistd.h>
#elif !defined(_WIN32)
extern "C" char** environ;  // NOLINT(readability-redundant-declaration)
#endif

namespace tidefall::inline v0 {

namespace detail {

/// Calls `f(name, rule, &options::field, &options_overlay::field)` for each option that a text can say; `rule` says
/// which texts do.
template <typename F>
void for_each_text_option(F&& f) {
    using o = options;
    using v = options_overlay;
    constexpr std::string_view above_0 =
        "a duration above 0 with its unit, such as 500ms, 1.5s or 2m, up to 292 years, or never";
    constexpr std::string_view not_negative =
        "a duration of 0 or more with its unit, such as 500ms, 1.5s or 2m, up to 292 years, or never";
    constexpr std::string_view limit = "none, or a whole number from 1 to the largest size_t";
    f("name", "a name", &o::name, &v::name);
    f("partitions", "a whole number from 1 to 65536", &o::partitions, &v::partitions);
    f("processing_interval", above_0, &o::processing_interval, &v::processing_interval);
    f("processing_batch_size", "a whole number from 1 to the largest size_t, or all", &o::processing_batch_size,
      &v::processing_batch_size);
    f("processing_batch_weight", limit, &o::processing_batch_weight, &v::processing_batch_weight);
    f("max_in_flight", "a whole number from 1 to 1024", &o::max_in_flight, &v::max_in_flight);
    f("processing_timeout", above_0, &o::processing_timeout, &v::processing_timeout);
    f("timeout_action", "wait or abandon", &o::timeout_action, &v::timeout_action);
    f("drain_threshold", limit, &o::drain_threshold, &v::drain_threshold);
    f("drain_threshold_weight", limit, &o::drain_threshold_weight, &v::drain_threshold_weight);
    f("capacity", limit, &o::capacity, &v::capacity);
    f("capacity_weight", limit, &o::capacity_weight, &v::capacity_weight);
    f("total_capacity", limit, &o::total_capacity, &v::total_capacity);
    f("overflow", "block, reject or drop_oldest", &o::overflow, &v::overflow);
    f("overflow_timeout", not_negative, &o::overflow_timeout, &v::overflow_timeout);
    f("shutdown_timeout", not_negative, &o::shutdown_timeout, &v::shutdown_timeout);
    f("calls_at_destruction", "wait or leave", &o::calls_at_destruction, &v::calls_at_destruction);
    f("unheard", "say_once or ignore", &o::unheard, &v::unheard);
}

inline void apply(options_overlay const& over, options& to) {
    auto const lay = [&](std::string_view, std::string_view, auto field, auto given) {
        if (over.*given) to.*field = *(over.*given);
    };
    for_each_text_option(lay);
    lay("telemetry", "", &options::telemetry, &options_overlay::telemetry);
    lay("runtime", "", &options::runtime, &options_overlay::runtime);
}

inline bool read_text(std::string_view text, timeout_action& into) noexcept {
    into = text == "abandon" ? timeout_action::abandon : timeout_action::wait;
    return text == "abandon" || text == "wait";
}

inline bool read_text(std::string_view text, overflow_policy& into) noexcept {
    into = text == "reject"        ? overflow_policy::reject
           : text == "drop_oldest" ? overflow_policy::drop_oldest
                                   : overflow_policy::block;
    return into != overflow_policy::block || text == "block";
}

inline bool read_text(std::string_view text, destruction_action& into) noexcept {
    into = text == "leave" ? destruction_action::leave : destruction_action::wait;
    return text == "leave" || text == "wait";
}

inline bool read_text(std::string_view text, unheard_action& into) noexcept {
    into = text == "ignore" ? unheard_action::ignore : unheard_action::say_once;
    return text == "ignore" || text == "say_once";
}

/// PREFIX_OPTION.
inline std::string variable_name(std::string_view prefix, std::string_view option) {
    std::string name;
    name.reserve(prefix.size() + 1 + option.size());
    name.append(prefix).push_back('_');
    for (char const c : option) name.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
    return name;
}

/// What a variable of the environment holds; empty if it is not set.
inline std::string text_of_variable(std::string const& name) {
#if defined(_MSC_VER)
#pragma warning(suppress : 4996)  // the text is copied at once
#endif
    char const* const text = std::getenv(name.c_str());
    return text == nullptr ? std::string() : std::string(text);
}

[[noreturn]] inline void refuse_variable(std::string_view prefix, std::string_view option, std::string_view rule) {
    auto const name = variable_name(prefix, option);
    throw invalid_options("tidefall: environment variable " + name + " is \"" + text_of_variable(name) +
                          "\", but must be " + std::string(rule));
}

/// The variables of the process, each NAME=TEXT, and a null pointer behind the last; null if there are none.
inline char const* const* variables_of_process() noexcept {
#if defined(_WIN32)
    return _environ;
#elif defined(__APPLE__)
    return *_NSGetEnviron();  // a shared library has no `environ`
#else
    return ::environ;
#endif
}

/// True where `rest` is X_OPTION, and so names an option of a prefix that is longer by X.
inline bool is_of_longer_prefix(std::string_view rest, std::string_view option) noexcept {
    return rest.size() > option.size() + 1 && rest.front() != '_' && rest.ends_with(option) &&
           rest[rest.size() - option.size() - 1] == '_';
}

/// Throws `invalid_options` for a variable with the prefix that names no option, and nearly does: who set it meant one
/// to have another value.
inline void refuse_misspelt_variables(std::string_view prefix) {
    auto const* one = variables_of_process();
    for (; one != nullptr && *one != nullptr; ++one) {
        std::string_view const variable(*one);
        auto const name = variable.substr(0, variable.find('='));
        if (name.size() + 1 >= variable.size()) continue;  // empty, as if it were not set
        if (!name.starts_with(prefix) || name.substr(prefix.size(), 1) != "_") continue;
        auto const rest = name.substr(prefix.size() + 1);
        bool is_an_option = false;
        std::string_view meant;
        std::size_t least = most_edits + 1;
        for_each_text_option([&](std::string_view option, std::string_view, auto, auto) {
            auto const right = variable_name(prefix, option).substr(prefix.size() + 1);
            is_an_option = is_an_option || rest == right || is_of_longer_prefix(rest, right);
            if (auto const edits = edits_between(rest, right); edits < least) {
                least = edits;
                meant = option;
            }
        });
        if (!is_an_option && !meant.empty()) {
            throw invalid_options("tidefall: environment variable " + std::string(name) +
                                  " names no option: did you mean " + variable_name(prefix, meant) + "?");
        }
    }
}

/// What the environment says. Each value by itself is one that its option can have.
inline options_overlay overlay_from_environment(std::string_view prefix) {
    if (prefix.empty() || prefix.find('=') != prefix.npos || prefix.find('\0') != prefix.npos) {
        throw invalid_options("tidefall: the prefix of environment variables is \"" + std::string(prefix) +
                              "\", but must be a part of a name: not empty, without = and null characters");
    }
    options_overlay read;
    for_each_text_option([&](std::string_view option, std::string_view rule, auto field, auto given) {
        auto const text = text_of_variable(variable_name(prefix, option));
        if (text.empty()) return;
        options one;
        if (!read_text(text, one.*field)) refuse_variable(prefix, option, rule);
        read.*given = one.*field;
        try {
            validate_ranges(one);
        } catch (invalid_options const&) {
            refuse_variable(prefix, option, rule);
        }
    });
    refuse_misspelt_variables(prefix);
    return read;
}

/// `all` was made with what `read` says. Names the variable that does not go with the rest.
inline void validate_together(options const& all, options_overlay const& read, std::string_view prefix) {
    if (goes_together(all)) return;
    if (read.overflow) refuse_variable(prefix, "overflow", overflow_without_capacity);
    if (read.capacity) refuse_variable(prefix, "capacity", "at least 1: overflow is drop_oldest");
    validate_together(all);
}

}  // namespace detail

/// `base`, with what the variables of the environment say in the place of its own: PREFIX_PARTITIONS for `partitions`,
/// PREFIX_PROCESSING_INTERVAL for `processing_interval`, and so on for every option but `telemetry` and `runtime`.
///
///     name                             any text
///     partitions                       a whole number
///     processing_batch_size            a whole number, or all
///     max_in_flight                    a whole number
///     drain_threshold, capacity, total_capacity, and all that end in weight
///                                      a whole number, or none
///     durations                        a number and ns, us, ms, s, m or h: 500ms, 1.5s; or never
///     timeout_action                   wait, abandon
///     overflow                         block, reject, drop_oldest
///     calls_at_destruction             wait, leave
///     unheard                          say_once, ignore
///
/// A variable that is empty is as if it were not set. Texts are read as written here: without spaces, in lower case,
/// whatever the locale.
///
/// Throws `invalid_options` for a text that says no value, and for one that its option cannot have: what() names the
/// variable, the text and the rule. It throws it too for a variable that begins with PREFIX_ and whose rest is no
/// option's name but within two edits of one, such as PREFIX_PROCESING_INTERVAL: what() names the option. So a prefix
/// is for one buffer, MYAPP_EVENTS rather than MYAPP: MYAPP_HOME is nearly MYAPP_NAME. Variables of a longer prefix,
/// PREFIX_X_PARTITIONS, and names that are like no option's are nobody's business. The result is checked as a whole, so
/// also for a `base` that no buffer can have.
///
/// Thread safety: it reads the environment, which nobody may change meanwhile.
inline options options_from_environment(std::string_view prefix, options base = {}) {
    auto const read = detail::overlay_from_environment(prefix);
    detail::apply(read, base);
    detail::validate_ranges(base);
    detail::validate_together(base, read, prefix);
    return base;
}

}  // namespace tidefall::inline v0
