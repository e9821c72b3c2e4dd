// SPDX-License-Identifier: MIT
//
// The kinds of buffer: the type of each for values `T`, which have a number; how one is written to; where the value is
// in what it delivers.
#pragma once

#include "set_table.hpp"

#include <tidefall/hash_map.hpp>
#include <tidefall/queue.hpp>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace tests {

// ---- the types

template <typename T>
struct by_number {
    int operator()(T const& value) const { return number_of(value); }
};

template <typename T>
class custom_of : public set_buffer<T> {
public:
    template <typename Process, typename Undelivered = tidefall::discard_undelivered>
    custom_of(tidefall::options how, Process&& process, Undelivered&& undelivered = {})
        : set_buffer<T>(std::move(how), std::forward<Process>(process), std::forward<Undelivered>(undelivered), 4) {}
};

template <typename T>
using insertion_queue_of = tidefall::queue<T>;
template <typename T>
using producer_queue_of = tidefall::queue<T, tidefall::producer_order>;
template <typename T>
using sorted_queue_of = tidefall::queue<T, tidefall::sorted_by<by_number<T>{}>>;
template <typename T>
using map_of = tidefall::hash_map<int, T>;

// ---- to write

template <typename T, typename Order, typename... Tags>
tidefall::write_status write_to(tidefall::queue<T, Order>& to, T&& value, Tags const&... tags) {
    return to.push(std::move(value), tags...);
}
template <typename T, typename... Tags>
tidefall::write_status write_to(tidefall::hash_map<int, T>& to, T&& value, Tags const&... tags) {
    int const key = number_of(value);
    return to.put(key, std::move(value), tags...);
}
template <typename T, typename... Tags>
tidefall::write_status write_to(set_buffer<T>& to, T&& value, Tags const&... tags) {
    return to.insert(std::move(value), tags...);
}

template <typename T, typename Order>
std::size_t write_all_to(tidefall::queue<T, Order>& to, std::vector<T>&& values) {
    return to.push_range(std::move(values));
}
template <typename T>
std::size_t write_all_to(tidefall::hash_map<int, T>& to, std::vector<T>&& values) {
    std::vector<std::pair<int, T>> pairs;
    for (T& value : values) {
        int const key = number_of(value);
        pairs.emplace_back(key, std::move(value));
    }
    return to.put_all(std::move(pairs));
}
template <typename T>
std::size_t write_all_to(set_buffer<T>& to, std::vector<T>&& values) {
    std::size_t accepted = 0;
    for (T& value : values) accepted += to.insert(std::move(value)) == tidefall::write_status::accepted ? 1U : 0U;
    return accepted;
}

// ---- to read

/// What a processor in table mode receives.
template <typename Buffer>
struct whole_table {
    using type = typename Buffer::table_type;
};
template <typename T, typename Order>
struct whole_table<tidefall::queue<T, Order>> {
    using type = tidefall::queue_table<T>;
};

template <typename T>
T& value_in(T& delivered) {
    return delivered;
}
template <typename K, typename T>
T& value_in(tidefall::entry<K, T>& delivered) {
    return delivered.value;
}

/// The values in what was delivered, side by side; they are put back at the end.
template <typename V, typename T>
class values_of {
public:
    explicit values_of(std::span<V> delivered) : delivered_(delivered) {
        for (V& each : delivered_) values_.push_back(std::move(value_in(each)));
    }
    values_of(values_of const&) = delete;
    values_of& operator=(values_of const&) = delete;
    ~values_of() {
        for (std::size_t i = 0; i < values_.size(); ++i) value_in(delivered_[i]) = std::move(values_[i]);
    }
    std::span<T> get() { return values_; }

private:
    std::span<V> delivered_;
    std::vector<T> values_;
};
template <typename T>
class values_of<T, T> {
public:
    explicit values_of(std::span<T> delivered) : delivered_(delivered) {}
    std::span<T> get() { return delivered_; }

private:
    std::span<T> delivered_;
};

}  // namespace tests
