// SPDX-License-Identifier: MIT
//
// A batch that its processor ends when it likes: for sinks that answer by callback, a future or a coroutine.
//
//     tidefall::queue<event> events({.max_in_flight = 16}, [&](tidefall::async_batch<event> batch) {
//         auto const values = batch.values();
//         sink.send(values, [batch = std::move(batch)](std::error_code error) mutable {
//             error ? batch.fail(std::make_exception_ptr(std::system_error(error))) : batch.complete();
//         });
//     });
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/results.hpp>
#include <tidefall/version.hpp>

#include <cassert>
#include <exception>
#include <span>
#include <stdexcept>
#include <utility>

namespace tidefall::inline v0 {

/// Why a batch failed that was destroyed before anybody said what became of it.
class broken_batch : public std::logic_error {
public:
    broken_batch() : std::logic_error("tidefall: an async_batch was destroyed before it was completed") {}
};

namespace detail {

/// The engine's side of an `async_batch`. Each of the three ends the batch: one of them is called, once.
template <typename V>
class batch_that_is_out {
public:
    virtual void complete(batch_result&& result) noexcept = 0;
    virtual void fail(std::exception_ptr error) noexcept = 0;
    virtual void give_up() noexcept = 0;

    [[nodiscard]] virtual std::span<V> batch() const noexcept = 0;
    [[nodiscard]] virtual batch_info const& about() const noexcept = 0;
    [[nodiscard]] virtual stop_signal const& stops() const noexcept = 0;

protected:
    ~batch_that_is_out() = default;
};

}  // namespace detail

/// A batch, owned by whoever holds it, until it is completed or fails. A processor that takes one by value is called
/// with each batch, and may return before the outcome is known: then the batch is out. `options::max_in_flight` says
/// how many of a partition may be out at once. A batch that is out counts as a call that runs: for
/// `processing_timeout`, `flush`, `stop`, and the destructor of the buffer, which waits for it, but on a
/// `manual_runtime`.
///
/// Exactly one outcome counts, the first; a batch that is destroyed without one has failed with a `broken_batch`.
/// What becomes of the values then, events, `undelivered`, runs on the thread that says so, without locks. None of the
/// functions that end a batch blocks or throws, but for code of the user's that runs in them.
///
/// Where the processor throws after it has given the batch away, the batch goes on by itself, and the exception is told
/// as a `processing_exception` without values.
///
/// Thread safety: one thread at a time, as any value, but for the functions that end the batch: of several threads that
/// call one of these at once the first counts.
template <typename V>
class [[nodiscard]] async_batch {
public:
    /// Made by the engine.
    explicit async_batch(detail::batch_that_is_out<V>& of) noexcept : of_(&of) {}

    /// What was moved from holds no batch.
    async_batch(async_batch&& other) noexcept : of_(other.release()) {}
    async_batch& operator=(async_batch&& other) noexcept {
        if (this != &other) {
            end();
            of_.store(other.release(), std::memory_order_relaxed);
        }
        return *this;
    }
    ~async_batch() { end(); }

    /// The values, side by side, which may be moved out; empty where there is no batch. They are valid until it ends.
    [[nodiscard]] std::span<V> values() const noexcept {
        auto const* const held = get();
        return held == nullptr ? std::span<V>() : held->batch();
    }

    /// What the batch is about. It has not ended. Valid until it ends.
    [[nodiscard]] batch_info const& info() const noexcept {
        assert(get() != nullptr && "tidefall: this async_batch holds no batch");
        return get()->about();
    }

#if defined(__cpp_lib_jthread)
    /// Is stopped where the batch exceeds `processing_timeout`, or the deadline of `stop` passes. It has not ended.
    [[nodiscard]] detail::stop_token token() const {
        assert(get() != nullptr && "tidefall: this async_batch holds no batch");
        return get()->stops().token();
    }
#endif

    /// Everything was taken.
    void complete() noexcept {
        complete(batch_result{});
    }

    /// The same but for what `result` says, as a processor returns it: an index beyond the batch fails all of it, and
    /// `retry_after` counts from here on.
    void complete(batch_result result) noexcept {
        if (auto* const held = release()) held->complete(std::move(result));
    }

    /// Nothing was taken, as where a processor throws `error`. Null stands for a `broken_batch`.
    void fail(std::exception_ptr error) noexcept {
        if (auto* const held = release()) held->fail(std::move(error));
    }

private:
    // Relaxed: the batch is the thread's that gets it, as far as its values were; of those who end it one is the first.
    detail::batch_that_is_out<V>* get() const noexcept {
        return of_.load(std::memory_order_relaxed);
    }
    detail::batch_that_is_out<V>* release() noexcept {
        return of_.exchange(nullptr, std::memory_order_relaxed);
    }

    void end() noexcept {
        if (auto* const held = release()) held->give_up();
    }

    detail::atomic<detail::batch_that_is_out<V>*> of_;
};

}  // namespace tidefall::inline v0
