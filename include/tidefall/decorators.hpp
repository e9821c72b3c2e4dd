// SPDX-License-Identifier: MIT
//
// Wrappers around a processor, for what the library itself does not do: deliver a batch a second time, keep what
// cannot be delivered, call one partition at a time. What they return is a processor again, so they compose:
//
//     tidefall::queue<event> events(
//         {.name = "events", .processing_timeout = 2min},
//         tidefall::with_spill(                                   // what five attempts did not deliver
//             tidefall::with_retry(
//                 [&](std::span<event const> batch) { sink.write(batch); },
//                 {.attempts = 5, .first_delay = 100ms, .max_delay = 10s}),
//             "events.spill",
//             [](event const& e, std::string& to) { to = e.to_json(); }));
//
// Inside out: what is on the inside is done first. `with_retry(serialised(f))` lets other partitions deliver while one
// waits for its next attempt; `serialised(with_retry(f))` makes them wait too.
//
// `with_retry` and `with_spill` hand on `std::span<V const>`, so that what is tried again, or spilled, is whole: the
// processor inside takes that, also with a std::stop_token, and cannot move values out. They do not work on whole
// tables; `serialised` takes and gives whatever its processor takes.
//
// All three take a copyable or a move-only processor. As any processor they are called for several partitions at once;
// what they add themselves is safe to be. A forced unwind (pthread_exit) is no failure: it is neither tried again nor
// spilled.
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/backoff.hpp>
#include <tidefall/detail/decorators/gate.hpp>
#include <tidefall/detail/decorators/spill_file.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/options.hpp>
#include <tidefall/spill.hpp>

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
#include <string_view>
#include <type_traits>
#include <utility>

namespace tidefall::inline v0 {

/// How `with_retry` waits between attempts: for so long, or until the token is stopped. Without std::stop_token in the
/// standard library it takes no token.
#if defined(__cpp_lib_jthread)
using retry_wait = std::function<void(std::chrono::nanoseconds, std::stop_token const&)>;
#else
using retry_wait = std::function<void(std::chrono::nanoseconds)>;
#endif

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
    /// wait lasts from (1 - jitter) times the delay up to the delay. 0 to 1; 0.5.
    double jitter = 0.5;

    /// Whether what was thrown is worth another attempt. None: whatever it is.
    std::function<bool(std::exception_ptr const&)> retry_if = {};

    /// Waits. None: blocks the worker, in real time, also on a `manual_runtime`; a stop of the token ends it at once.
    retry_wait wait = {};

    /// Draws for the jitter: evenly distributed, 0 or more, less than 1. None: numbers that differ from run to run.
    std::function<double()> random = {};
};

/// The options of `with_spill`.
struct spill_options {
    /// Syncs the file to its disk with each batch, where the system can, so that it survives the end of the system and
    /// not that of the process alone. Takes milliseconds a batch.
    bool sync = true;

    /// Is told how many values were spilled, and what the processor had thrown; nothing else tells, since they count as
    /// processed. May be called from several threads at once; what it throws is swallowed.
    std::function<void(std::size_t values, std::exception_ptr const& error)> on_spill = {};
};

namespace detail {

template <typename F, typename V>
inline constexpr bool takes_const_batch =
    takes_with_token<F, std::span<V const>> || std::is_invocable_v<F&, std::span<V const>>;

/// Calls a processor as the engine does.
template <typename F, typename V>
void call_with_batch(F& f, std::span<V const> batch, [[maybe_unused]] call_token const& token) {
    if constexpr (takes_with_token<F, std::span<V const>>)
        std::invoke(f, batch, token);
    else
        std::invoke(f, batch);
}

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

template <typename F>
class retrying {
public:
    template <typename G>
    retrying(G&& f, retry_options&& how)
        : f_(std::forward<G>(f)), how_(std::move(how)), random_(std::make_shared<jitter_source>()) {}

    template <typename V>
    void operator()(std::span<V> batch) {
        deliver<std::remove_const_t<V>>(batch, {});
    }
#if defined(__cpp_lib_jthread)
    template <typename V>
    void operator()(std::span<V> batch, std::stop_token token) {
        deliver<std::remove_const_t<V>>(batch, token);
    }
#endif

private:
    template <typename V>
    void deliver(std::span<V const> batch, call_token const& token) {
        static_assert(takes_const_batch<F, V>,
                      "with_retry: the processor must be callable as f(std::span<V const>), also with a "
                      "std::stop_token; V is the buffer's value_type");
        if constexpr (takes_const_batch<F, V>) {
            auto delay = static_cast<double>(how_.first_delay.count());
            for (std::size_t attempt = 1;; ++attempt, delay *= how_.factor) {
                auto const error = thrown_by([&] { call_with_batch<F, V>(f_, batch, token); });
                if (!error) return;
                if (attempt == how_.attempts || token.stop_requested() || (how_.retry_if && !how_.retry_if(error))) {
                    std::rethrow_exception(error);
                }
                wait(with_jitter(to_delay(delay, how_.max_delay)), token);
                if (token.stop_requested()) std::rethrow_exception(error);
            }
        }
    }

    [[nodiscard]] std::chrono::nanoseconds with_jitter(std::chrono::nanoseconds delay) const {
        if (!(how_.jitter > 0)) return delay;
        double const part = 1 - how_.jitter * (how_.random ? how_.random() : random_->draw());
        return to_delay(static_cast<double>(delay.count()) * part, delay);
    }

    void wait(std::chrono::nanoseconds delay, [[maybe_unused]] call_token const& token) const {
        if (!how_.wait) return wait_for(delay, token);
#if defined(__cpp_lib_jthread)
        how_.wait(delay, token);
#else
        how_.wait(delay);
#endif
    }

    F f_;
    retry_options how_;
    std::shared_ptr<jitter_source> random_;
};

template <typename F, typename Encode>
class spilling {
public:
    template <typename G, typename E>
    spilling(G&& f, std::shared_ptr<spill_file> file, E&& encode, spill_options&& how)
        : f_(std::forward<G>(f)),
          file_(std::move(file)),
          encode_(std::forward<E>(encode)),
          on_spill_(std::move(how.on_spill)) {}

    template <typename V>
    void operator()(std::span<V> batch) {
        deliver<std::remove_const_t<V>>(batch, {});
    }
#if defined(__cpp_lib_jthread)
    template <typename V>
    void operator()(std::span<V> batch, std::stop_token token) {
        deliver<std::remove_const_t<V>>(batch, token);
    }
#endif

private:
    template <typename V>
    static constexpr bool appends = std::is_invocable_v<Encode&, V const&, std::string&>;
    template <typename V>
    static constexpr bool returns = std::is_invocable_r_v<std::string_view, Encode&, V const&>;

    template <typename V>
    void deliver(std::span<V const> batch, call_token const& token) {
        static_assert(takes_const_batch<F, V>,
                      "with_spill: the processor must be callable as f(std::span<V const>), also with a "
                      "std::stop_token; V is the buffer's value_type");
        static_assert(appends<V> || returns<V>,
                      "with_spill: the encoding must be callable as encode(V const&, std::string& to), or as "
                      "encode(V const&) that returns a std::string; V is the buffer's value_type");
        if constexpr (takes_const_batch<F, V> && (appends<V> || returns<V>)) {
            auto const error = thrown_by([&] { call_with_batch<F, V>(f_, batch, token); });
            if (!error) return;
            spill(batch, error);
            if (on_spill_) static_cast<void>(thrown_by([&] { on_spill_(batch.size(), error); }));
        }
    }

    template <typename V>
    void spill(std::span<V const> batch, std::exception_ptr const& error) {
        auto const what = "cannot take " + std::to_string(batch.size()) + " values that were not delivered";
        spill_records records;
        std::string one;
        auto const fault = thrown_by([&] {
            for (V const& value : batch) {
                one.clear();
                if constexpr (appends<V>) {
                    std::invoke(encode_, value, one);
                } else {
                    auto&& encoded = std::invoke(encode_, value);
                    one = std::string_view(encoded);
                }
                if (one.size() > spill_records::max_payload) {
                    throw std::length_error("a record of " + std::to_string(one.size()) + " bytes, 4 GiB or more");
                }
                records.add(one);
            }
        });
        if (fault) throw spill_error(file_->path(), what + ": the encoding threw: " + message_of(fault), error);
        if (auto const reason = file_->append(records)) throw spill_error(file_->path(), what, reason, error);
    }

    static std::string message_of(std::exception_ptr const& error) {
        try {
            std::rethrow_exception(error);
        } catch (std::exception const& known) {
            return known.what();
        } catch (...) {
            return "something that is no std::exception";
        }
    }

    F f_;
    std::shared_ptr<spill_file> file_;
    Encode encode_;
    std::function<void(std::size_t, std::exception_ptr const&)> on_spill_;
};

template <typename F>
class serialising {
public:
    template <typename G>
    explicit serialising(G&& f, std::shared_ptr<gate> one_at_a_time)
        : f_(std::forward<G>(f)), gate_(std::move(one_at_a_time)) {}

    /// Callable with what the processor is callable with, and with nothing else.
    template <typename... Arguments, typename = std::enable_if_t<std::is_invocable_v<F&, Arguments...>>>
    void operator()(Arguments&&... arguments) {
        gate::pass const through(*gate_);
        std::invoke(f_, std::forward<Arguments>(arguments)...);
    }

private:
    F f_;
    std::shared_ptr<gate> gate_;
};

}  // namespace detail

/// Calls `processor(std::span<V const>[, std::stop_token])` up to `attempts` times for a batch, until a call does not
/// throw; what the last one threw is thrown on, so that `undelivered` and telemetry see it. The values are whole each
/// time; a processor that took a part of the batch before it threw gets that part again.
///
/// Once the token is stopped there is no further attempt, and a wait ends: `processing_timeout` is for all attempts and
/// waits of a batch together, and so is the deadline of `stop`. The partition, and a worker, are busy all the while.
///
/// Throws `invalid_options`, and `std::invalid_argument` for an empty processor.
template <typename Processor>
auto with_retry(Processor&& processor, retry_options how = {}) {
    detail::validate(how);
    static_assert(std::is_constructible_v<std::decay_t<Processor>, Processor>,
                  "with_retry: the processor cannot be copied: give a move-only callable with std::move");
    detail::require_callable(processor, "with_retry's processor");
    return detail::retrying<std::decay_t<Processor>>(std::forward<Processor>(processor), std::move(how));
}

/// Calls `processor(std::span<V const>[, std::stop_token])`; where that throws, appends the values of the batch to the
/// file at `path`, all of them or none, and returns: they count as processed. spill.hpp has the format, and how to read
/// them back. A crash in between leaves a part of them at most.
///
/// `encode` makes a record of a value, in one of two forms: `encode(V const&, std::string& to)`, where `to` is empty,
/// or `encode(V const&)`, which returns what converts to `std::string_view`. Any bytes will do, none too. It is called
/// for several partitions at once, under no lock.
///
/// Where values cannot be spilled either (the disk is full, the encoding throws), the call throws `spill_error`, which
/// names the file and the reason and holds what the processor threw: then they count as failed and go to `undelivered`,
/// the file is as it was, and the next batch tries anew. A call that timed out has failed whatever follows: what it
/// spills, `undelivered` receives as well.
///
/// Opens the file, or makes it with mode 0600, and cuts off what a crash tore at its end, in time that is linear in the
/// file's size. Throws `spill_error` where that is not possible, the file is in use, in this process or another (where
/// the system has flock), is a symbolic link, or is no spill file, and `std::invalid_argument` for an empty processor
/// or encoding. Copies share the file, which is closed with the last one. In a child that is forked off meanwhile it
/// stays the parent's: nothing is spilled there, and the parent's end does not wait for the child's.
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
    auto file = std::make_shared<detail::spill_file>(path, how.sync);
    return detail::spilling<std::decay_t<Processor>, std::decay_t<Encode>>(
        std::forward<Processor>(processor), std::move(file), std::forward<Encode>(encode), std::move(how));
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
