// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/stripe_lock.hpp>
#include <tidefall/results.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace tidefall::inline v0::detail {

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

/// A part of a partition with a lock of its own. A stripe is 128 bytes from the next one at least: processors fetch
/// cache lines in pairs.
///
/// Invariant: `lock` guards the rest. Once `closed` is true it stays so, and nothing is inserted any more.
template <typename Table>
struct alignas(128) stripe {
    stripe_lock lock;
    bool closed = false;
    std::size_t look_from = no_limit;  ///< the size from which a write has `crossed_limit` look
    std::uint64_t coalesced = 0;
    Table table;

    std::uint64_t refused = 0;
    std::uint64_t erased = 0;

    std::size_t drain_at = no_limit;            ///< the size that starts a drain: of the table, or of `counted_in`
    atomic<std::size_t>* counted_in = nullptr;  ///< set where a limit holds for several stripes together

    /// True if the write that changed the table's size from `before` reached the limit. The lock is held.
    [[nodiscard]] bool crossed_limit(std::size_t before) noexcept {
        std::size_t after = table.size();
        if (counted_in != nullptr) {
            auto const grown = after - before;  // modulo 2^64
            // Relaxed: it changes under a lock of the partition only, and is set anew under all of them.
            before = counted_in->fetch_add(grown, std::memory_order_relaxed);
            after = before + grown;
        }
        return before < drain_at && after >= drain_at;
    }

    /// Values were taken out of the table, which held `before`. The lock is held.
    void shrunk_from(std::size_t before) noexcept {
        // Relaxed: as in crossed_limit.
        if (counted_in != nullptr) counted_in->fetch_sub(before - table.size(), std::memory_order_relaxed);
    }
};

/// The stripes of one partition, as the engine handles them: all at once.
template <typename Table>
class stripe_set {
public:
    explicit stripe_set(std::span<stripe<Table>> stripes) noexcept : stripes_(stripes) {}

    [[nodiscard]] std::size_t count() const noexcept { return stripes_.size(); }

    /// Exchanges the tables with `spare` (empty ones, one a stripe) and returns how many values they hold; if none,
    /// nothing is exchanged. With `close`, no write is accepted from this instant on.
    std::size_t swap_tables(std::span<Table> spare, bool close) noexcept {
        all_locked const locked(*this);
        std::size_t const total = sum([](auto const& one) { return one.table.size(); });
        for (std::size_t i = 0; i < stripes_.size(); ++i) {
            if (total > 0) std::ranges::swap(stripes_[i].table, spare[i]);
            if (close) stripes_[i].closed = true;
        }
        if (total > 0) waiting_.store(0, std::memory_order_relaxed);  // as in crossed_limit
        return total;
    }

    void close() noexcept {
        all_locked const locked(*this);
        for (auto& one : stripes_) one.closed = true;
    }

    /// Sets the size that starts a drain, and returns the size now.
    std::size_t set_limit(std::optional<std::size_t> limit) noexcept {
        all_locked const locked(*this);
        std::size_t const total = sum([](auto const& one) { return one.table.size(); });
        waiting_.store(total, std::memory_order_relaxed);  // as in crossed_limit
        for (auto& one : stripes_) {
            one.drain_at = limit.value_or(no_limit);
            one.counted_in = limit && stripes_.size() > 1 ? &waiting_ : nullptr;
            one.look_from = one.counted_in != nullptr ? 0 : one.drain_at;
        }
        return total;
    }

    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t total = 0;
        for (auto& one : stripes_) {
            stripe_guard const locked(one.lock);
            total += one.table.size();
        }
        return total;
    }

    /// Adds what the stripes count.
    void count_in(buffer_stats& stats) const noexcept {
        for (auto& one : stripes_) {
            stripe_guard const locked(one.lock);
            stats.pending += one.table.size();
            stats.refused += one.refused;
            stats.coalesced += one.coalesced;
            stats.erased += one.erased;
        }
    }

    /// Takes values out of closed stripes, to be destroyed by the caller; empty if none is left.
    [[nodiscard]] auto take_closed() noexcept {
        auto run = std::span<typename Table::value_type>();
        for (auto& one : stripes_) {
            stripe_guard const locked(one.lock);
            run = one.table.take(no_limit);
            if (!run.empty()) break;
        }
        return run;
    }

    /// Gives back the memory of tables that are empty.
    void shrink_to_fit() noexcept {
        for (auto& one : stripes_) {
            Table old;  // freed after the lock
            stripe_guard const locked(one.lock);
            if (one.table.size() == 0) std::ranges::swap(one.table, old);
        }
    }

private:
    /// Holds every lock, taken in the order of the stripes.
    class all_locked {
    public:
        explicit all_locked(stripe_set const& set) noexcept : set_(set) {
            for (auto& one : set_.stripes_) one.lock.lock();
        }
        ~all_locked() {
            for (auto& one : set_.stripes_) one.lock.unlock();
        }
        all_locked(all_locked const&) = delete;
        all_locked& operator=(all_locked const&) = delete;

    private:
        stripe_set const& set_;
    };

    template <typename F>
    [[nodiscard]] std::size_t sum(F of) const noexcept {
        std::size_t total = 0;
        for (auto const& one : stripes_) total += of(one);
        return total;
    }

    std::span<stripe<Table>> const stripes_;
    atomic<std::size_t> waiting_{0};  ///< values in all stripes, while a limit is set and there are several
};

}  // namespace tidefall::inline v0::detail
