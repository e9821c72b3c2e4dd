// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>

namespace tidefall::inline v0::detail {

/// How many values may wait in all partitions of a buffer together, `options::total_capacity`.
///
/// A partition leases room for many values at once and gives back what it has when its tables are exchanged, so that a
/// write far from the limit touches nothing that partitions share. The less is left, the less is leased; at the end one
/// value at a time. What others have leased and do not use, slack, is taken back before a write is refused, and so
/// exactly as many values wait as may.
///
/// Relaxed throughout: numbers that stand for themselves, changed under the locks of the partitions that lease.
class total_limit {
public:
    /// `partitions` share it.
    explicit total_limit(std::size_t partitions) noexcept : partitions_(partitions) {}

    /// Sets the limit, or takes it away. Serialised by the caller. True if there was none before, or is none now: what
    /// is leased starts anew then.
    bool change(std::optional<std::size_t> limit) noexcept {
        auto const to = limit ? static_cast<std::ptrdiff_t>((std::min)(*limit, static_cast<std::size_t>(most))) : none;
        auto const was = limit_.exchange(to, std::memory_order_relaxed);
        bool const starts_anew = (was == none) != (to == none);
        if (starts_anew) {
            // Where the limit goes, partitions have leases for a moment longer: they find room, and can give back.
            left_.store((std::min)(to, most), std::memory_order_relaxed);
        } else {
            left_.fetch_add(to - was, std::memory_order_relaxed);
        }
        return starts_anew;
    }
    [[nodiscard]] bool exists() const noexcept { return limit_.load(std::memory_order_relaxed) != none; }

    /// Leases room: for how many values, 0 if none is left.
    [[nodiscard]] std::size_t lease() noexcept {
        auto left = left_.load(std::memory_order_relaxed);
        while (left > 0) {
            auto const part = (std::max)(left / static_cast<std::ptrdiff_t>(2 * partitions_), std::ptrdiff_t{1});
            if (left_.compare_exchange_weak(left, left - part, std::memory_order_relaxed, std::memory_order_relaxed)) {
                if (part > 1) note_slack();
                has_asked_.store(false, std::memory_order_relaxed);
                return static_cast<std::size_t>(part);
            }
        }
        return 0;
    }
    /// Takes what is in use already, even where nothing is left.
    void charge(std::size_t size) noexcept {
        left_.fetch_sub(static_cast<std::ptrdiff_t>(size), std::memory_order_relaxed);
    }
    void give_back(std::size_t size) noexcept {
        left_.fetch_add(static_cast<std::ptrdiff_t>(size), std::memory_order_relaxed);
    }

    /// A partition may have leased more than it uses.
    void note_slack() noexcept { has_slack_.store(true, std::memory_order_relaxed); }
    /// True once after that: the caller has all partitions give back what they do not use.
    [[nodiscard]] bool take_slack() noexcept { return has_slack_.exchange(false, std::memory_order_relaxed); }

    /// All is leased and used, as far as is known.
    [[nodiscard]] bool is_reached() const noexcept {
        return left_.load(std::memory_order_relaxed) <= 0 && !has_slack_.load(std::memory_order_relaxed);
    }

    /// True for the first since the last lease who finds it reached: he has all partitions drain.
    [[nodiscard]] bool asks_for_drains() noexcept { return !has_asked_.exchange(true, std::memory_order_relaxed); }

    /// A write was told that there is no room.
    void note_full() noexcept { is_full_.store(true, std::memory_order_relaxed); }
    /// True once after `note_full`: the caller tells the partitions' listeners that there is room.
    [[nodiscard]] bool take_full() noexcept {
        return is_full_.load(std::memory_order_relaxed) && is_full_.exchange(false, std::memory_order_relaxed);
    }

private:
    static constexpr std::ptrdiff_t none = (std::numeric_limits<std::ptrdiff_t>::max)();
    static constexpr std::ptrdiff_t most = none / 2;  ///< the largest limit: as much again can be given back

    std::size_t const partitions_;
    atomic<std::ptrdiff_t> limit_{none};
    atomic<std::ptrdiff_t> left_{most};  ///< not leased; below 0 where the limit was lowered
    atomic<bool> has_slack_{false};
    atomic<bool> has_asked_{false};
    atomic<bool> is_full_{false};
};

}  // namespace tidefall::inline v0::detail
