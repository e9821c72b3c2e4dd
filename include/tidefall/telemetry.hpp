// SPDX-License-Identifier: MIT
//
// Telemetry: the events of a buffer and the interface that receives them. Events are emitted per partition, per
// drain and per call that does not take its batch, and at most two each time a partition is full, never per write; a
// buffer without a hook measures nothing.
//
//     struct lag_gauge : tidefall::telemetry_hook {
//         void on_processing_stop(tidefall::processing_stop const& event) override { gauge.set(event.duration); }
//     };
//     tidefall::queue<span> spans({.telemetry = std::make_shared<lag_gauge>()}, processor);
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/results.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0 {

/// How a partition came to its end.
enum class stop_reason : std::uint8_t {
    stopped,   ///< everything had an outcome
    deadline,  ///< the deadline of `stop` passed before that
};

/// A partition started.
struct partition_start {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::system_clock::time_point system_time = {};
};

/// A partition stopped.
struct partition_stop {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::nanoseconds duration = {};  ///< since its start
    stop_reason reason = stop_reason::stopped;
    std::string_view note = {};  ///< what `stop(within, note)` was given
};

/// The processing of a drained table begins.
struct processing_start {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::system_clock::time_point system_time = {};
    std::chrono::steady_clock::time_point monotonic_time = {};
    std::size_t size = 0;  ///< values in the table
    drain_trigger trigger = drain_trigger::interval;
};

/// The processing of a drained table ended, whatever became of its batches.
struct processing_stop {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::nanoseconds duration = {};
    std::chrono::steady_clock::time_point monotonic_time = {};
    std::size_t size = 0;  ///< values in the table
};

/// A call of the processor threw, or the sorting or gathering before it. `processing_failed` follows.
struct processing_exception {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::nanoseconds duration = {};  ///< of the call
    std::chrono::steady_clock::time_point monotonic_time = {};
    std::exception_ptr error = {};
    std::string_view message = {};  ///< `what()`, or a fixed text for what is no std::exception
    std::size_t size = 0;           ///< values in the batch
};

/// Values were lost, by an exception, a timeout, or since the processor rejected them.
struct processing_failed {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::system_clock::time_point system_time = {};
    failure_reason reason = failure_reason::exception;
    std::size_t size = 0;  ///< the values of the batch that are lost
};

/// A call of the processor was over and some of its batch, or all, is to be offered again.
struct batch_retried {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::system_clock::time_point system_time = {};
    std::exception_ptr error = {};        ///< what the processor gave as the reason; may be null
    std::size_t size = 0;                 ///< the values that are
    std::size_t attempt = 1;              ///< that was over, from 1
    std::chrono::nanoseconds delay = {};  ///< until the next one, unless the buffer closes before
};

/// Values that were not delivered went to a spill file (decorators.hpp).
struct values_spilled {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::exception_ptr error = {};  ///< why they were not delivered; may be null
    std::size_t size = 0;
};

/// Values of a spill file were delivered, and left it.
struct values_replayed {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::size_t size = 0;
};

/// Values were dropped: by overflow (summed, at the next drain) or at the deadline of `stop`.
struct items_dropped {
    std::string_view buffer = {};
    std::size_t partition = 0;
    failure_reason reason = failure_reason::stopped;
    std::size_t size = 0;
};

/// A write found no room in its partition: the first since a swap made some, whatever becomes of it. One that `block`
/// has wait tells before it waits, one that `drop_oldest` accepts tells as well; one that only changes a key which a
/// map holds needs no room. Told on the writer's thread, once: a partition stays full until `partition_room`, though an
/// erasure or an update of the options make room before.
struct partition_full {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::system_clock::time_point system_time = {};
    std::size_t size = 0;  ///< values that wait in the partition
};

/// A swap made room in a partition of which `partition_full` was told. Each of those has one of these, before
/// `processing_start` of what was swapped out; where a stop passes its deadline without a swap, before
/// `partition_stop`. The two may come from different threads, and so the second before the first has returned.
struct partition_room {
    std::string_view buffer = {};
    std::size_t partition = 0;
    std::chrono::nanoseconds duration = {};  ///< from the write that found no room
    std::uint64_t refused = 0;               ///< values answered `full` meanwhile; not those answered `stale`
};

/// Receives the events of one or more buffers: override what you want to see. No lock is held during a call.
///
/// Thread safety: called from several threads at once, for one partition too. What a call throws is swallowed and
/// counted in `buffer_stats::hook_failures`. It may write to any buffer; `flush` and `stop` of the buffer whose
/// event it is throw `std::system_error`. Views in an event are valid during the call.
class telemetry_hook {
public:
    telemetry_hook() = default;
    telemetry_hook(telemetry_hook const&) = delete;
    telemetry_hook& operator=(telemetry_hook const&) = delete;
    virtual ~telemetry_hook() = default;

    virtual void on_partition_start(partition_start const&) {}
    virtual void on_partition_stop(partition_stop const&) {}
    virtual void on_processing_start(processing_start const&) {}
    virtual void on_processing_stop(processing_stop const&) {}
    virtual void on_processing_exception(processing_exception const&) {}
    virtual void on_processing_failed(processing_failed const&) {}
    virtual void on_items_dropped(items_dropped const&) {}
    virtual void on_batch_retried(batch_retried const&) {}
    virtual void on_values_spilled(values_spilled const&) {}
    virtual void on_values_replayed(values_replayed const&) {}
    virtual void on_partition_full(partition_full const&) {}
    virtual void on_partition_room(partition_room const&) {}
};

namespace detail {

class combined_hook final : public telemetry_hook {
public:
    explicit combined_hook(std::vector<std::shared_ptr<telemetry_hook>> hooks) : hooks_(std::move(hooks)) {}

    void on_partition_start(partition_start const& e) override { all(&telemetry_hook::on_partition_start, e); }
    void on_partition_stop(partition_stop const& e) override { all(&telemetry_hook::on_partition_stop, e); }
    void on_processing_start(processing_start const& e) override { all(&telemetry_hook::on_processing_start, e); }
    void on_processing_stop(processing_stop const& e) override { all(&telemetry_hook::on_processing_stop, e); }
    void on_processing_exception(processing_exception const& e) override {
        all(&telemetry_hook::on_processing_exception, e);
    }
    void on_processing_failed(processing_failed const& e) override { all(&telemetry_hook::on_processing_failed, e); }
    void on_items_dropped(items_dropped const& e) override { all(&telemetry_hook::on_items_dropped, e); }
    void on_batch_retried(batch_retried const& e) override { all(&telemetry_hook::on_batch_retried, e); }
    void on_values_spilled(values_spilled const& e) override { all(&telemetry_hook::on_values_spilled, e); }
    void on_values_replayed(values_replayed const& e) override { all(&telemetry_hook::on_values_replayed, e); }
    void on_partition_full(partition_full const& e) override { all(&telemetry_hook::on_partition_full, e); }
    void on_partition_room(partition_room const& e) override { all(&telemetry_hook::on_partition_room, e); }

private:
    /// One hook that throws does not keep the event from the others; the first exception is passed on.
    template <typename Event>
    void all(void (telemetry_hook::*on)(Event const&), Event const& event) {
        std::exception_ptr first;
        for (auto const& hook : hooks_) {
            if (!hook) continue;
            auto error = thrown_by([&] { ((*hook).*on)(event); });
            if (error && !first) first = error;
        }
        if (first) std::rethrow_exception(first);
    }

    std::vector<std::shared_ptr<telemetry_hook>> hooks_;
};

}  // namespace detail

/// Makes one hook of several, called in this order. Empty pointers are left out.
template <typename... Hooks>
    requires(std::is_convertible_v<Hooks, std::shared_ptr<telemetry_hook>>&&...)
std::shared_ptr<telemetry_hook> combine(Hooks... hooks) {
    return std::make_shared<detail::combined_hook>(
        std::vector<std::shared_ptr<telemetry_hook>>{std::shared_ptr<telemetry_hook>(std::move(hooks))...});
}

}  // namespace tidefall::inline v0
