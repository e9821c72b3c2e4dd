// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/drain/call_services.hpp>
#include <tidefall/detail/tables/destroy_to_reuse.hpp>
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

namespace tidefall::inline v0::detail {

/// What a `batch_result` says of each value of its batch. It allocates nothing: what a processor took must not be lost
/// for want of memory.
class batch_verdict {
public:
    enum class of_value : std::uint8_t { taken, rejected, refused };

    /// Keeps to `result`, which it puts in order. Throws std::out_of_range for an index beyond the batch.
    batch_verdict(batch_result& result, std::size_t size)
        : rejected_(in_order(result_access::rejected(result), size)),
          refused_(in_order(result_access::refused(result), size)),
          rejected_from_(result_access::rejected_from(result)),
          size_(size) {}

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    [[nodiscard]] of_value operator[](std::size_t index) const noexcept {
        if (std::binary_search(refused_.begin(), refused_.end(), index)) return of_value::refused;
        bool const rejected = index >= rejected_from_ || std::binary_search(rejected_.begin(), rejected_.end(), index);
        return !rejected ? of_value::taken : offers_again_ ? of_value::rejected : of_value::refused;
    }

    [[nodiscard]] std::size_t count(of_value which) const noexcept {
        std::size_t total = 0;
        for (std::size_t i = 0; i < size_; ++i) total += (*this)[i] == which ? 1U : 0U;
        return total;
    }

    /// What was rejected is not offered again.
    void refuse_rejected() noexcept { offers_again_ = false; }

private:
    static result_access::indices const& in_order(result_access::indices& all, std::size_t size) {
        std::sort(all.begin(), all.end());
        if (!all.empty() && all.back() >= size) {
            throw std::out_of_range("tidefall: a batch_result names the value " + std::to_string(all.back()) +
                                    " of a batch of " + std::to_string(size) + ", counted from 0");
        }
        return all;
    }

    result_access::indices const& rejected_;
    result_access::indices const& refused_;
    std::size_t const rejected_from_;
    std::size_t const size_;
    bool offers_again_ = true;
};

/// The values of a batch that was taken in part, which are destroyed, returned or moved kind by kind.
template <typename V>
class batch_parts {
public:
    using of_value = batch_verdict::of_value;

    batch_parts(std::span<V> batch, batch_verdict const& verdict) noexcept : batch_(batch), verdict_(verdict) {
        assert(batch.size() == verdict.size());
    }

    void destroy(of_value which) noexcept {
        each_run(which, [](std::span<V> run) { destroy_to_reuse(run); });
    }

    /// Calls `f` with those of that kind, run by run, for it to destroy.
    template <typename F>
    void each_run(of_value which, F f) noexcept {
        each_run_from(0, which, f);
    }

    /// Moves those of that kind side by side and hands them out, for the caller to destroy; all others have gone. Where
    /// a move throws, `each_stranded` has all of them, an empty run among them.
    std::span<V> gather(of_value which) {
        first_ = end_ = next_ = find(0, which);
        for (; next_ < batch_.size(); next_ = find(next_ + 1, which)) {
            if (next_ != end_) {
                std::construct_at(batch_.data() + end_, std::move(batch_[next_]));
                std::destroy_at(batch_.data() + next_);
            }
            ++end_;
        }
        return batch_.subspan(first_, end_ - first_);
    }
    template <typename F>
    void each_stranded(of_value which, F f) noexcept {
        f(batch_.subspan(first_, end_ - first_));
        each_run_from(next_, which, f);
    }

private:
    [[nodiscard]] std::size_t find(std::size_t at, of_value which) const noexcept {
        while (at < batch_.size() && verdict_[at] != which) ++at;
        return at;
    }

    template <typename F>
    void each_run_from(std::size_t at, of_value which, F& f) noexcept {
        for (auto first = find(at, which); first < batch_.size(); first = find(first, which)) {
            auto end = first;
            while (end < batch_.size() && verdict_[end] == which) ++end;
            f(batch_.subspan(first, end - first));
            first = end;
        }
    }

    std::span<V> const batch_;
    batch_verdict const& verdict_;
    // Of a gathering: those before next_ lie from first_ to end_.
    std::size_t first_ = 0;
    std::size_t end_ = 0;
    std::size_t next_ = 0;
};

}  // namespace tidefall::inline v0::detail
