// SPDX-License-Identifier: MIT
//
// A telemetry hook that writes one line an event, to a file or to a logger:
//
//     tidefall::queue<event> events(
//         {.name = "events", .telemetry = tidefall::make_log_telemetry(stderr, {.level = tidefall::log_level::debug})},
//         processor);
//
//     2026-11-21T09:30:00.250000Z info partition_start buffer=events partition=0
//     2026-11-21T09:30:05.250131Z debug processing_start buffer=events partition=0 size=7 trigger=interval
//     2026-11-21T09:30:05.252133Z error processing_exception buffer=events partition=0 duration=2ms message="full"
//     size=7
//
// A line is the time (UTC), the level, the event's name and its fields as `format.hpp` prints them, without the times
// by either clock. Names and messages are quoted and escaped there, so an event is one line whatever they hold.
//
// | event | level |
// | --- | --- |
// | `processing_start`, `processing_stop` | debug |
// | `partition_start`, `partition_stop`, `partition_room` where nothing was refused, `values_replayed` | info |
// | `partition_full`, `partition_room` where something was refused | warning |
// | `partition_stop` at the deadline of `stop`, `items_dropped` by overflow | warning |
// | `batch_retried`, `values_spilled` | warning |
// | `processing_exception`, `processing_failed`, `items_dropped` at the deadline of `stop` | error |
//
// A batch whose call threw has two lines, as it has two events: what was thrown, and that the batch is lost.
//
// A time in which a partition is full has two lines too. The first comes while it lasts, as it may be all that is to be
// heard of a sink that hangs; the second says how long it took and how many values writers were refused:
//
//     2026-11-21T09:30:05.250131Z warning partition_full buffer=events partition=0 size=100
//     2026-11-21T09:30:05.300942Z warning partition_room buffer=events partition=0 duration=50811us refused=96
//
// Where writers wait for room, and are meant to, that is one warning for each drain that they waited for: a function
// that takes the lines can leave those of `partition_full` out.
//
// To a logger, which has its own time stamps and levels, a function takes the rest of the line:
//
//     tidefall::make_log_telemetry([](tidefall::log_level level, std::string_view text) {
//         spdlog::log(level == tidefall::log_level::error     ? spdlog::level::err
//                     : level == tidefall::log_level::warning ? spdlog::level::warn
//                                                             : spdlog::level::info,
//                     text);
//     });
//
// It needs fmt: link `fmt::fmt`, or define `FMT_HEADER_ONLY`.
#pragma once

#include <tidefall/format.hpp>

#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/detail/sync.hpp>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// How much an event matters, the least first. Formattable, by name.
enum class log_level : std::uint8_t {
    debug,
    info,
    warning,
    error,
    off,  ///< no event has it: as the least level it lets nothing through
};

/// What `make_log_telemetry` writes.
struct log_telemetry_options {
    /// The least level that is written; info. What is below it is not even made into text.
    log_level level = log_level::info;
};

namespace detail {
namespace printing {

template <>
struct enumerators<log_level> {
    static constexpr std::string_view names[] = {"debug", "info", "warning", "error", "off"};
};

}  // namespace printing

/// Writes whole lines to a file.
class log_file {
public:
    static constexpr bool takes_level = false;

    explicit log_file(std::FILE* file) : file_(file) {
        if (file == nullptr) throw std::invalid_argument("tidefall: the file of make_log_telemetry is null");
    }

    void write(log_level, fmt::memory_buffer& line) {
        line.push_back('\n');
        // One call, so that the stream's own lock keeps the lines of several threads apart.
        errno = 0;
        if (std::fwrite(line.data(), 1, line.size(), file_) != line.size()) {
            throw std::system_error(errno != 0 ? errno : EIO, std::generic_category(),
                                    "tidefall: a line of the log was not written");
        }
    }

private:
    std::FILE* file_;
};

/// Hands lines to a function of the user.
template <typename Sink>
class log_sink {
public:
    static constexpr bool takes_level = std::is_invocable_v<Sink&, log_level, std::string_view>;
    static_assert(takes_level || std::is_invocable_v<Sink&, std::string_view>,
                  "tidefall: make_log_telemetry takes a std::FILE*, or a function that can be called as "
                  "sink(tidefall::log_level, std::string_view) or sink(std::string_view)");

    explicit log_sink(Sink&& sink) : sink_(std::move(sink)) { require_callable(sink_, "the sink of the log"); }

    void write(log_level level, fmt::memory_buffer const& line) {
        std::string_view const text(line.data(), line.size());
        if constexpr (takes_level) {
            sink_(level, text);
        } else if constexpr (std::is_invocable_v<Sink&, std::string_view>) {
            sink_(text);
        }
    }

private:
    Sink sink_;
};

template <typename Target>
class log_hook final : public telemetry_hook {
public:
    log_hook(Target target, log_telemetry_options how) : target_(std::move(target)), least_(how.level) {
        if (least_ > log_level::off) {
            throw std::invalid_argument("tidefall: the level of make_log_telemetry is " +
                                        std::to_string(static_cast<int>(least_)) +
                                        ", but must be debug, info, warning, error or off");
        }
    }

    void on_partition_start(partition_start const& e) override { log(log_level::info, "partition_start", e); }
    void on_partition_stop(partition_stop const& e) override {
        log(e.reason == stop_reason::deadline ? log_level::warning : log_level::info, "partition_stop", e);
    }
    void on_processing_start(processing_start const& e) override { log(log_level::debug, "processing_start", e); }
    void on_processing_stop(processing_stop const& e) override { log(log_level::debug, "processing_stop", e); }
    void on_processing_exception(processing_exception const& e) override {
        log(log_level::error, "processing_exception", e);
    }
    void on_processing_failed(processing_failed const& e) override { log(log_level::error, "processing_failed", e); }
    void on_batch_retried(batch_retried const& e) override { log(log_level::warning, "batch_retried", e); }
    void on_values_spilled(values_spilled const& e) override { log(log_level::warning, "values_spilled", e); }
    void on_values_replayed(values_replayed const& e) override { log(log_level::info, "values_replayed", e); }
    void on_items_dropped(items_dropped const& e) override {
        log(e.reason == failure_reason::overflow ? log_level::warning : log_level::error, "items_dropped", e);
    }
    void on_partition_full(partition_full const& e) override { log(log_level::warning, "partition_full", e); }
    void on_partition_room(partition_room const& e) override {
        log(e.refused > 0 ? log_level::warning : log_level::info, "partition_room", e);
    }

private:
    template <typename Event>
    void log(log_level level, std::string_view name, Event const& event) {
        if (level < least_) return;
        fmt::memory_buffer line;
        if constexpr (!Target::takes_level) {
            if constexpr (requires { event.system_time; }) {
                printing::append_time(line, event.system_time);
            } else {
                printing::append_time(line, wall_clock::now());
            }
            line.push_back(' ');
            printing::append_value(line, level);
            line.push_back(' ');
        }
        printing::append(line, name);
        printing::pairs print(line);
        printing::print_event(print, event, printing::event_times::left_out);
        target_.write(level, line);
    }

    Target target_;
    log_level const least_;
};

}  // namespace detail

/// A hook that writes each event as a line to `file`, by one `fwrite`: lines of several threads, hooks and buffers do
/// not mix. A null file throws `std::invalid_argument`.
///
/// The file stays the caller's: it is open for as long as a buffer has the hook, and its buffering is what was set
/// for it. `stderr` writes at once; `std::setvbuf(file, nullptr, _IOLBF, BUFSIZ)` makes another do so line by line.
/// A line that cannot be written is lost, and counted in `buffer_stats::hook_failures` where the stream reports it at
/// once.
///
/// It blocks as `fwrite` does, on the thread that the event is about: a worker mostly, who constructs, flushes or stops
/// the buffer, or a writer that finds no room.
[[nodiscard]] inline std::shared_ptr<telemetry_hook> make_log_telemetry(std::FILE* file,
                                                                        log_telemetry_options how = {}) {
    return std::make_shared<detail::log_hook<detail::log_file>>(detail::log_file(file), how);
}

/// The same to a function:
///
/// * `sink(log_level, std::string_view text)` takes an event's name and fields; time and level are the logger's;
/// * `sink(std::string_view line)` takes the whole line, without its end.
///
/// The text is valid during the call. The hook holds no lock: the sink is called from several threads at once, and
/// locks by itself where it must. What it throws is swallowed and counted in `buffer_stats::hook_failures`. It may
/// write to any buffer; `flush` and `stop` of the buffer whose event it is throw `std::system_error`. An empty
/// `std::function` or a null pointer throws `std::invalid_argument`.
template <typename Sink>
[[nodiscard]] std::shared_ptr<telemetry_hook> make_log_telemetry(Sink sink, log_telemetry_options how = {}) {
    return std::make_shared<detail::log_hook<detail::log_sink<Sink>>>(detail::log_sink<Sink>(std::move(sink)), how);
}

}  // namespace tidefall::inline v0

template <>
struct fmt::formatter<tidefall::log_level> : tidefall::detail::prints<tidefall::log_level> {};
