// SPDX-License-Identifier: MIT
//
// A ready telemetry hook that counts, per buffer and partition, and renders what it counted for Prometheus:
//
//     auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
//     tidefall::queue<event> events({.name = "events", .telemetry = metrics}, processor);
//     tidefall::hash_map<key, row> rows({.name = "rows", .telemetry = metrics}, upsert);   // one hook serves many
//
//     // where the endpoint /metrics is served, with the content type metrics->content_type:
//     response = metrics->prometheus();               // what the hook counted
//     response = metrics->prometheus(events, rows);   // and these buffers' own counters, waiting values among them
//
// Families, each with the labels `buffer` and `partition`:
//
//     tidefall_partitions_running                     gauge      1 from start to stop
//     tidefall_drains_total                 trigger   counter    drained tables whose processing began
//     tidefall_drained_values_total                   counter    the values in them
//     tidefall_undelivered_values_total     reason    counter    lost by the processor (exception, timeout,
//                                                                rejected) or dropped before it (overflow, stopped)
//     tidefall_retried_batches_total                  counter    calls whose batch was to be offered again, or a part
//     tidefall_retried_values_total                   counter    the values that were
//     tidefall_spilled_values_total                   counter    values that went to a spill file
//     tidefall_replayed_values_total                  counter    values of a spill file that were delivered
//     tidefall_partitions_full                        gauge      1 from the write that finds no room to the swap that
//                                                                makes some
//     tidefall_partition_full_total                   counter    how often that was so
//     tidefall_full_seconds_total                     counter    how long it was so, in all
//     tidefall_refused_values_total                   counter    values answered `full` meanwhile
//     tidefall_exceptions_total                       counter    of the processor, or of the sorting before it
//     tidefall_processing_duration_seconds            histogram  how long the processing of a drained table took
//
// and of each buffer that is passed to `prometheus`, with the label `buffer`, each member of its `buffer_stats` under
// the prefix `tidefall_buffer_`: `tidefall_buffer_pending_values`, `tidefall_buffer_refused_values_total` and so on.
//
// A partition tells how long it was full, and what was refused, when that is over: while a sink hangs,
// tidefall_partitions_full alone says so, and the buffer's own tidefall_buffer_refused_values_total grows, which counts
// the values answered `stale` and `stopped` too.
//
// Worth an alert: rate(tidefall_undelivered_values_total[5m]) > 0; rate(tidefall_refused_values_total[5m]) > 0, values
// that a program lost unless it looks at what a write answers; tidefall_partitions_full that stays 1 for longer than a
// drain takes; tidefall_buffer_pending_values that grows; and a drain that does not end, which has been counted by
// tidefall_drains_total and not yet by tidefall_processing_duration_seconds_count.
#pragma once

#include <tidefall/detail/sync.hpp>
#include <tidefall/detail/text/prometheus_text.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/telemetry.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {

/// How `metrics_telemetry` counts.
struct metrics_options {
    /// The upper bounds of the histogram's buckets, inclusive; one more bucket has what took longer. Ascending, the
    /// first above 0. None: the histogram has that one bucket, so count and sum alone. Each is a series for each
    /// partition.
    std::vector<std::chrono::nanoseconds> duration_bounds = {
        std::chrono::milliseconds(1),  std::chrono::milliseconds(5),   std::chrono::milliseconds(10),
        std::chrono::milliseconds(50), std::chrono::milliseconds(100), std::chrono::milliseconds(500),
        std::chrono::seconds(1),       std::chrono::seconds(5),        std::chrono::seconds(10),
        std::chrono::seconds(30),      std::chrono::seconds(60)};
};

/// What `metrics_telemetry` counted for one partition of the buffers of one name. In an array the enumerators are the
/// indices: `drains[static_cast<std::size_t>(drain_trigger::flush)]`.
struct partition_metrics {
    std::string buffer = {};
    std::size_t partition = 0;
    std::int64_t running = 0;                       ///< started and not stopped; 1 or 0 where names are unique
    std::array<std::uint64_t, 5> drains = {};       ///< by `drain_trigger`
    std::uint64_t drained_values = 0;               ///< in the tables of `drains`
    std::array<std::uint64_t, 5> undelivered = {};  ///< values, by `failure_reason`
    std::int64_t full = 0;                          ///< found full and not swapped since, as `running` counts
    std::uint64_t times_full = 0;                   ///< how often it was found full
    std::chrono::nanoseconds full_sum = {};         ///< how long it was, the times that are over
    std::uint64_t refused = 0;                      ///< values answered `full` in these times
    std::uint64_t exceptions = 0;                   ///< of the processor, or of the sorting before it
    std::uint64_t retried_batches = 0;              ///< calls whose batch was to be offered again, or a part
    std::uint64_t retried_values = 0;               ///< the values that were
    std::uint64_t spilled = 0;                      ///< values that went to a spill file
    std::uint64_t replayed = 0;                     ///< values of a spill file that were delivered
    std::vector<std::uint64_t> durations = {};      ///< drains that ended, by bucket, each in one; the last: longer
    std::chrono::nanoseconds duration_sum = {};     ///< of the drains that ended
};

/// The counters of a buffer under the name that is to label them.
struct named_stats {
    std::string buffer = {};
    buffer_stats stats = {};
};

/// Counts the events of any number of buffers, for each of their partitions. Counters only grow, and stay when a
/// buffer is gone; buffers of one name share them.
///
/// Thread safety: everything may be called from several threads at once, also from processors and hooks. An event
/// takes a mutex for one look-up, then adds to atomics. A reader takes it to copy pointers, and reads and formats
/// without it, so nobody waits for the rendering. Each number is read by itself: two of them may differ by an event
/// that is being counted. A histogram's buckets, its `+Inf` and its count always fit together.
///
/// Nothing here is async-signal-safe, or may be called in a forked child.
///
/// Memory: about 400 bytes for each pair of buffer name and partition that had an event, until `forget`.
class metrics_telemetry final : public telemetry_hook {
public:
    /// The content type of what `prometheus` returns.
    static constexpr char const* content_type = "text/plain; version=0.0.4; charset=utf-8";

    /// Throws `invalid_options` for bounds that are not above 0 and ascending.
    explicit metrics_telemetry(metrics_options how = {}) : bounds_(std::move(how.duration_bounds)) {
        std::chrono::nanoseconds last{0};
        for (std::size_t i = 0; i < bounds_.size(); last = bounds_[i++]) {
            if (bounds_[i] > last) continue;
            throw invalid_options("duration_bounds",
                                  detail::to_text(bounds_[i]) + (i == 0 ? "" : " after " + detail::to_text(last)),
                                  "above 0 and ascending");
        }
    }

    /// The upper bounds of the buckets, as they were given.
    [[nodiscard]] std::vector<std::chrono::nanoseconds> const& duration_bounds() const noexcept { return bounds_; }

    /// What was counted so far, in Prometheus' text format 0.0.4: UTF-8, each line ended by a newline, series ordered
    /// by buffer name and partition. Empty before the first event.
    ///
    /// With buffers, or anything else with `name()` and `stats()`: their own counters too. `stats()` is called here,
    /// without a lock held.
    template <typename... Buffers>
    [[nodiscard]] std::string prometheus(Buffers const&... buffers) const {
        std::vector<named_stats> all;
        all.reserve(sizeof...(buffers));
        (all.push_back({std::string(buffers.name()), buffers.stats()}), ...);
        return prometheus(all);
    }

    /// The same for buffers whose number the program finds out as it runs. Those of one name are added up.
    [[nodiscard]] std::string prometheus(std::vector<named_stats> const& buffers) const {
        detail::prometheus_text text;
        write_events(text, snapshot());
        write_stats(text, buffers);
        return std::move(text).take();
    }

    /// What was counted so far, by buffer name and partition: for other systems than Prometheus.
    [[nodiscard]] std::vector<partition_metrics> snapshot() const {
        std::vector<std::shared_ptr<series const>> all;
        {
            detail::lock_guard const lock(mutex_);
            all.reserve(series_.size());
            for (auto const& one : series_) all.push_back(one.second);
        }
        std::vector<partition_metrics> result;
        result.reserve(all.size());
        for (auto const& one : all) result.push_back(one->read());
        return result;
    }

    /// Forgets what was counted for the buffers of that name, say of a tenant that is gone for good. Call it when they
    /// have stopped: an event that comes later begins at 0.
    void forget(std::string_view buffer) {
        std::vector<std::shared_ptr<series>> gone;  // destroyed after unlocking
        detail::lock_guard const lock(mutex_);
        auto const first = series_.lower_bound({buffer, 0});
        auto last = first;
        for (; last != series_.end() && last->first.first == buffer; ++last) gone.push_back(last->second);
        series_.erase(first, last);
    }

    void on_partition_start(partition_start const& e) override { add(series_of(e.buffer, e.partition)->running, 1); }

    void on_partition_stop(partition_stop const& e) override { add(series_of(e.buffer, e.partition)->running, -1); }

    void on_processing_start(processing_start const& e) override {
        auto const to = series_of(e.buffer, e.partition);
        add(to->drains[index(e.trigger)], 1);
        add(to->drained_values, e.size);
    }

    void on_processing_stop(processing_stop const& e) override {
        auto const to = series_of(e.buffer, e.partition);
        auto const bucket = std::lower_bound(bounds_.begin(), bounds_.end(), e.duration) - bounds_.begin();
        add(to->durations[static_cast<std::size_t>(bucket)], 1);
        add(to->duration_sum, e.duration.count());
    }

    void on_processing_exception(processing_exception const& e) override {
        add(series_of(e.buffer, e.partition)->exceptions, 1);
    }

    void on_processing_failed(processing_failed const& e) override {
        add(series_of(e.buffer, e.partition)->undelivered[index(e.reason)], e.size);
    }

    void on_batch_retried(batch_retried const& e) override {
        auto const to = series_of(e.buffer, e.partition);
        add(to->retried_batches, 1);
        add(to->retried_values, e.size);
    }

    void on_values_spilled(values_spilled const& e) override { add(series_of(e.buffer, e.partition)->spilled, e.size); }

    void on_values_replayed(values_replayed const& e) override {
        add(series_of(e.buffer, e.partition)->replayed, e.size);
    }

    void on_items_dropped(items_dropped const& e) override {
        add(series_of(e.buffer, e.partition)->undelivered[index(e.reason)], e.size);
    }

    void on_partition_full(partition_full const& e) override {
        auto const to = series_of(e.buffer, e.partition);
        add(to->full, 1);
        add(to->times_full, 1);
    }

    void on_partition_room(partition_room const& e) override {
        auto const to = series_of(e.buffer, e.partition);
        add(to->full, -1);
        add(to->full_sum, e.duration.count());
        add(to->refused, e.refused);
    }

private:
    template <typename T>
    using counter = detail::atomic<T>;  // relaxed everywhere: numbers, each for itself

    static constexpr std::size_t triggers = 5;
    static constexpr std::size_t reasons = 5;

    /// The counters of one partition.
    struct series {
        series(std::string_view buffer_name, std::size_t number, std::size_t buckets)
            : buffer(buffer_name), partition(number), durations(buckets) {}

        [[nodiscard]] partition_metrics read() const {
            partition_metrics now{.buffer = buffer, .partition = partition};
            now.running = running.load(std::memory_order_relaxed);
            for (std::size_t i = 0; i < triggers; ++i) now.drains[i] = drains[i].load(std::memory_order_relaxed);
            now.drained_values = drained_values.load(std::memory_order_relaxed);
            for (std::size_t i = 0; i < reasons; ++i) {
                now.undelivered[i] = undelivered[i].load(std::memory_order_relaxed);
            }
            // The two events come from two threads, so the end of a time may be counted before its beginning is.
            now.full = (std::max)(std::int64_t{0}, full.load(std::memory_order_relaxed));
            now.times_full = times_full.load(std::memory_order_relaxed);
            now.full_sum = std::chrono::nanoseconds(full_sum.load(std::memory_order_relaxed));
            now.refused = refused.load(std::memory_order_relaxed);
            now.exceptions = exceptions.load(std::memory_order_relaxed);
            now.retried_batches = retried_batches.load(std::memory_order_relaxed);
            now.retried_values = retried_values.load(std::memory_order_relaxed);
            now.spilled = spilled.load(std::memory_order_relaxed);
            now.replayed = replayed.load(std::memory_order_relaxed);
            now.durations.reserve(durations.size());
            for (auto const& one : durations) now.durations.push_back(one.load(std::memory_order_relaxed));
            now.duration_sum = std::chrono::nanoseconds(duration_sum.load(std::memory_order_relaxed));
            return now;
        }

        std::string const buffer;
        std::size_t const partition;
        counter<std::int64_t> running{0};
        std::array<counter<std::uint64_t>, triggers> drains{};
        counter<std::uint64_t> drained_values{0};
        std::array<counter<std::uint64_t>, reasons> undelivered{};
        counter<std::int64_t> full{0};
        counter<std::uint64_t> times_full{0};
        counter<std::chrono::nanoseconds::rep> full_sum{0};
        counter<std::uint64_t> refused{0};
        counter<std::uint64_t> exceptions{0};
        counter<std::uint64_t> retried_batches{0};
        counter<std::uint64_t> retried_values{0};
        counter<std::uint64_t> spilled{0};
        counter<std::uint64_t> replayed{0};
        std::vector<counter<std::uint64_t>> durations;
        counter<std::chrono::nanoseconds::rep> duration_sum{0};
    };

    template <typename T>
    static void add(counter<T>& to, std::type_identity_t<T> much) noexcept {
        to.fetch_add(much, std::memory_order_relaxed);
    }

    template <typename Enum>
    [[nodiscard]] static std::size_t index(Enum one) noexcept {
        return static_cast<std::size_t>(one);
    }

    [[nodiscard]] std::shared_ptr<series> series_of(std::string_view buffer, std::size_t partition) {
        detail::lock_guard const lock(mutex_);
        auto const at = series_.find({buffer, partition});
        if (at != series_.end()) return at->second;
        auto made = std::make_shared<series>(buffer, partition, bounds_.size() + 1);
        series_.emplace(std::pair{std::string_view(made->buffer), partition}, made);
        return made;
    }

    void write_events(detail::prometheus_text& text, std::vector<partition_metrics> const& all) const {
        constexpr std::array<char const*, triggers> trigger_labels = {",trigger=\"interval\"", ",trigger=\"threshold\"",
                                                                      ",trigger=\"capacity\"", ",trigger=\"flush\"",
                                                                      ",trigger=\"stop\""};
        constexpr std::array<char const*, reasons> reason_labels = {",reason=\"exception\"", ",reason=\"timeout\"",
                                                                    ",reason=\"overflow\"", ",reason=\"stopped\"",
                                                                    ",reason=\"rejected\""};
        if (all.empty()) return;
        std::vector<std::string> labels;
        labels.reserve(all.size());
        for (auto const& one : all) {
            labels.push_back(detail::label_text("buffer", one.buffer) + "," +
                             detail::label_text("partition", std::to_string(one.partition)));
        }
        auto const each = [&](auto write) {
            for (std::size_t i = 0; i < all.size(); ++i) write(all[i], labels[i]);
        };

        text.family("tidefall_partitions_running", "gauge", "Partitions that started and did not stop.");
        each([&](auto const& one, auto const& of) { text.sample("", of, std::to_string(one.running)); });

        text.family("tidefall_drains_total", "counter", "Drained tables whose processing began, by what drained them.");
        each([&](auto const& one, auto const& of) {
            for (std::size_t i = 0; i < triggers; ++i) text.sample(of + trigger_labels[i], one.drains[i]);
        });

        text.family("tidefall_drained_values_total", "counter", "Values in drained tables whose processing began.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.drained_values); });

        text.family("tidefall_undelivered_values_total", "counter",
                    "Values that the processor lost (exception, timeout, rejected) or never got (overflow, stopped).");
        each([&](auto const& one, auto const& of) {
            for (std::size_t i = 0; i < reasons; ++i) text.sample(of + reason_labels[i], one.undelivered[i]);
        });

        text.family("tidefall_partitions_full", "gauge",
                    "Partitions in which a write found no room, and no swap has made any since.");
        each([&](auto const& one, auto const& of) { text.sample("", of, std::to_string(one.full)); });

        text.family("tidefall_partition_full_total", "counter",
                    "Times that a write found no room, until the next swap.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.times_full); });

        text.family("tidefall_full_seconds_total", "counter", "How long those times took that are over.");
        each([&](auto const& one, auto const& of) { text.sample("", of, detail::seconds_text(one.full_sum)); });

        text.family("tidefall_refused_values_total", "counter", "Values answered full in those times that are over.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.refused); });

        text.family("tidefall_exceptions_total", "counter",
                    "Exceptions of the processor, or of the sorting before it.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.exceptions); });

        text.family("tidefall_retried_batches_total", "counter",
                    "Calls whose batch was to be offered again, or a part of it.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.retried_batches); });

        text.family("tidefall_retried_values_total", "counter", "Values that were to be offered again.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.retried_values); });

        text.family("tidefall_spilled_values_total", "counter", "Values that went to a spill file.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.spilled); });

        text.family("tidefall_replayed_values_total", "counter", "Values of a spill file that were delivered.");
        each([&](auto const& one, auto const& of) { text.sample(of, one.replayed); });

        std::vector<std::string> bound_labels;
        bound_labels.reserve(bounds_.size() + 1);
        for (auto const bound : bounds_) {
            bound_labels.push_back("," + detail::label_text("le", detail::seconds_text(bound)));
        }
        bound_labels.emplace_back(",le=\"+Inf\"");
        text.family("tidefall_processing_duration_seconds", "histogram",
                    "How long the processing of a drained table took.");
        each([&](auto const& one, auto const& of) {
            std::uint64_t count = 0;
            for (std::size_t i = 0; i < one.durations.size(); ++i) {
                count += one.durations[i];
                text.sample("_bucket", of + bound_labels[i], std::to_string(count));
            }
            text.sample("_sum", of, detail::seconds_text(one.duration_sum));
            text.sample("_count", of, std::to_string(count));
        });
    }

    static void write_stats(detail::prometheus_text& text, std::vector<named_stats> const& buffers) {
        struct family {
            char const* name;
            char const* type;
            char const* help;
            std::uint64_t buffer_stats::*member;
        };
        constexpr family families[] = {
            {"tidefall_buffer_accepted_values_total", "counter", "Values that the buffer took.",
             &buffer_stats::accepted},
            {"tidefall_buffer_refused_values_total", "counter", "Writes answered stale, full or stopped.",
             &buffer_stats::refused},
            {"tidefall_buffer_coalesced_values_total", "counter", "Accepted writes that changed a value already held.",
             &buffer_stats::coalesced},
            {"tidefall_buffer_erased_values_total", "counter", "Values erased before they were drained.",
             &buffer_stats::erased},
            {"tidefall_buffer_processed_values_total", "counter", "Values that the processor took.",
             &buffer_stats::processed},
            {"tidefall_buffer_failed_values_total", "counter", "Values lost by an exception or a timeout, or rejected.",
             &buffer_stats::failed},
            {"tidefall_buffer_dropped_values_total", "counter", "Values dropped by overflow or at a stop.",
             &buffer_stats::dropped},
            {"tidefall_buffer_abandoned_values", "gauge", "Failed values whose calls have not returned.",
             &buffer_stats::abandoned},
            {"tidefall_buffer_pending_values", "gauge", "Values that wait for a drain.", &buffer_stats::pending},
            {"tidefall_buffer_pending_weight", "gauge", "What these weigh, where values have a weight.",
             &buffer_stats::pending_weight},
            {"tidefall_buffer_in_flight_values", "gauge", "Drained values without an outcome.",
             &buffer_stats::in_flight},
            {"tidefall_buffer_ticks_total", "counter", "Swaps of a table that was not empty.", &buffer_stats::ticks},
            {"tidefall_buffer_hook_failures_total", "counter", "Exceptions of telemetry hooks and undelivered.",
             &buffer_stats::hook_failures},
        };
        std::map<std::string_view, buffer_stats> by_name;
        for (auto const& one : buffers) {
            auto& sum = by_name[one.buffer];
            for (auto const& each : families) sum.*each.member += one.stats.*each.member;
        }
        if (by_name.empty()) return;
        for (auto const& each : families) {
            text.family(each.name, each.type, each.help);
            for (auto const& one : by_name) {
                text.sample(detail::label_text("buffer", one.first), one.second.*each.member);
            }
        }
    }

    std::vector<std::chrono::nanoseconds> const bounds_;
    mutable detail::mutex mutex_;
    /// Guarded by mutex_; what the pointers lead to is not. Each key looks into its own series.
    std::map<std::pair<std::string_view, std::size_t>, std::shared_ptr<series>> series_;
};

}  // namespace tidefall::inline v0
