// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/results.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// What a `batch_result` says of each value of its batch.
class batch_verdict {
public:
    enum class of_value : std::uint8_t { taken, rejected, refused, gone };

    batch_verdict() = default;

    /// Throws std::out_of_range for an index beyond the batch.
    batch_verdict(batch_result const& result, std::size_t size) {
        of_each_.resize(size);
        mark(result_access::rejected(result), of_value::rejected);
        for (auto i = result_access::rejected_from(result); i < size; ++i) of_each_[i] = of_value::rejected;
        mark(result_access::refused(result), of_value::refused);
    }

    [[nodiscard]] std::size_t count(of_value which) const noexcept {
        return static_cast<std::size_t>(std::count(of_each_.begin(), of_each_.end(), which));
    }
    [[nodiscard]] of_value operator[](std::size_t index) const noexcept { return of_each_[index]; }
    [[nodiscard]] std::size_t size() const noexcept { return of_each_.size(); }

    void set(std::size_t index, of_value to) noexcept { of_each_[index] = to; }

    /// What was rejected is not offered again.
    void refuse_rejected() noexcept {
        std::replace(of_each_.begin(), of_each_.end(), of_value::rejected, of_value::refused);
    }

private:
    void mark(result_access::indices const& at, of_value to) {
        for (auto const index : at) {
            if (index >= of_each_.size()) {
                throw std::out_of_range("tidefall: a batch_result names the value " + std::to_string(index) +
                                        " of a batch of " + std::to_string(of_each_.size()) + ", counted from 0");
            }
            of_each_[index] = to;
        }
    }

    std::vector<of_value> of_each_;
};

/// The values of a batch that was taken in part. They are destroyed, or moved, one by one; those that have gone have no
/// object in their place.
template <typename V>
class batch_parts {
public:
    using of_value = batch_verdict::of_value;

    batch_parts(std::span<V> batch, batch_verdict& verdict) noexcept : batch_(batch), verdict_(verdict) {
        assert(batch.size() == verdict.size());
    }

    void destroy(of_value which) noexcept {
        for (std::size_t i = 0; i < batch_.size(); ++i) {
            if (verdict_[i] == which) destroy_at(i);
        }
    }

    /// Moves those of that kind side by side and hands them out, for the caller to destroy; all others have gone. Where
    /// a move throws, all are still where `take_run` finds them.
    std::span<V> gather(of_value which) {
        std::size_t const first = find(which);
        std::size_t end = first;
        for (std::size_t i = first; i < batch_.size(); ++i) {
            if (verdict_[i] != which) continue;
            if (i != end) {
                std::construct_at(batch_.data() + end, std::move(batch_[i]));
                verdict_.set(end, which);
                destroy_at(i);
            }
            ++end;
        }
        return hand_out(first, end);
    }

    /// The next values of that kind which lie side by side, for the caller to destroy; empty if there are none.
    std::span<V> take_run(of_value which) noexcept {
        std::size_t const first = find(which);
        std::size_t end = first;
        while (end < batch_.size() && verdict_[end] == which) ++end;
        return hand_out(first, end);
    }

private:
    [[nodiscard]] std::size_t find(of_value which) const noexcept {
        std::size_t at = 0;
        while (at < batch_.size() && verdict_[at] != which) ++at;
        return at;
    }

    void destroy_at(std::size_t index) noexcept {
        std::destroy_at(batch_.data() + index);
        verdict_.set(index, of_value::gone);
    }

    std::span<V> hand_out(std::size_t first, std::size_t end) noexcept {
        for (auto i = first; i < end; ++i) verdict_.set(i, of_value::gone);
        return batch_.subspan(first, end - first);
    }

    std::span<V> const batch_;
    batch_verdict& verdict_;
};

}  // namespace tidefall::inline v0::detail
