// SPDX-License-Identifier: MIT
//
// Processors and hooks that write down what they were called with.
#pragma once

#include <tidefall/telemetry.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace tests {

/// Keeps every batch, in the order of the calls. Copies share what they keep.
template <typename V>
class recorder {
public:
    void operator()(std::span<V> batch) const {
        std::lock_guard const lock(state_->mutex);
        auto& one = state_->batches.emplace_back();
        for (V& value : batch) one.push_back(std::move(value));
    }

    [[nodiscard]] std::vector<std::vector<V>> const& batches() const { return state_->batches; }

    [[nodiscard]] std::vector<V> values() const {
        std::vector<V> all;
        for (auto const& batch : batches()) all.insert(all.end(), batch.begin(), batch.end());
        return all;
    }

    [[nodiscard]] std::vector<std::size_t> sizes() const {
        std::vector<std::size_t> all;
        for (auto const& batch : batches()) all.push_back(batch.size());
        return all;
    }

private:
    struct state {
        std::mutex mutex;
        std::vector<std::vector<V>> batches;
    };
    std::shared_ptr<state> state_ = std::make_shared<state>();
};

/// Keeps what `undelivered` received.
template <typename V>
class returns {
public:
    struct one {
        std::vector<V> values;
        tidefall::failure_reason reason;
        std::exception_ptr error;
        std::string buffer;
        std::size_t partition;
    };

    void operator()(std::span<V> values, tidefall::failure const& why) const {
        std::lock_guard const lock(state_->mutex);
        one next{{}, why.reason, why.error, std::string(why.buffer), why.partition};
        for (V& value : values) next.values.push_back(std::move(value));
        state_->all.push_back(std::move(next));
    }

    [[nodiscard]] std::vector<one> const& all() const { return state_->all; }

    [[nodiscard]] std::vector<V> values() const {
        std::vector<V> result;
        for (auto const& each : all()) result.insert(result.end(), each.values.begin(), each.values.end());
        return result;
    }

private:
    struct state {
        std::mutex mutex;
        std::vector<one> all;
    };
    std::shared_ptr<state> state_ = std::make_shared<state>();
};

/// Writes each event as a line, `what partition details`, and calls `then` with its name.
class event_log : public tidefall::telemetry_hook {
public:
    std::function<void(std::string const&)> then;

    [[nodiscard]] std::vector<std::string> lines() const {
        std::lock_guard const lock(mutex_);
        return lines_;
    }
    /// Those of what the drains did: none of a partition's start, stop, fullness or room.
    [[nodiscard]] std::vector<std::string> lines_of_drains() const {
        auto all = lines();
        std::erase_if(all, [](std::string const& line) { return line.starts_with("partition_"); });
        return all;
    }
    void clear() {
        std::lock_guard const lock(mutex_);
        lines_.clear();
    }

    void on_partition_start(tidefall::partition_start const& e) override { add("partition_start", e.partition, ""); }
    void on_partition_stop(tidefall::partition_stop const& e) override {
        add("partition_stop", e.partition, e.reason == tidefall::stop_reason::stopped ? " stopped" : " deadline");
    }
    void on_processing_start(tidefall::processing_start const& e) override {
        constexpr char const* triggers[] = {"interval", "threshold", "capacity", "flush", "stop"};
        add("processing_start", e.partition,
            " " + std::to_string(e.size) + " " + triggers[static_cast<std::size_t>(e.trigger)]);
    }
    void on_processing_stop(tidefall::processing_stop const& e) override {
        add("processing_stop", e.partition, " " + std::to_string(e.size));
    }
    void on_processing_exception(tidefall::processing_exception const& e) override {
        add("processing_exception", e.partition, " " + std::to_string(e.size) + " " + std::string(e.message));
    }
    void on_processing_failed(tidefall::processing_failed const& e) override {
        add("processing_failed", e.partition, " " + std::to_string(e.size) + " " + reason(e.reason));
    }
    void on_batch_retried(tidefall::batch_retried const& e) override {
        add("batch_retried", e.partition,
            " " + std::to_string(e.size) + " attempt " + std::to_string(e.attempt) + " " +
                std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(e.delay).count()) + "ms");
    }
    void on_values_spilled(tidefall::values_spilled const& e) override {
        add("values_spilled", e.partition, " " + std::to_string(e.size));
    }
    void on_values_replayed(tidefall::values_replayed const& e) override {
        add("values_replayed", e.partition, " " + std::to_string(e.size));
    }
    void on_items_dropped(tidefall::items_dropped const& e) override {
        add("items_dropped", e.partition, " " + std::to_string(e.size) + " " + reason(e.reason));
    }
    void on_partition_full(tidefall::partition_full const& e) override {
        add("partition_full", e.partition, " " + std::to_string(e.size));
    }
    void on_partition_room(tidefall::partition_room const& e) override {
        add("partition_room", e.partition, " " + std::to_string(e.refused));
    }

private:
    static std::string reason(tidefall::failure_reason why) {
        constexpr char const* names[] = {"exception", "timeout", "overflow", "stopped", "rejected"};
        return names[static_cast<std::size_t>(why)];
    }

    void add(std::string const& what, std::size_t partition, std::string const& details) {
        {
            std::lock_guard const lock(mutex_);
            lines_.push_back(what + " " + std::to_string(partition) + details);
        }
        if (then) then(what);
    }

    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

}  // namespace tests
