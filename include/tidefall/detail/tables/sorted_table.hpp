// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/tables/stable_sort.hpp>
#include <tidefall/queue_table.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

struct no_key {};

/// The storage of a queue that is sorted at the drain: values in the order of writing, then pointers to them in the
/// order of delivery. `Order` has a `key_type` (`no_key`: the values say how they sort) and
/// `less(T const&, key const&, T const&, key const&)`.
template <typename T, typename Order>
class sorted_table {
    using key = typename Order::key_type;
    static constexpr bool keyed = !std::is_same_v<key, no_key>;

    struct place {
        T* value;
        key const* its_key;
    };

public:
    using value_type = T;
    static constexpr bool coalesces = false;
    using delivered_table = queue_table<T>;

    sorted_table() noexcept = default;
    sorted_table(sorted_table&& other) noexcept { swap(other); }
    sorted_table& operator=(sorted_table&& other) noexcept {
        sorted_table(std::move(other)).swap(*this);
        return *this;
    }
    ~sorted_table() { clear(); }

    void swap(sorted_table& other) noexcept {
        values_.swap(other.values_);
        keys_.swap(other.keys_);
        places_.swap(other.places_);
        spare_.swap(other.spare_);
        delivered_.swap(other.delivered_);
        std::swap(sorted_left_, other.sorted_left_);
    }
    friend void swap(sorted_table& a, sorted_table& b) noexcept { a.swap(b); }

    [[nodiscard]] std::size_t size() const noexcept { return values_.size() + sorted_left_; }

    template <typename... Args>
    void emplace_back(Args&&... args) {
        values_.emplace_back(std::forward<Args>(args)...);
    }

    /// Nothing has changed if this throws.
    template <typename... Args>
    void emplace_keyed(key&& sorts_by, Args&&... args) {
        keys_.emplace_back(std::move(sorts_by));
        try {
            values_.emplace_back(std::forward<Args>(args)...);
        } catch (...) {
            keys_.pop_back();
            throw;
        }
    }

    /// Sorts. If it throws, the values are handed out as they were written.
    void prepare() {
        places_.clear();
        places_.reserve(values_.size());
        spare_.resize(values_.size());
        auto its_key = keys_.begin();
        for (T& value : values_) {
            if constexpr (keyed) {
                places_.push_back({std::addressof(value), std::addressof(*its_key)});
                ++its_key;
            } else {
                places_.push_back({std::addressof(value), &none});
            }
        }
        stable_sort(places_, spare_, [](place const& a, place const& b) {
            return Order::less(*a.value, *a.its_key, *b.value, *b.its_key);
        });
        sorted_left_ = places_.size();
        while (!values_.take(sorted_left_).empty()) {
        }  // from now on places_ says which values are left
    }

    [[nodiscard]] std::span<T> take(std::size_t most) noexcept {
        if (sorted_left_ == 0) return values_.take(most);
        if (!delivered_.empty()) {
            auto const run = delivered_.take(most);
            sorted_left_ -= run.size();
            return run;
        }
        T* const first = next();
        std::size_t count = 0;
        do {
            ++count;
            --sorted_left_;
        } while (count < most && sorted_left_ > 0 && next() == first + count);
        return {first, count};
    }

    /// All values in order, in a table of their own. After a throw, `take` hands out those that it holds too.
    [[nodiscard]] queue_table<T> deliver() {
        for (std::size_t left = sorted_left_; left > 0; --left) {
            T& value = *places_[places_.size() - left].value;
            delivered_.emplace_back(std::move(value));
            std::destroy_at(std::addressof(value));
        }
        sorted_left_ = 0;
        return std::move(delivered_);
    }

    void clear() noexcept {
        while (size() > 0) {
            auto const rest = take(size());
            std::destroy(rest.begin(), rest.end());
        }
        values_.clear();
        keys_.clear();
        places_.clear();
        delivered_.clear();
    }

    void shrink_to_fit() noexcept {
        values_.shrink_to_fit();
        keys_.shrink_to_fit();
        delivered_.shrink_to_fit();
        std::vector<place>().swap(places_);
        std::vector<place>().swap(spare_);
    }

private:
    static constexpr no_key none{};

    [[nodiscard]] T* next() const noexcept { return places_[places_.size() - sorted_left_].value; }

    queue_table<T> values_;
    queue_table<key> keys_;  ///< one a value, or none at all
    std::vector<place> places_;
    std::vector<place> spare_;
    queue_table<T> delivered_;
    std::size_t sorted_left_ = 0;  ///< values that were prepared and not taken
};

}  // namespace tidefall::inline v0::detail
