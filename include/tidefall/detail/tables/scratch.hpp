// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

/// Room for a batch that has to be gathered: grows only while empty, so values are never moved to make room.
template <typename T>
class scratch {
public:
    scratch() noexcept = default;
    /// What was handed out stays where it is.
    scratch(scratch&& other) noexcept
        : values_(std::exchange(other.values_, nullptr)),
          size_(std::exchange(other.size_, 0)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    scratch& operator=(scratch&& other) noexcept {
        std::swap(values_, other.values_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    ~scratch() {
        clear();
        shrink_to_fit();
    }

    /// Makes room for `count` values; the scratch is empty.
    void reserve(std::size_t count) {
        if (count <= capacity_) return;
        shrink_to_fit();
        values_ = std::allocator<T>().allocate(count);
        capacity_ = count;
    }

    void push_back(T&& value) {
        std::construct_at(values_ + size_, std::move(value));
        ++size_;
    }

    [[nodiscard]] std::span<T> values() const noexcept { return {values_, size_}; }

    /// Hands the values out: the caller destroys them before it comes back.
    std::span<T> release() noexcept { return {values_, std::exchange(size_, 0)}; }

    void clear() noexcept {
        std::destroy_n(values_, size_);
        size_ = 0;
    }

    /// Gives the memory back; the scratch is empty.
    void shrink_to_fit() noexcept {
        if (values_ != nullptr) std::allocator<T>().deallocate(values_, capacity_);
        values_ = nullptr;
        capacity_ = 0;
    }

private:
    T* values_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace tidefall::inline v0::detail
