// SPDX-License-Identifier: MIT
//
// Every kind of buffer behind one interface: what all of them promise is written once, as one function that is compiled
// once, and run for each kind as a test case of its own:
//
//     BUFFER_TEST_CASE("buffer: a value is processed", EVERY_BUFFER) {
//         tests::any_buffer items(kind, {.partitions = 1}, [](std::span<int>) {});
//         items.write(1);
//         CHECK(items.stop().processed == 1);
//     }
#pragma once

#include "catch.hpp"

#include <tidefall/options.hpp>
#include <tidefall/results.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tests {

/// A number, and something that lives as long as the value does.
struct parcel {
    int number = 0;
    std::shared_ptr<void> life = {};

    friend int& number_of(parcel& one) { return one.number; }
    friend int number_of(parcel const& one) { return one.number; }
};

/// Any of the forms of a processor, `says(batch, info)` among them, which returns a `batch_result`. In table mode it
/// receives the values of the table.
template <typename T>
struct processor_of {
    template <typename F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, processor_of>)
    processor_of(F&& f) {  // NOLINT(google-explicit-constructor)
        using callable = std::remove_cvref_t<F>;
        if constexpr (std::is_invocable_v<callable&, std::span<T>, tidefall::batch_info const&>) {
            full = [its = std::forward<F>(f)](std::span<T> batch, tidefall::batch_info const& info,
                                              std::stop_token const&) mutable { return its(batch, info); };
        } else if constexpr (std::is_invocable_v<callable&, std::span<T>, std::stop_token>) {
            full = [its = std::forward<F>(f)](std::span<T> batch, tidefall::batch_info const&,
                                              std::stop_token token) mutable {
                its(batch, std::move(token));
                return tidefall::batch_result();
            };
        } else if constexpr (std::is_invocable_v<callable&, std::span<T>>) {
            plain = std::forward<F>(f);
        } else {
            whole = std::forward<F>(f);
        }
    }

    std::function<tidefall::batch_result(std::span<T>, tidefall::batch_info const&, std::stop_token)> full;
    std::function<void(std::span<T>)> plain;
    std::function<void(std::vector<T>)> whole;
};

template <typename T>
using undelivered_of = std::function<void(std::span<T>, tidefall::failure const&)>;

/// What a buffer of values `T` can do, whichever it is.
template <typename T>
class buffer_interface {
public:
    buffer_interface() = default;
    buffer_interface(buffer_interface const&) = delete;
    buffer_interface& operator=(buffer_interface const&) = delete;
    virtual ~buffer_interface() = default;

    virtual tidefall::write_status write(T value) = 0;
    virtual tidefall::write_status write(T value, int partition_key) = 0;
    virtual std::size_t write_all(std::vector<T> values) = 0;
    virtual std::string const& name() const = 0;
    virtual std::size_t partitions() const = 0;
    virtual std::size_t size() const = 0;
    virtual std::size_t size(std::size_t partition) const = 0;
    virtual tidefall::buffer_stats stats() const = 0;
    virtual void update_options(tidefall::options_update const& update) = 0;
    virtual tidefall::drain_report flush() = 0;
    virtual tidefall::drain_report flush(std::chrono::nanoseconds within) = 0;
    virtual tidefall::drain_report stop() = 0;
    virtual tidefall::drain_report stop(std::chrono::nanoseconds within) = 0;
};

template <typename T>
using buffer_maker = std::unique_ptr<buffer_interface<T>> (*)(tidefall::options, processor_of<T>, undelivered_of<T>);

/// One kind of buffer, and what it promises beyond the rest. Values of one number may become one value: where each
/// write is to count, a test numbers its writes.
struct buffer_kind {
    /// What one thread writes to a partition, the smallest number first, is delivered in that order.
    bool in_order;
    buffer_maker<int> of_numbers;
    buffer_maker<parcel> of_parcels;

    /// Numbers in the order in which they came if that is promised, otherwise the smallest first.
    [[nodiscard]] std::vector<int> arranged(std::vector<int> numbers) const {
        if (!in_order) std::sort(numbers.begin(), numbers.end());
        return numbers;
    }
};

/// A buffer of any kind. Its batches are values `T`: of an entry, say, what was stored in it.
template <typename T>
class any_buffer_of {
public:
    any_buffer_of(buffer_kind const& kind, tidefall::options how, processor_of<T> process,
                  undelivered_of<T> undelivered = {}) {
        buffer_maker<T> made_by = nullptr;
        if constexpr (std::is_same_v<T, int>) {
            made_by = kind.of_numbers;
        } else {
            made_by = kind.of_parcels;
        }
        held_ = made_by(std::move(how), std::move(process), std::move(undelivered));
    }

    tidefall::write_status write(T value) { return held_->write(std::move(value)); }
    /// Routed by a partition key.
    tidefall::write_status write(T value, int partition_key) { return held_->write(std::move(value), partition_key); }
    /// All in one bulk write, where the kind has one; the number accepted.
    std::size_t write_all(std::vector<T> values) { return held_->write_all(std::move(values)); }
    std::string const& name() const { return held_->name(); }
    std::size_t partitions() const { return held_->partitions(); }
    std::size_t size() const { return held_->size(); }
    /// Of one partition.
    std::size_t size(std::size_t partition) const { return held_->size(partition); }
    tidefall::buffer_stats stats() const { return held_->stats(); }
    void update_options(tidefall::options_update const& update) { held_->update_options(update); }
    tidefall::drain_report flush() { return held_->flush(); }
    tidefall::drain_report flush(std::chrono::nanoseconds within) { return held_->flush(within); }
    tidefall::drain_report stop() { return held_->stop(); }
    tidefall::drain_report stop(std::chrono::nanoseconds within) { return held_->stop(within); }

private:
    std::unique_ptr<buffer_interface<T>> held_;
};
using any_buffer = any_buffer_of<int>;
using parcel_buffer = any_buffer_of<parcel>;

// The kinds. Their names are in the names of the test cases.

struct insertion_queue {
    static buffer_kind const kind;
};
struct producer_queue {  ///< in producer order: many stripes, one a thread
    static buffer_kind const kind;
};
struct sorted_queue {  ///< by the number
    static buffer_kind const kind;
};
struct map {  ///< from the number to the value: many stripes, one a key
    static buffer_kind const kind;
};
struct custom {  ///< a `set_buffer` of four stripes
    static buffer_kind const kind;
};

}  // namespace tests

#define EVERY_BUFFER tests::insertion_queue, tests::producer_queue, tests::sorted_queue, tests::map, tests::custom

/// A test case for each of the kinds named, which its body knows as `kind`. Their bodies are one function.
#define BUFFER_TEST_CASE(name, ...) BUFFER_TEST_CASE_AT(__LINE__, name, __VA_ARGS__)
#define BUFFER_TEST_CASE_AT(line, name, ...) BUFFER_TEST_CASE_BY(line, name, __VA_ARGS__)
#define BUFFER_TEST_CASE_BY(line, name, ...)                         \
    static void run_for_kind_##line(tests::buffer_kind const& kind); \
    TEMPLATE_TEST_CASE(name, "", __VA_ARGS__) {                      \
        run_for_kind_##line(TestType::kind);                         \
    }                                                                \
    static void run_for_kind_##line([[maybe_unused]] tests::buffer_kind const& kind)
