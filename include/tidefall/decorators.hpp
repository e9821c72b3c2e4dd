// SPDX-License-Identifier: MIT
//
// Wrappers around a processor, for what the library itself does not do: deliver a batch a second time, keep what
// cannot be delivered and deliver it later, find the value that a sink cannot take, have a connection for each
// partition, call one partition at a time. What they return is a processor again, so they compose:
//
//     auto spill = tidefall::open_spill<event>("events.spill", encode, decode);
//     tidefall::queue<event> events(
//         {.name = "events"},
//         tidefall::with_spill(                                   // what five attempts did not deliver
//             tidefall::with_retry(
//                 [&](std::span<event const> batch) { sink.write(batch); },
//                 {.attempts = 5, .first_delay = 100ms, .max_delay = 10s}),
//             spill),
//         spill->undelivered());                                  // and what no attempt was left for
//
// Inside out: what is on the inside is done first.
//
// `with_retry`, `with_spill` and `with_split` hand on `std::span<V const>`, so that what is tried again, or spilled, is
// whole: the processor inside takes that, also with a batch_info const& and a std::stop_token, and cannot move values
// out. They work neither on whole tables nor on an `async_batch`; `per_partition` and `serialised` take and give
// whatever their processors take. With an `async_batch` the calls of `serialised` take turns, not the batches.
//
// All take a copyable or a move-only processor. As any processor they are called for several partitions at once; what
// they add themselves is safe to be. A forced unwind (pthread_exit) is no failure: it is neither tried again nor
// spilled. A wrapper of your own hands the batch_info on.
#pragma once

#include <tidefall/detail/decorators/partitioned.hpp>
#include <tidefall/detail/decorators/retrying.hpp>
#include <tidefall/detail/decorators/serialising.hpp>
#include <tidefall/detail/decorators/spilling.hpp>
#include <tidefall/detail/decorators/splitting.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/open_spill.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// The options of `with_retry`. Those that are functions may be called from several threads at once; what they throw
/// ends the call as if the processor had thrown it.
struct retry_options {
    /// Calls of the processor for one batch, the first one too. At least 1; 3.
    std::size_t attempts = 3;

    /// Between the first attempt and the second. 0 or more; 100 ms.
    std::chrono::nanoseconds first_delay = std::chrono::milliseconds(100);

    /// Each delay is so many times the one before. A finite number, at least 1; 2.
    double factor = 2;

    /// No delay is longer. At least `first_delay`; 10 s.
    std::chrono::nanoseconds max_delay = std::chrono::seconds(10);

    /// The part of each delay that is left to chance, so that those that failed together do not come back together: a
    /// delay lasts from (1 - jitter) times what it would be up to that. 0 to 1; 0.5.
    double jitter = 0.5;

    /// Whether what was thrown, or was given to `batch_result::because`, is worth another attempt. Not asked where a
    /// result gives no reason. None: whatever it is.
    std::function<bool(std::exception_ptr const&)> retry_if = {};

    /// Draws for the jitter: evenly distributed, 0 or more, less than 1. None: numbers that differ from run to run.
    std::function<double()> random = {};
};

namespace detail {

inline void validate(retry_options const& how) {
    if (how.attempts == 0) throw invalid_options("with_retry.attempts", "0", "at least 1");
    require_not_negative("with_retry.first_delay", how.first_delay);
    if (how.max_delay < how.first_delay) {
        throw invalid_options("with_retry.max_delay", to_text(how.max_delay),
                              "at least first_delay, which is " + to_text(how.first_delay));
    }
    if (!std::isfinite(how.factor) || how.factor < 1) {
        throw invalid_options("with_retry.factor", std::to_string(how.factor), "a finite number, at least 1");
    }
    if (!(how.jitter >= 0 && how.jitter <= 1)) {
        throw invalid_options("with_retry.jitter", std::to_string(how.jitter), "0 to 1");
    }
}

}  // namespace detail

/// Calls `processor(std::span<V const>[, batch_info const&][, std::stop_token])` up to `attempts` times for a batch.
/// The whole is offered again where a call throws, and what it rejected where it returns a `batch_result`; a
/// `retry_after` in that replaces the delay, and counts as an attempt. What the last attempt throws is thrown on, so
/// that `undelivered` and telemetry see it. A processor that took a part of the batch before it threw gets that part
/// again.
///
/// Between attempts no worker waits, and no other buffer: the partition alone is busy, and without a `capacity` its
/// write tables grow meanwhile. `processing_timeout` is for each attempt by itself. A buffer that stops has what waits
/// offered at once, and each batch once more at most. A batch whose token was stopped is not offered again.
///
/// Throws `invalid_options`, and `std::invalid_argument` for an empty processor.
template <typename Processor>
auto with_retry(Processor&& processor, retry_options how = {}) {
    detail::validate(how);
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor>,
                  "with_retry: the processor cannot be copied: give a move-only callable with std::move");
    detail::require_callable(processor, "with_retry's processor");
    return detail::retrying<std::decay_t<Processor>, retry_options>(std::forward<Processor>(processor), std::move(how));
}

/// Calls `processor(std::span<V const>[, batch_info const&][, std::stop_token])`; where that throws, or rejects values
/// for good, appends them to the file at `path`, all of them or none, and returns: they count as processed. spill.hpp
/// has the format, and how to read them back. A crash in between leaves a part of them at most. `encode` and the file
/// are as in `open_spill`; copies share the file, which is closed with the last one.
///
/// Where values cannot be spilled either (the disk is full, the encoding throws), the call throws `spill_error`, which
/// names the file and the reason and holds what the processor threw: then they count as failed and go to `undelivered`,
/// the file is as it was, and the next batch tries anew. A call that timed out has failed, whatever follows: it spills
/// nothing. Once it has begun to write no timeout is declared.
///
/// While a batch is written, a lock keeps other partitions' spills waiting; deliveries go on.
template <typename Processor, typename Encode>
auto with_spill(Processor&& processor, std::filesystem::path const& path, Encode&& encode, spill_options how = {}) {
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor> &&
                      std::is_constructible_v<std::decay_t<Encode>, Encode>,
                  "with_spill: the processor or the encoding cannot be copied: give a move-only callable with "
                  "std::move");
    detail::require_callable(processor, "with_spill's processor");
    detail::require_callable(encode, "with_spill's encoding");
    using keeper = detail::spill_keeper<std::decay_t<Encode>>;
    keeper its(std::make_shared<detail::spill_file>(path, std::move(how)), std::forward<Encode>(encode));
    return detail::spilling<std::decay_t<Processor>, keeper>(std::forward<Processor>(processor), std::move(its));
}
/// The same, into a file that the buffer's `undelivered` shares: together they leave nothing undelivered but what the
/// file cannot take. No value is written twice. What the file holds goes back through `processor` by itself.
template <typename Processor, typename V>
auto with_spill(Processor&& processor, std::shared_ptr<spill<V>> into) {
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor>,
                  "with_spill: the processor cannot be copied: give a move-only callable with std::move");
    detail::require_callable(processor, "with_spill's processor");
    if (!into) throw std::invalid_argument("tidefall: with_spill's spill is null: open_spill makes one");
    using keeper = detail::spill_share<V>;
    return detail::spilling<std::decay_t<Processor>, keeper>(std::forward<Processor>(processor),
                                                             keeper(std::move(into)));
}

/// Calls `processor(std::span<V const>[, batch_info const&][, std::stop_token])`, which takes a batch whole or throws
/// and has taken nothing of it. Where `is_data_error(std::exception_ptr const&)` says of what it threw that it is a
/// fault of the data, the batch is halved, and the halves are delivered, and so on: a value that is not taken alone is
/// refused
/// (`batch_result::refuse`), all others are delivered once. One bad value of n costs 1 + 2 * ceil(log2 n) calls at
/// most, one after the other, with one `processing_timeout` for all.
///
/// Any other error, or a stopped token, rejects what is left of the batch: what was taken stays taken. So
/// `with_retry(with_split(f, …))` offers the rest again, and not the bad values.
///
/// Throws `std::invalid_argument` for an empty callable.
template <typename Processor, typename IsDataError>
auto with_split(Processor&& processor, IsDataError&& is_data_error) {
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor> &&
                      std::is_constructible_v<std::decay_t<IsDataError>, IsDataError>,
                  "with_split: a callable cannot be copied: give a move-only one with std::move");
    static_assert(std::is_invocable_r_v<bool, std::decay_t<IsDataError>&, std::exception_ptr const&>,
                  "with_split: the second callable must take a std::exception_ptr const& and return a bool");
    detail::require_callable(processor, "with_split's processor");
    detail::require_callable(is_data_error, "with_split's is_data_error");
    return detail::splitting<std::decay_t<Processor>, std::decay_t<IsDataError>>(
        std::forward<Processor>(processor), std::forward<IsDataError>(is_data_error));
}

/// Has a processor for each partition, which `make(std::size_t partition)` makes, on the worker, before its first
/// batch: a connection each, without a lock. Where `make` throws the batch has failed, and the next one tries again. A
/// processor may be of any form, and serves one call at a time, of an `async_batch` with others that are out: after a
/// call that was abandoned (`timeout_action`) `make` is called anew. `make` may be called for several partitions at
/// once. A copy, as for another buffer, makes processors of its own; each are destroyed with what made them, on
/// whatever thread.
///
/// Throws `std::invalid_argument` for an empty `make`.
template <typename Make>
auto per_partition(Make&& make) {
    static_assert(std::is_constructible_v<std::decay_t<Make>, Make>,
                  "per_partition: the callable cannot be copied: give a move-only one with std::move");
    static_assert(std::is_invocable_v<std::decay_t<Make>&, std::size_t>,
                  "per_partition: the callable must take a std::size_t, the partition, and return a processor");
    detail::require_callable(make, "per_partition's make");
    return detail::partitioned<std::decay_t<Make>>(std::in_place, std::forward<Make>(make));
}

/// Calls `processor`, of whatever form, for one partition at a time. Copies take turns with each other too, so copies
/// of one can serve several buffers that write to the same sink.
///
/// A call waits for its turn without a deadline, in no order; its wait counts towards `processing_timeout`, and a stop
/// of its token does not end it. So a call that hangs holds up all partitions. A call from inside the processor itself
/// (one that flushes another buffer with the same sink) throws `std::system_error` with
/// `resource_deadlock_would_occur`.
///
/// Throws `std::invalid_argument` for an empty processor.
template <typename Processor>
auto serialised(Processor&& processor) {
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor>,
                  "serialised: the processor cannot be copied: give a move-only callable with std::move");
    detail::require_callable(processor, "serialised's processor");
    return detail::serialising<std::decay_t<Processor>>(std::forward<Processor>(processor),
                                                        std::make_shared<detail::gate>());
}

}  // namespace tidefall::inline v0
