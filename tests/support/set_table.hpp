// SPDX-License-Identifier: MIT
//
// A table of the tests' own, and a buffer over it: what a user of the extension point would write.
#pragma once

#include <tidefall/buffer.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace tests {

/// By what a value is told apart from others.
inline int& number_of(int& value) {
    return value;
}
inline int number_of(int const& value) {
    return value;
}

/// Values of distinct numbers, the smallest first. Of two with one number the first stays.
template <typename T>
class set_table {
public:
    using value_type = T;

    set_table() noexcept = default;
    set_table(set_table&& other) noexcept
        : values_(std::move(other.values_)), taken_(std::exchange(other.taken_, std::size_t{0})) {}
    set_table& operator=(set_table&& other) noexcept {
        values_.swap(other.values_);
        std::swap(taken_, other.taken_);
        return *this;
    }
    ~set_table() { clear(); }

    [[nodiscard]] std::size_t size() const noexcept { return values_.size() - taken_; }
    [[nodiscard]] std::span<T> take(std::size_t most) noexcept {
        auto const run = std::span(values_).subspan(taken_, std::min(most, size()));
        taken_ += run.size();
        return run;
    }
    void clear() noexcept {
        // What was taken has been destroyed, and a vector destroys what it holds.
        for (std::size_t i = 0; i < taken_; ++i) std::construct_at(&values_[i]);
        taken_ = 0;
        values_.clear();
    }
    void shrink_to_fit() noexcept {
        values_ = {};
        ++shrunk;
    }
    void absorb(set_table&& other) {
        values_.reserve(size() + other.size());
        for (T& value : other.values_) insert(std::move(value));
        other.clear();
    }

    bool insert(T&& value) {
        auto const at = std::lower_bound(values_.begin(), values_.end(), value,
                                         [](T const& a, T const& b) { return number_of(a) < number_of(b); });
        if (at != values_.end() && number_of(*at) == number_of(value)) return false;
        values_.insert(at, std::move(value));
        return true;
    }

    [[nodiscard]] auto begin() noexcept { return values_.begin(); }
    [[nodiscard]] auto end() noexcept { return values_.end(); }

    /// How often a table gave its memory back.
    static inline std::atomic<int> shrunk{0};

private:
    static_assert(std::is_nothrow_default_constructible_v<T> && std::is_nothrow_move_assignable_v<T>);

    std::vector<T> values_;
    std::size_t taken_ = 0;
};

/// A set in each stripe.
template <typename T>
class set_buffer : public tidefall::buffer<set_table<T>> {
public:
    using tidefall::buffer<set_table<T>>::buffer;

    tidefall::write_status insert(T value) { return insert(std::move(value), tidefall::partition_key{number(value)}); }

    template <typename Key>
    tidefall::write_status insert(T value, tidefall::partition_key<Key> const& routed_by) {
        return this->write(this->route_by(routed_by.key), [&](set_table<T>& table) {
            table.insert(std::move(value));
            return tidefall::write_status::accepted;
        });
    }

private:
    static int number(T const& value) { return number_of(value); }
};

}  // namespace tests
