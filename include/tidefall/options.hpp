// SPDX-License-Identifier: MIT
//
// How a buffer is set up. Every option has a default that works; designated initialisers name what differs:
//
//     tidefall::queue<event> events({.name = "events", .processing_interval = 1s}, processor);
//
// `environment.hpp` has what the environment says.
#pragma once

#include <tidefall/detail/sync.hpp>
#include <tidefall/version.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0 {

class runtime;
class telemetry_hook;

/// The number of partitions, and of a runtime's workers, where none is given: one for each hardware thread, at
/// least 1.
inline std::size_t default_partitions() noexcept {
    return (std::max)(std::size_t{1}, std::size_t{std::thread::hardware_concurrency()});
}

/// The most partitions that a buffer can have.
inline constexpr std::size_t max_partitions = 65'536;

/// The most batches of a partition that can be out at once.
inline constexpr std::size_t max_batches_in_flight = 1'024;

/// What happens when a call of the processor exceeds `processing_timeout`. Either way its stop token is stopped and
/// the batch counts as failed.
enum class timeout_action : std::uint8_t {
    wait,  ///< the partition stays busy until the call returns
    /// The partition goes on with the next batch on a worker that takes the place of the busy one. At most as many
    /// calls are abandoned at a time as the runtime has workers; beyond that, where no thread can be started, and on a
    /// runtime without threads it acts as `wait`. `undelivered` receives the batch when the call returns. An
    /// `async_batch` that is out while no worker is in its call is abandoned on any runtime, `max_in_flight` of a
    /// partition at a time; `undelivered` receives it when it ends.
    abandon,
};

/// What a write does that finds its partition at its capacity.
enum class overflow_policy : std::uint8_t {
    block,        ///< wait for room, at most `overflow_timeout`
    reject,       ///< answer `full`
    drop_oldest,  ///< take the new value, hand the oldest to `undelivered`
};

/// What the destructor of a buffer does once its deadline passed and calls still run, whose tokens it has stopped.
enum class destruction_action : std::uint8_t {
    wait,   ///< wait for them to end, without a limit: no call outlives its buffer
    leave,  ///< return: what a processor captures must outlive its calls
};

/// What a buffer does with its first failure or drop where there is neither `undelivered` nor telemetry to hear of it.
enum class unheard_action : std::uint8_t {
    say_once,  ///< write one line to standard error, once
    ignore,    ///< nothing
};

/// The options of a buffer. Designated initialisers name them in the order in which they stand here, which is fixed;
/// any may be left out. A duration of `nanoseconds::max()` means never. They are checked as a whole, with
/// `invalid_options`, before the buffer starts a thread.
struct options {
    /// The label of telemetry and of thread names. Not empty.
    std::string name = "tidefall";

    /// Independent parts, each with its own write table and its own tick; the processor is called for several at
    /// once. 1 to 65,536. Default: the number of hardware threads.
    std::size_t partitions = default_partitions();

    /// How long a value waits at most for its swap. Above 0; 5 s. Can be updated.
    std::chrono::nanoseconds processing_interval = std::chrono::seconds(5);

    /// Values in one call of the processor. At least 1; 10. The largest `size_t` means all at once. Can be updated.
    std::size_t processing_batch_size = 10;

    /// What the values of one call of the processor weigh together at most; a heavier value is a batch by itself. Only
    /// with weights (`weighed_by`). None, or at least 1; none. Can be updated.
    std::optional<std::size_t> processing_batch_weight = {};

    /// Batches of one partition that may be out at once, where the processor takes an `async_batch`; other processors
    /// are called with one at a time. More than one gives up the order of completion, not that of handing out. 1 to
    /// 1,024; 1. Can be updated.
    std::size_t max_in_flight = 1;

    /// For one call of the processor. Above 0; 60 s. Can be updated.
    std::chrono::nanoseconds processing_timeout = std::chrono::seconds(60);

    /// What follows when a call exceeds it.
    tidefall::timeout_action timeout_action = tidefall::timeout_action::wait;

    /// Values in one partition that start a drain at once. None, or at least 1; none. Can be updated.
    std::optional<std::size_t> drain_threshold = {};

    /// The weight of the values in one partition that starts a drain at once. Only with weights. None, or at least 1;
    /// none. Can be updated.
    std::optional<std::size_t> drain_threshold_weight = {};

    /// Values that may wait in one partition's write table. None, or at least 1; none. Can be updated.
    std::optional<std::size_t> capacity = {};

    /// What the values that wait in one partition's write table may weigh. A value that would exceed it finds the
    /// partition full, unless that is empty. Only with weights. None, or at least 1; none. Can be updated.
    std::optional<std::size_t> capacity_weight = {};

    /// Values that may wait in the write tables of all partitions together, beside `capacity`. Where partitions have
    /// several stripes it is overshot by one value for each writer at the same time at most. None, or at least 1; none.
    /// Can be updated.
    std::optional<std::size_t> total_capacity = {};

    /// What a write to a full partition does. `drop_oldest` only with a capacity and on a queue in insertion order.
    overflow_policy overflow = overflow_policy::block;

    /// How long `overflow_policy::block` waits. 0 or more; 60 s. Can be updated.
    std::chrono::nanoseconds overflow_timeout = std::chrono::seconds(60);

    /// The deadline of `flush()` and `stop()` without an argument, and of the destructor. 0 or more; 60 s. Can be
    /// updated.
    std::chrono::nanoseconds shutdown_timeout = std::chrono::seconds(60);

    /// What the destructor does with calls that outstay its deadline.
    destruction_action calls_at_destruction = destruction_action::wait;

    /// What becomes of the news of a first failure or drop that nobody listens for.
    unheard_action unheard = unheard_action::say_once;

    /// Receives the buffer's events. None: nothing is measured.
    std::shared_ptr<telemetry_hook> telemetry = {};

    /// The threads that serve the buffer. None: the buffer has its own, min(partitions, default_partitions())
    /// workers.
    std::shared_ptr<tidefall::runtime> runtime = {};
};

/// Some of the options, to be laid over others: what it names replaces what is there, and everything else stays. Each
/// field of `options` is here, in the same order, which is that of designated initialisers. For a limit
/// that may be none, `std::optional<std::size_t>{}` takes it away; for `telemetry` and `runtime`, a null pointer does.
struct options_overlay {
    std::optional<std::string> name = {};
    std::optional<std::size_t> partitions = {};
    std::optional<std::chrono::nanoseconds> processing_interval = {};
    std::optional<std::size_t> processing_batch_size = {};
    std::optional<std::optional<std::size_t>> processing_batch_weight = {};
    std::optional<std::size_t> max_in_flight = {};
    std::optional<std::chrono::nanoseconds> processing_timeout = {};
    std::optional<tidefall::timeout_action> timeout_action = {};
    std::optional<std::optional<std::size_t>> drain_threshold = {};
    std::optional<std::optional<std::size_t>> drain_threshold_weight = {};
    std::optional<std::optional<std::size_t>> capacity = {};
    std::optional<std::optional<std::size_t>> capacity_weight = {};
    std::optional<std::optional<std::size_t>> total_capacity = {};
    std::optional<overflow_policy> overflow = {};
    std::optional<std::chrono::nanoseconds> overflow_timeout = {};
    std::optional<std::chrono::nanoseconds> shutdown_timeout = {};
    std::optional<destruction_action> calls_at_destruction = {};
    std::optional<unheard_action> unheard = {};
    std::optional<std::shared_ptr<telemetry_hook>> telemetry = {};
    std::optional<std::shared_ptr<tidefall::runtime>> runtime = {};
};

/// A partial update: what it names changes, all or nothing, and everything else stays. For a limit
/// that may be none, `std::optional<std::size_t>{}` takes it away.
struct options_update {
    std::optional<std::chrono::nanoseconds> processing_interval = {};
    std::optional<std::size_t> processing_batch_size = {};
    std::optional<std::optional<std::size_t>> processing_batch_weight = {};
    std::optional<std::size_t> max_in_flight = {};
    std::optional<std::chrono::nanoseconds> processing_timeout = {};
    std::optional<std::optional<std::size_t>> drain_threshold = {};
    std::optional<std::optional<std::size_t>> drain_threshold_weight = {};
    std::optional<std::optional<std::size_t>> capacity = {};
    std::optional<std::optional<std::size_t>> capacity_weight = {};
    std::optional<std::optional<std::size_t>> total_capacity = {};
    std::optional<std::chrono::nanoseconds> overflow_timeout = {};
    std::optional<std::chrono::nanoseconds> shutdown_timeout = {};
};

/// An option has a value that it cannot have. `what()` names the option, or the variable of the environment that it
/// came from, the value that it got and the rule; nothing was started or changed.
class invalid_options : public std::invalid_argument {
public:
    invalid_options(std::string_view option, std::string const& value, std::string_view rule)
        : std::invalid_argument("tidefall: option " + std::string(option) + " is " + value + ", but must be " +
                                std::string(rule)) {}

    /// With a text of its own.
    explicit invalid_options(std::string const& what) : std::invalid_argument(what) {}
};

namespace detail {

/// In the largest unit that says it exactly.
inline std::string to_text(std::chrono::nanoseconds value) {
    if (value == (std::chrono::nanoseconds::max)()) return "nanoseconds::max()";
    if (value == (std::chrono::nanoseconds::min)()) return "nanoseconds::min()";
    auto const count = value.count();
    if (count % 1'000'000'000 == 0) return std::to_string(count / 1'000'000'000) + "s";
    if (count % 1'000'000 == 0) return std::to_string(count / 1'000'000) + "ms";
    if (count % 1'000 == 0) return std::to_string(count / 1'000) + "us";
    return std::to_string(count) + "ns";
}

inline void require_at_least_one(std::string_view option, std::optional<std::size_t> value, std::string_view rule) {
    if (value && *value == 0) throw invalid_options(option, "0", rule);
}

inline void require_positive(std::string_view option, std::chrono::nanoseconds value) {
    if (value <= std::chrono::nanoseconds::zero()) throw invalid_options(option, to_text(value), "above 0");
}

inline void require_not_negative(std::string_view option, std::chrono::nanoseconds value) {
    if (value < std::chrono::nanoseconds::zero()) throw invalid_options(option, to_text(value), "0 or more");
}

inline void validate(options_update const& update) {
    if (update.processing_interval) require_positive("processing_interval", *update.processing_interval);
    require_at_least_one("processing_batch_size", update.processing_batch_size, "at least 1");
    if (update.max_in_flight && (*update.max_in_flight == 0 || *update.max_in_flight > max_batches_in_flight)) {
        throw invalid_options("max_in_flight", std::to_string(*update.max_in_flight), "1 to 1024");
    }
    if (update.processing_timeout) require_positive("processing_timeout", *update.processing_timeout);
    auto const limit = [](std::string_view option, std::optional<std::optional<std::size_t>> const& value) {
        require_at_least_one(option, value.value_or(std::nullopt), "none, or at least 1");
    };
    limit("processing_batch_weight", update.processing_batch_weight);
    limit("drain_threshold", update.drain_threshold);
    limit("drain_threshold_weight", update.drain_threshold_weight);
    limit("capacity", update.capacity);
    limit("capacity_weight", update.capacity_weight);
    limit("total_capacity", update.total_capacity);
    if (update.overflow_timeout) require_not_negative("overflow_timeout", *update.overflow_timeout);
    if (update.shutdown_timeout) require_not_negative("shutdown_timeout", *update.shutdown_timeout);
}

inline void validate_ranges(options const& all) {
    if (all.name.empty()) throw invalid_options("name", "empty", "a name");
    if (all.partitions == 0 || all.partitions > max_partitions) {
        throw invalid_options("partitions", std::to_string(all.partitions), "1 to 65536");
    }
    validate(options_update{
        .processing_interval = all.processing_interval,
        .processing_batch_size = all.processing_batch_size,
        .processing_batch_weight = all.processing_batch_weight,
        .max_in_flight = all.max_in_flight,
        .processing_timeout = all.processing_timeout,
        .drain_threshold = all.drain_threshold,
        .drain_threshold_weight = all.drain_threshold_weight,
        .capacity = all.capacity,
        .capacity_weight = all.capacity_weight,
        .total_capacity = all.total_capacity,
        .overflow_timeout = all.overflow_timeout,
        .shutdown_timeout = all.shutdown_timeout,
    });
    switch (all.timeout_action) {
        case timeout_action::wait:
        case timeout_action::abandon: break;
        default:
            throw invalid_options("timeout_action", std::to_string(static_cast<int>(all.timeout_action)),
                                  "wait or abandon");
    }
    switch (all.overflow) {
        case overflow_policy::block:
        case overflow_policy::reject:
        case overflow_policy::drop_oldest: break;
        default:
            throw invalid_options("overflow", std::to_string(static_cast<int>(all.overflow)),
                                  "block, reject or drop_oldest");
    }
    switch (all.calls_at_destruction) {
        case destruction_action::wait:
        case destruction_action::leave: break;
        default:
            throw invalid_options("calls_at_destruction", std::to_string(static_cast<int>(all.calls_at_destruction)),
                                  "wait or leave");
    }
    switch (all.unheard) {
        case unheard_action::say_once:
        case unheard_action::ignore: break;
        default: throw invalid_options("unheard", std::to_string(static_cast<int>(all.unheard)), "say_once or ignore");
    }
}

inline constexpr std::string_view overflow_without_capacity = "block or reject: there is no capacity";

/// False where `overflow` asks for a capacity and there is none.
inline bool goes_together(options const& all) noexcept {
    return all.overflow != overflow_policy::drop_oldest || all.capacity || all.capacity_weight || all.total_capacity;
}

/// For a buffer whose values have no weight. `Options` may be an update.
template <typename Options>
void require_no_weights(Options const& all) {
    auto const none = [](std::string_view option, auto const& value) {
        std::optional<std::size_t> given;
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, std::optional<std::size_t>>) {
            given = value;
        } else {
            given = value.value_or(std::nullopt);
        }
        if (given) throw invalid_options(option, std::to_string(*given), "none: the buffer's values have no weight");
    };
    none("processing_batch_weight", all.processing_batch_weight);
    none("drain_threshold_weight", all.drain_threshold_weight);
    none("capacity_weight", all.capacity_weight);
}

inline void validate_together(options const& all) {
    if (!goes_together(all)) throw invalid_options("overflow", "drop_oldest", overflow_without_capacity);
}

inline void validate(options const& all) {
    validate_ranges(all);
    validate_together(all);
}

}  // namespace detail
}  // namespace tidefall::inline v0
