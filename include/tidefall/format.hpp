// SPDX-License-Identifier: MIT
//
// Prints what the library tells, with {fmt}, 8.1 or newer:
//
//     #include <fmt/core.h>
//     #include <tidefall/format.hpp>
//
//     fmt::print("{}\n", events.stop());       // processed=5 failed=0 dropped=0 abandoned=0 complete=true
//     fmt::print("{:>10}\n", events.push(e));  //    stopped
//
// Link fmt (`fmt::fmt` in CMake, `-lfmt`), or define `FMT_HEADER_ONLY`. The library itself does without: no other
// header includes this one but `log_telemetry.hpp`.
//
// Formattable are `options`, `options_update`, `options_overlay`, `runtime_options`, `drain_report`, `buffer_stats`,
// `spill_report`, `failure`, every event, every enum, and `entry` where its key, value and version are.
//
// * An enum is its enumerator's name; a value that has none is its number.
// * Everything else is one line of `name=value`, one space between, in the order of the fields, all of them always;
//   but an `options_update` or `options_overlay` prints what it names and nothing else, so an empty one prints
//   nothing.
// * A duration is a number and the largest unit, from seconds down, that says it exactly: `90s`, `250ms`, `1500us`,
//   `7ns`. `nanoseconds::max()` is `never`. A `system_time` is UTC to the microsecond, `2026-11-21T09:30:00.250000Z`,
//   and a `monotonic_time` the duration since its clock's epoch.
// * An optional without a value, an empty pointer and an exception that is not there are `none`; a pointer of the
//   options that is not empty is `set`.
// * A text that is empty or holds a space, a control character, `"` or `=` is in double quotes, and there `"`, `\` and
//   control characters are escaped (`\"`, `\\`, `\n`, `\t`, `\r`, `\x1b`). So a line stays one line, whatever an
//   exception says. That holds for the keys and values of an `entry` too, as fmt prints them.
// * An exception is its `what()`, always in quotes; `processing_exception` prints it once, as `message`.
//
// Format specifications are those of a string: `{:>10}`, `{:*^20}`, `{:.8}`.
//
// Thread safety: as of const functions. Printing does not block. It may throw what allocation, and the formatters of
// an entry's parts, throw; a text of up to 500 bytes is built without allocation.
#pragma once

#if !__has_include(<fmt/format.h>)
#error "tidefall/format.hpp needs fmt 8.1 or newer: apt-get install libfmt-dev, vcpkg install fmt, or brew install fmt"
#endif

#include <tidefall/environment.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>

#if FMT_VERSION < 80100
#error "tidefall/format.hpp needs fmt 8.1 or newer, and found an older one"
#endif

namespace tidefall::inline v0 {

// Who prints one of these has included its header.
struct options_overlay;
struct runtime_options;
struct spill_report;
struct spill_stats;
template <typename K, typename V, typename Version>
struct entry;

namespace detail {
namespace printing {

/// The names of an enum's enumerators, which count from 0.
template <typename Enum>
struct enumerators;
template <>
struct enumerators<write_status> {
    static constexpr std::string_view names[] = {"accepted", "stale", "full", "stopped"};
};
template <>
struct enumerators<failure_reason> {
    static constexpr std::string_view names[] = {"exception", "timeout", "overflow", "stopped", "rejected"};
};
template <>
struct enumerators<timeout_action> {
    static constexpr std::string_view names[] = {"wait", "abandon"};
};
template <>
struct enumerators<overflow_policy> {
    static constexpr std::string_view names[] = {"block", "reject", "drop_oldest"};
};
template <>
struct enumerators<destruction_action> {
    static constexpr std::string_view names[] = {"wait", "leave"};
};
template <>
struct enumerators<unheard_action> {
    static constexpr std::string_view names[] = {"say_once", "ignore"};
};
template <>
struct enumerators<drain_trigger> {
    static constexpr std::string_view names[] = {"interval", "threshold", "capacity", "flush", "stop"};
};
template <>
struct enumerators<stop_reason> {
    static constexpr std::string_view names[] = {"stopped", "deadline"};
};

inline void append(fmt::memory_buffer& to, std::string_view text) {
    to.append(text.data(), text.data() + text.size());
}

[[nodiscard]] constexpr bool is_control(char c) noexcept {
    auto const code = static_cast<unsigned char>(c);
    return code < 0x20 || code == 0x7f;
}

inline void append_quoted(fmt::memory_buffer& to, std::string_view text) {
    to.push_back('"');
    for (char const c : text) {
        switch (c) {
            case '"': append(to, "\\\""); break;
            case '\\': append(to, "\\\\"); break;
            case '\n': append(to, "\\n"); break;
            case '\r': append(to, "\\r"); break;
            case '\t': append(to, "\\t"); break;
            default:
                if (is_control(c)) {
                    fmt::format_to(fmt::appender(to), "\\x{:02x}", static_cast<unsigned>(c));
                } else {
                    to.push_back(c);
                }
        }
    }
    to.push_back('"');
}

/// In quotes where that is needed to see where the text ends.
inline void append_text(fmt::memory_buffer& to, std::string_view text) {
    bool plain = !text.empty();
    for (char const c : text) plain = plain && !is_control(c) && c != ' ' && c != '"' && c != '=';
    if (plain) {
        append(to, text);
    } else {
        append_quoted(to, text);
    }
}

/// In UTC, to the microsecond.
inline void append_time(fmt::memory_buffer& to, std::chrono::system_clock::time_point time) {
    // In microseconds first: the day in which the earliest time point lies begins before it.
    auto const instant = std::chrono::floor<std::chrono::microseconds>(time);
    auto const day = std::chrono::floor<std::chrono::days>(instant);
    std::chrono::year_month_day const date(day);
    std::chrono::hh_mm_ss<std::chrono::microseconds> const clock(instant - day);
    fmt::format_to(fmt::appender(to), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                   static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                   clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <typename T>
auto append_value(fmt::memory_buffer& to, T value) -> std::enable_if_t<std::is_integral_v<T>> {
    fmt::format_to(fmt::appender(to), "{}", value);
}

inline void append_value(fmt::memory_buffer& to, std::string_view value) {
    append_text(to, value);
}

inline void append_value(fmt::memory_buffer& to, std::chrono::nanoseconds value) {
    if (value == (std::chrono::nanoseconds::max)()) return append(to, "never");
    append(to, to_text(value));
}

inline void append_value(fmt::memory_buffer& to, std::chrono::system_clock::time_point value) {
    append_time(to, value);
}

inline void append_value(fmt::memory_buffer& to, std::chrono::steady_clock::time_point value) {
    std::chrono::nanoseconds const since = value.time_since_epoch();
    append_value(to, since);
}

inline void append_value(fmt::memory_buffer& to, std::exception_ptr const& value) {
    if (!value) return append(to, "none");
    try {
        std::rethrow_exception(value);
    } catch (std::exception const& error) {
        append_quoted(to, error.what());
    } catch (...) {
        append_quoted(to, "not a std::exception");
    }
}

template <typename Enum>
auto append_value(fmt::memory_buffer& to, Enum value) -> std::enable_if_t<std::is_enum_v<Enum>> {
    auto const& names = enumerators<Enum>::names;
    auto const number = static_cast<std::size_t>(value);
    if (number < std::size(names)) return append(to, names[number]);
    append_value(to, number);
}

template <typename T>
void append_value(fmt::memory_buffer& to, std::shared_ptr<T> const& value) {
    append(to, value ? "set" : "none");
}

template <typename T>
void append_value(fmt::memory_buffer& to, std::optional<T> const& value) {
    if (!value) return append(to, "none");
    append_value(to, *value);
}

/// Appends name=value pairs, one space between.
class pairs {
public:
    explicit pairs(fmt::memory_buffer& to) noexcept : to_(to) {}

    template <typename T>
    void operator()(std::string_view name, T const& value) {
        begin(name);
        append_value(to_, value);
    }

    /// In quotes, whatever it is.
    void quoted(std::string_view name, std::string_view value) {
        begin(name);
        append_quoted(to_, value);
    }

    /// As fmt prints it, in quotes where needed.
    template <typename T>
    void formatted(std::string_view name, T const& value) {
        begin(name);
        fmt::memory_buffer text;
        fmt::format_to(fmt::appender(text), "{}", value);
        append_text(to_, {text.data(), text.size()});
    }

private:
    void begin(std::string_view name) {
        if (to_.size() > 0) to_.push_back(' ');
        append(to_, name);
        to_.push_back('=');
    }

    fmt::memory_buffer& to_;
};

/// Options, or optional ones, of which those that are not there are passed over.
template <typename Options>
void print_options(pairs& print, Options const& all) {
    auto const one = [&](std::string_view name, auto const& value) {
        if constexpr (!std::is_same_v<Options, options> && is_optional<std::remove_cvref_t<decltype(value)>>) {
            if (value) print(name, *value);
        } else {
            print(name, value);
        }
    };
    if constexpr (requires { all.name; }) one("name", all.name);
    if constexpr (requires { all.partitions; }) one("partitions", all.partitions);
    one("processing_interval", all.processing_interval);
    one("processing_batch_size", all.processing_batch_size);
    one("processing_batch_weight", all.processing_batch_weight);
    one("max_in_flight", all.max_in_flight);
    one("processing_timeout", all.processing_timeout);
    if constexpr (requires { all.timeout_action; }) one("timeout_action", all.timeout_action);
    one("drain_threshold", all.drain_threshold);
    one("drain_threshold_weight", all.drain_threshold_weight);
    one("capacity", all.capacity);
    one("capacity_weight", all.capacity_weight);
    one("total_capacity", all.total_capacity);
    if constexpr (requires { all.overflow; }) one("overflow", all.overflow);
    one("overflow_timeout", all.overflow_timeout);
    one("shutdown_timeout", all.shutdown_timeout);
    if constexpr (requires { all.calls_at_destruction; }) one("calls_at_destruction", all.calls_at_destruction);
    if constexpr (requires { all.unheard; }) one("unheard", all.unheard);
    if constexpr (requires { all.telemetry; }) one("telemetry", all.telemetry);
    if constexpr (requires { all.runtime; }) one("runtime", all.runtime);
}

/// Whether an event's times, by either clock, are among its pairs.
enum class event_times : bool { left_out, printed };

template <typename Event>
void print_event(pairs& print, Event const& event, event_times which) {
    print("buffer", event.buffer);
    print("partition", event.partition);
    if constexpr (requires { event.duration; }) print("duration", event.duration);
    if (which == event_times::printed) {
        if constexpr (requires { event.system_time; }) print("system_time", event.system_time);
        if constexpr (requires { event.monotonic_time; }) print("monotonic_time", event.monotonic_time);
    }
    if constexpr (requires { event.message; }) print.quoted("message", event.message);
    if constexpr (requires { event.reason; }) print("reason", event.reason);
    if constexpr (requires { event.note; }) {
        if (!event.note.empty()) print.quoted("note", event.note);
    }
    if constexpr (requires { event.size; }) print("size", event.size);
    if constexpr (requires { event.attempt; }) print("attempt", event.attempt);
    if constexpr (requires { event.delay; }) print("delay", event.delay);
    if constexpr (requires { event.trigger; }) print("trigger", event.trigger);
    if constexpr (requires { event.refused; }) print("refused", event.refused);
    if constexpr (
        requires { event.error; } && !requires { event.message; }) {
        if (event.error) print("error", event.error);
    }
}

inline void print_value(pairs& print, drain_report const& report) {
    print("processed", report.processed);
    print("failed", report.failed);
    print("dropped", report.dropped);
    print("abandoned", report.abandoned);
    print("complete", report.complete);
}

inline void print_value(pairs& print, buffer_stats const& stats) {
    print("accepted", stats.accepted);
    print("refused", stats.refused);
    print("coalesced", stats.coalesced);
    print("erased", stats.erased);
    print("processed", stats.processed);
    print("failed", stats.failed);
    print("dropped", stats.dropped);
    print("abandoned", stats.abandoned);
    print("pending", stats.pending);
    if (stats.pending_weight > 0) print("pending_weight", stats.pending_weight);
    print("in_flight", stats.in_flight);
    print("ticks", stats.ticks);
    print("hook_failures", stats.hook_failures);
}

inline void print_value(pairs& print, failure const& why) {
    print("reason", why.reason);
    print("error", why.error);
    print("buffer", why.buffer);
    print("partition", why.partition);
}

inline void print_value(pairs& print, batch_info const& info) {
    print("buffer", info.buffer);
    print("partition", info.partition);
    print("drain", info.drain);
    print("index", info.index);
    print("attempt", info.attempt);
    print("remaining", info.remaining);
    print("trigger", info.trigger);
    print("swapped_at", info.swapped_at);
    print("stopping", info.stopping);
}

template <typename K, typename V, typename Version>
void print_value(pairs& print, entry<K, V, Version> const& one) {
    print.formatted("key", one.key);
    print.formatted("value", one.value);
    if constexpr (!std::is_void_v<Version>) {
        print.formatted("version", one.version);
        print("updates", one.updates);
    }
}

template <typename T>
void print_value(pairs& print, T const& value) {
    if constexpr (requires { value.processing_interval; }) {
        print_options(print, value);
    } else if constexpr (requires { value.thread_name; }) {
        print("workers", value.workers);
        print("thread_name", value.thread_name);
    } else if constexpr (requires { value.torn_bytes; }) {
        print("records", value.records);
        print("bytes", value.bytes);
        print("damaged_bytes", value.damaged_bytes);
        print("removed_bytes", value.removed_bytes);
        print("torn_bytes", value.torn_bytes);
    } else if constexpr (requires { value.undecodable; }) {
        print("records", value.records);
        print("bytes", value.bytes);
        print("written", value.written);
        print("replayed", value.replayed);
        print("refused", value.refused);
        print("undecodable", value.undecodable);
    } else {
        print_event(print, value, event_times::printed);
    }
}

template <typename... T>
inline constexpr bool all_formattable = (fmt::is_formattable<T>::value && ...);

}  // namespace printing

/// The base of the formatters: a text, padded as a string is.
template <typename T>
class prints {
public:
    template <typename ParseContext>
    constexpr auto parse(ParseContext& context) {
        return as_string_.parse(context);
    }

    template <typename FormatContext>
    auto format(T const& value, FormatContext& context) const {
        fmt::memory_buffer text;
        if constexpr (std::is_enum_v<T>) {
            printing::append_value(text, value);
        } else {
            printing::pairs print(text);
            printing::print_value(print, value);
        }
        return as_string_.format(fmt::string_view(text.data(), text.size()), context);
    }

private:
    fmt::formatter<fmt::string_view> as_string_;
};

}  // namespace detail
}  // namespace tidefall::inline v0

template <>
struct fmt::formatter<tidefall::write_status> : tidefall::detail::prints<tidefall::write_status> {};
template <>
struct fmt::formatter<tidefall::failure_reason> : tidefall::detail::prints<tidefall::failure_reason> {};
template <>
struct fmt::formatter<tidefall::timeout_action> : tidefall::detail::prints<tidefall::timeout_action> {};
template <>
struct fmt::formatter<tidefall::overflow_policy> : tidefall::detail::prints<tidefall::overflow_policy> {};
template <>
struct fmt::formatter<tidefall::destruction_action> : tidefall::detail::prints<tidefall::destruction_action> {};
template <>
struct fmt::formatter<tidefall::unheard_action> : tidefall::detail::prints<tidefall::unheard_action> {};
template <>
struct fmt::formatter<tidefall::drain_trigger> : tidefall::detail::prints<tidefall::drain_trigger> {};
template <>
struct fmt::formatter<tidefall::stop_reason> : tidefall::detail::prints<tidefall::stop_reason> {};

template <>
struct fmt::formatter<tidefall::options> : tidefall::detail::prints<tidefall::options> {};
template <>
struct fmt::formatter<tidefall::options_update> : tidefall::detail::prints<tidefall::options_update> {};
template <>
struct fmt::formatter<tidefall::options_overlay> : tidefall::detail::prints<tidefall::options_overlay> {};
template <>
struct fmt::formatter<tidefall::runtime_options> : tidefall::detail::prints<tidefall::runtime_options> {};

template <>
struct fmt::formatter<tidefall::drain_report> : tidefall::detail::prints<tidefall::drain_report> {};
template <>
struct fmt::formatter<tidefall::buffer_stats> : tidefall::detail::prints<tidefall::buffer_stats> {};
template <>
struct fmt::formatter<tidefall::spill_report> : tidefall::detail::prints<tidefall::spill_report> {};
template <>
struct fmt::formatter<tidefall::spill_stats> : tidefall::detail::prints<tidefall::spill_stats> {};
template <>
struct fmt::formatter<tidefall::batch_info> : tidefall::detail::prints<tidefall::batch_info> {};
template <>
struct fmt::formatter<tidefall::failure> : tidefall::detail::prints<tidefall::failure> {};

template <>
struct fmt::formatter<tidefall::partition_start> : tidefall::detail::prints<tidefall::partition_start> {};
template <>
struct fmt::formatter<tidefall::partition_stop> : tidefall::detail::prints<tidefall::partition_stop> {};
template <>
struct fmt::formatter<tidefall::processing_start> : tidefall::detail::prints<tidefall::processing_start> {};
template <>
struct fmt::formatter<tidefall::processing_stop> : tidefall::detail::prints<tidefall::processing_stop> {};
template <>
struct fmt::formatter<tidefall::processing_exception> : tidefall::detail::prints<tidefall::processing_exception> {};
template <>
struct fmt::formatter<tidefall::processing_failed> : tidefall::detail::prints<tidefall::processing_failed> {};
template <>
struct fmt::formatter<tidefall::batch_retried> : tidefall::detail::prints<tidefall::batch_retried> {};
template <>
struct fmt::formatter<tidefall::values_spilled> : tidefall::detail::prints<tidefall::values_spilled> {};
template <>
struct fmt::formatter<tidefall::values_replayed> : tidefall::detail::prints<tidefall::values_replayed> {};
template <>
struct fmt::formatter<tidefall::items_dropped> : tidefall::detail::prints<tidefall::items_dropped> {};
template <>
struct fmt::formatter<tidefall::partition_full> : tidefall::detail::prints<tidefall::partition_full> {};
template <>
struct fmt::formatter<tidefall::partition_room> : tidefall::detail::prints<tidefall::partition_room> {};

template <typename K, typename V, typename Version>
    requires tidefall::detail::printing::all_formattable < K, V, std::conditional_t < std::is_void_v<Version>,
int, Version >> struct fmt::formatter<tidefall::entry<K, V, Version>>
    : tidefall::detail::prints<tidefall::entry<K, V, Version>> {};
