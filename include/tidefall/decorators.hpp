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
// out. They do not work on whole tables; `per_partition` and `serialised` take and give whatever their processors take.
//
// All take a copyable or a move-only processor. As any processor they are called for several partitions at once; what
// they add themselves is safe to be. A forced unwind (pthread_exit) is no failure: it is neither tried again nor
// spilled. A wrapper of your own hands the batch_info on.
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/partitioned.hpp>
#include <tidefall/detail/decorators/retrying.hpp>
#include <tidefall/detail/decorators/serialising.hpp>
#include <tidefall/detail/decorators/spill_file.hpp>
#include <tidefall/detail/decorators/spilling.hpp>
#include <tidefall/detail/decorators/splitting.hpp>
#include <tidefall/detail/drain/processor.hpp>
#include <tidefall/options.hpp>
#include <tidefall/results.hpp>
#include <tidefall/spill.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

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

/// The options of a spill file.
struct spill_options {
    /// Syncs the file to its disk with each batch, where the system can, so that it survives the end of the system and
    /// not that of the process alone. Takes milliseconds a batch. What makes room for a newer value
    /// (`overflow_policy::drop_oldest`) is written without it, since a writer waits for that.
    bool sync = true;

    /// Is told how many values were spilled, and why they were not delivered, which may be null. May be called from
    /// several threads at once; what it throws is swallowed.
    std::function<void(std::size_t values, std::exception_ptr const& error)> on_spill = {};

    /// The file is never larger. Values that do not fit have failed. Any number; none is the default.
    std::uint64_t max_bytes = (std::numeric_limits<std::uint64_t>::max)();
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

template <typename V>
class spill_share;

}  // namespace detail

/// A spill file for values `V`, shared by those who write to it: `with_spill`, and the `undelivered` of one buffer or
/// several. Got from `open_spill`; the file is closed with the last of them.
///
/// Thread safety: everything may be called from several threads at once. Whatever touches the file blocks on it.
template <typename V>
class spill : public std::enable_shared_from_this<spill<V>> {
public:
    spill(spill const&) = delete;
    spill& operator=(spill const&) = delete;

    /// An `undelivered` for a buffer, which writes what it receives. Values that cannot be written are lost: the call
    /// throws `spill_error`, which counts in `buffer_stats::hook_failures`, and the first is told on standard error.
    [[nodiscard]] auto undelivered() {
        return [self = this->shared_from_this()](std::span<V> values, failure const& why) { self->keep(values, why); };
    }

    /// Offers what the file holds to `f`, a processor of any form that takes batches, `at_once` values at most in each,
    /// on this thread. A record leaves the file when its batch was taken; what a `batch_result` does not take stays.
    /// Returns how many left it so. Ends where a batch was not taken at all; what `f` throws passes. Does nothing while
    /// a batch is offered elsewhere. Throws `std::logic_error` for a spill without a `decode`, `std::system_error`
    /// where the file cannot be read.
    template <typename F>
    std::size_t replay(F&& f, std::size_t at_once = 512) {
        static_assert(detail::takes_const_batch<std::remove_reference_t<F>, V>,
                      "replay: the processor must be callable as f(std::span<V const>), also with a batch_info const& "
                      "and a std::stop_token");
        if (!decode_)
            throw std::logic_error("tidefall: spill file " + path().string() + " was opened without a decode");
        std::size_t total = 0;
        for (auto left = stats().records; left > 0;) {
            auto const most =
                static_cast<std::size_t>((std::min<std::uint64_t>)(left, (std::max)(at_once, std::size_t{1})));
            auto const one = offer(
                most,
                [&](std::span<V const> batch) {
                    return detail::call_inner<std::remove_reference_t<F>, V>(f, batch, batch_info{}, {});
                },
                nullptr);
            total += one.taken;
            if (one.records == 0 || (one.values > 0 && one.taken == 0)) break;
            left -= one.records;
        }
        return total;
    }

    [[nodiscard]] spill_stats stats() const noexcept { return file_.stats(); }
    [[nodiscard]] std::filesystem::path const& path() const noexcept { return file_.path(); }

private:
    template <typename T, typename Encode, typename Decode>
    friend std::shared_ptr<spill<T>> open_spill(std::filesystem::path const&, Encode&&, Decode&&, spill_options);
    template <typename T, typename Encode>
    friend std::shared_ptr<spill<T>> open_spill(std::filesystem::path const&, Encode&&, spill_options);
    friend class detail::spill_share<V>;

    /// What was offered together.
    struct offered {
        std::size_t records = 0;
        std::size_t values = 0;  ///< that could be made of them
        std::size_t taken = 0;
    };

    spill(std::filesystem::path const& path, std::function<void(V const&, std::string&, detail::spill_records&)> encode,
          std::function<V(std::string_view)> decode, spill_options&& how)
        : file_(path, how.sync, how.max_bytes),
          encode_(std::move(encode)),
          decode_(std::move(decode)),
          on_spill_(std::move(how.on_spill)),
          sync_(how.sync) {}

    void tell_spilled(std::size_t count, std::exception_ptr const& error) const {
        if (on_spill_) static_cast<void>(detail::thrown_by([&] { on_spill_(count, error); }));
    }

    void keep(std::span<V> values, failure const& why) {
        // What makes room does so on a writer's thread.
        auto const sync = why.reason == failure_reason::overflow ? detail::spill_sync::no : detail::spill_sync::yes;
        auto const fault = detail::thrown_by([&] {
            detail::write_spill(file_, values.size(), why.error, sync, [&](detail::spill_records& to) {
                std::string room;
                for (V const& value : values) encode_(value, room, to);
            });
        });
        if (fault) {
            if (!was_refused_before(why.error)) file_.count_refused(values.size());
            say_once(lost_said_, detail::message_of(fault), "They are lost; this line stands for all that follow.");
            std::rethrow_exception(fault);
        }
        if (why.news != nullptr) why.news->spilled(values.size(), why.error);
        tell_spilled(values.size(), why.error);
    }

    /// `with_spill` has tried, and counted them.
    [[nodiscard]] bool was_refused_before(std::exception_ptr const& error) const {
        try {
            if (error) std::rethrow_exception(error);
        } catch (spill_error const&) {
            return true;
        } catch (...) {
        }
        return false;
    }

    /// Offers the records of the front, so many at most. What `deliver` throws passes, and all stay.
    template <typename Deliver>
    offered offer(std::size_t most, Deliver&& deliver, detail::outcome_news* news) {
        using of_value = detail::batch_verdict::of_value;
        auto claim = file_.take_front(most);
        if (!claim) return {};
        std::vector<V> values;
        std::vector<std::string> good;
        std::vector<std::string> bad;
        std::exception_ptr fault;
        for (auto& payload : claim->payloads) {
            auto const thrown = detail::thrown_by([&] { values.push_back(decode_(payload)); });
            (thrown ? bad : good).push_back(std::move(payload));
            if (thrown) fault = thrown;
        }
        offered result{.records = claim->payloads.size(), .values = values.size()};
        batch_result said;
        if (!values.empty()) said = deliver(std::span<V const>(values));
        detail::batch_verdict const verdict(said, values.size());
        auto const refused = verdict.count(of_value::refused);
        result.taken = values.size() - verdict.count(of_value::rejected) - refused;
        // A sink that is away takes nothing. One that refuses some shall not refuse them before all others for ever.
        bool const is_all = result.records == stats().records;
        if (result.values > 0 && result.taken == 0 && (refused == 0 || is_all)) return result;
        detail::spill_records kept;
        for (std::size_t i = 0; i < verdict.size(); ++i) {
            if (verdict[i] != of_value::taken) kept.add(good[i]);
        }
        auto count = result.values - result.taken;
        if (!bad.empty() && !set_aside(bad, fault)) {
            for (auto const& one : bad) kept.add(one);
            count += bad.size();
        }
        if (file_.remove(std::move(*claim), kept, count, result.taken)) return {};  // they come once more
        if (news != nullptr && result.taken > 0) news->replayed(result.taken);
        return result;
    }

    /// Records that no value can be made of go to a file of their own. False where they cannot.
    bool set_aside(std::vector<std::string> const& payloads, std::exception_ptr const& fault) {
        auto aside = path();
        aside += ".undecodable";
        auto const error = detail::thrown_by([&] {
            if (!aside_) aside_.emplace(aside, sync_, (std::numeric_limits<std::uint64_t>::max)());
            detail::spill_records records;
            for (auto const& one : payloads) records.add(one);
            if (auto const reason = aside_->append(records, payloads.size(), detail::spill_sync::yes)) {
                throw spill_error(aside, "cannot be written", reason);
            }
        });
        if (error) return false;
        file_.count_undecodable(payloads.size());
        say_once(aside_said_, "decode threw: " + detail::message_of(fault),
                 "Records of " + path().string() + " that it throws on are set aside in " + aside.string() + ".");
        return true;
    }

    static void say_once(detail::atomic<bool>& said, std::string const& what, std::string const& more) {
        // Relaxed: one of those who come is the first.
        if (said.exchange(true, std::memory_order_relaxed)) return;
        std::fprintf(stderr, "tidefall: %s. %s\n", what.c_str(), more.c_str());
    }

    detail::spill_file file_;
    std::function<void(V const&, std::string&, detail::spill_records&)> const encode_;
    std::function<V(std::string_view)> const decode_;
    std::function<void(std::size_t, std::exception_ptr const&)> const on_spill_;
    bool const sync_;
    std::optional<detail::spill_file> aside_;  ///< touched by the one who has records of the front in his hands
    detail::atomic<bool> lost_said_{false};
    detail::atomic<bool> aside_said_{false};
};

namespace detail {

/// A spill that is shared, as `with_spill` uses it.
template <typename V>
class spill_share {
public:
    template <typename T>
    static constexpr bool encodes = std::is_same_v<T, V>;

    explicit spill_share(std::shared_ptr<spill<V>> one) noexcept : spill_(std::move(one)) {}

    [[nodiscard]] spill_file& file() const noexcept { return spill_->file_; }
    void encode(V const& value, std::string& room, spill_records& to) { spill_->encode_(value, room, to); }
    void tell_spilled(std::size_t count, std::exception_ptr const& error) const { spill_->tell_spilled(count, error); }

    [[nodiscard]] bool goes_back() const noexcept { return spill_->decode_ && spill_->stats().records > 0; }
    template <typename Deliver>
    void offer(std::size_t most, Deliver&& deliver, outcome_news* news) {
        spill_->offer(most, deliver, news);
    }

private:
    std::shared_ptr<spill<V>> spill_;
};

template <typename V, typename Encode>
std::function<void(V const&, std::string&, spill_records&)> erase_encoding(Encode&& encode) {
    using callable = std::decay_t<Encode>;
    static_assert(std::is_constructible_v<callable, Encode>,
                  "open_spill: the encoding cannot be copied: give a move-only callable with std::move");
    static_assert(encode_appends<callable, V> || encode_returns<callable, V>,
                  "open_spill: the encoding must be callable as encode(V const&, std::string& to), or as "
                  "encode(V const&) that returns a std::string");
    require_callable(encode, "open_spill's encoding");
    return [its = std::make_shared<callable>(std::forward<Encode>(encode))](
               V const& value, std::string& room, spill_records& to) { encode_record(*its, value, room, to); };
}

}  // namespace detail

/// Opens the file at `path` for what a buffer of values `V` does not deliver, or makes it. `decode` gives a value of a
/// record, and what the file holds, of this run or an earlier one, goes back through the processor of `with_spill` by
/// itself: after each batch that went through, one batch of the file follows, of as many values at most, or 64. It is a
/// call of its own, on the same worker, with a `processing_timeout` of its own; the batch before it has its outcome by
/// then. Its `batch_info::drain` is 0. A record leaves the file when its batch was taken: a crash in between delivers
/// some of them twice, and loses none. Whatever else the processor does with them, they stay, those behind the others
/// that it refuses.
///
/// A record that `decode` throws on is set aside, in a spill file with ".undecodable" behind the name, and the first is
/// told on standard error. Without a `decode` nothing goes back by itself: `set_aside_spill` and `read_spill` do it at
/// the next start.
///
/// `encode` makes a record of a value, in one of two forms: `encode(V const&, std::string& to)`, where `to` is empty,
/// or `encode(V const&)`, which returns what converts to `std::string_view`. Any bytes will do, none too. It is called
/// for several partitions at once, under no lock; `decode` by one thread at a time.
///
/// The file is made with mode 0600, and what a crash tore at its end is cut off, in time that is linear in its size.
/// Throws `spill_error` where that is not possible, the file is in use, in this process or another (where the system
/// has flock), is a symbolic link, or is no spill file, and `std::invalid_argument` for an empty callable. In a child
/// that is forked off meanwhile it stays the parent's: nothing is spilled there, and the parent's end does not wait for
/// the child's.
template <typename V, typename Encode, typename Decode>
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, Decode&& decode,
                                     spill_options how) {
    using callable = std::decay_t<Decode>;
    static_assert(std::is_constructible_v<callable, Decode>,
                  "open_spill: the decoding cannot be copied: give a move-only callable with std::move");
    static_assert(std::is_invocable_r_v<V, callable&, std::string_view>,
                  "open_spill: the decoding must be callable as decode(std::string_view), and return a V");
    detail::require_callable(decode, "open_spill's decoding");
    auto erased = [its = std::make_shared<callable>(std::forward<Decode>(decode))](std::string_view record) -> V {
        return std::invoke(*its, record);
    };
    return std::shared_ptr<spill<V>>(
        new spill<V>(path, detail::erase_encoding<V>(std::forward<Encode>(encode)), std::move(erased), std::move(how)));
}
/// The same with the default options.
template <typename V, typename Encode, typename Decode>
    requires(!std::is_same_v<std::decay_t<Decode>, spill_options>)
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, Decode&& decode) {
    return open_spill<V>(path, std::forward<Encode>(encode), std::forward<Decode>(decode), spill_options{});
}
/// The same without a way back.
template <typename V, typename Encode>
std::shared_ptr<spill<V>> open_spill(std::filesystem::path const& path, Encode&& encode, spill_options how = {}) {
    return std::shared_ptr<spill<V>>(
        new spill<V>(path, detail::erase_encoding<V>(std::forward<Encode>(encode)), nullptr, std::move(how)));
}

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
    keeper its(std::make_shared<detail::spill_file>(path, how.sync, how.max_bytes), std::forward<Encode>(encode),
               std::move(how.on_spill));
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
/// processor may be of any form, and serves one call at a time: after a call that was abandoned (`timeout_action`)
/// `make` is called anew. `make` may be called for several partitions at once; the processors are destroyed with the
/// last copy of this, on whatever thread.
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
