// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <functional>
#include <utility>

namespace tidefall::inline v0::detail {

/// A table that knows the weight of what waits in it: `Weight(value)`, added up where the values are counted.
template <typename Base, auto Weight>
class weighed_table : public Base {
public:
    using typename Base::value_type;
    static constexpr bool coalesces = false;

    weighed_table() noexcept = default;
    weighed_table(weighed_table&& other) noexcept
        : Base(std::move(static_cast<Base&>(other))), weight_(std::exchange(other.weight_, 0)) {}
    weighed_table& operator=(weighed_table&& other) noexcept {
        static_cast<Base&>(*this) = std::move(static_cast<Base&>(other));
        weight_ = std::exchange(other.weight_, 0);
        return *this;
    }
    ~weighed_table() = default;

    friend void swap(weighed_table& a, weighed_table& b) noexcept {
        a.Base::swap(b);
        std::swap(a.weight_, b.weight_);
    }

    [[nodiscard]] static std::size_t weight_of(value_type const& value) {
        return static_cast<std::size_t>(std::invoke(Weight, value));
    }

    /// Of the values that were written and neither dropped nor swapped out.
    [[nodiscard]] std::size_t weight() const noexcept { return weight_; }

    /// Who inserts a value, or takes that back, says how much it weighs: it was weighed without the lock.
    void add_weight(std::size_t weight) noexcept { weight_ += weight; }
    void take_weight(std::size_t weight) noexcept { weight_ -= weight; }

    void clear() noexcept {
        Base::clear();
        weight_ = 0;
    }

private:
    std::size_t weight_ = 0;
};

}  // namespace tidefall::inline v0::detail
