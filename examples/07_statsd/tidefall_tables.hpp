// SPDX-License-Identifier: MIT
#pragma once

#include "metric_line.hpp"
#include "settings.hpp"
#include "store.hpp"
#include "tables.hpp"
#include "values.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace statsd {

/// A map for each kind of series. Receivers add to its entries; the end of a window is a flush that nobody waits for.
class tidefall_tables final : public tables {
    template <typename Value>
    using map = tidefall::hash_map<std::string, Value, tidefall::string_hash, std::equal_to<>, void>;

    tidefall::options options(char const* name) {
        return {
            .name = name,
            .partitions = 1,
            .processing_interval = std::chrono::nanoseconds::max(),  // end_window says when
            .processing_batch_size = std::numeric_limits<std::size_t>::max(),
            // The sinks have timeouts of their own, and a commit that is late has happened all the same.
            .processing_timeout = std::chrono::nanoseconds::max(),
            .capacity = how_.most_series,
            .overflow = tidefall::overflow_policy::reject,  // the series that are there go on
            .telemetry = metrics_,
            .runtime = runtime_,
        };
    }

    /// While a sink is away its windows come together: sums stay right, and the memory is that of the series.
    template <typename Value>
    auto processor(kind what) {
        return tidefall::with_retry(
            [this, what](std::span<typename map<Value>::value_type const> window, tidefall::batch_info const& info) {
                try {
                    store_.write(what, window, info.attempt == 1);
                } catch (std::exception const& error) {
                    std::lock_guard const lock(mutex_);
                    error_ = error.what();
                    throw;
                }
            },
            {.attempts = std::numeric_limits<std::size_t>::max(), .max_delay = std::chrono::seconds(5)});
    }

public:
    tidefall_tables(settings const& how, store& to, std::shared_ptr<tidefall::metrics_telemetry> metrics)
        : how_(how),
          store_(to),
          metrics_(std::move(metrics)),
          counters_(options("counters"), processor<counter_value>(kind::counter)),
          gauges_(options("gauges"), processor<gauge_value>(kind::gauge)),
          timers_(options("timers"), processor<timer_value>(kind::timer)),
          sets_(options("sets"), processor<set_value>(kind::set)) {}

    void add(std::string_view key, measurement const& one) override {
        switch (one.what) {
            case kind::counter: return add_to(counters_, key, one);
            case kind::gauge: return add_to(gauges_, key, one);
            case kind::timer: return add_to(timers_, key, one);
            case kind::set: return add_to(sets_, key, one);
        }
    }

    void end_window() override {
        for_each([](auto& one) { one.flush(std::chrono::nanoseconds(0)); });  // starts a drain, and waits for nothing
    }

    std::uint64_t stop() override {
        std::uint64_t lost = 0;
        for_each([](auto& one) { one.stop(std::chrono::seconds(30)); });
        for_each([&](auto& one) {
            auto const all = one.stats();
            lost += all.failed + all.dropped + all.in_flight;
        });
        return lost;
    }

    [[nodiscard]] std::string last_error() const override {
        std::lock_guard const lock(mutex_);
        return error_;
    }

    template <typename Use>
    void for_each(Use&& use) {
        use(counters_);
        use(gauges_);
        use(timers_);
        use(sets_);
    }

private:
    template <typename Value>
    static void add_to(map<Value>& to, std::string_view key, measurement const& one) {
        to.update(key, [&](Value& value) { value.add(one); });
    }

    settings const& how_;
    store& store_;
    std::shared_ptr<tidefall::metrics_telemetry> const metrics_;
    mutable std::mutex mutex_ = {};
    std::string error_ = {};
    // One worker for all maps: the store needs no lock.
    std::shared_ptr<tidefall::runtime> const runtime_ = tidefall::make_runtime({.workers = 1, .thread_name = "statsd"});
    map<counter_value> counters_;
    map<gauge_value> gauges_;
    map<timer_value> timers_;
    map<set_value> sets_;
};

}  // namespace statsd
