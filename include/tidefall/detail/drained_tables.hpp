// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/scratch.hpp>
#include <tidefall/detail/table.hpp>

#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// The tables that a swap took out, one for each stripe, while they are handed out; between drains they are empty and
/// keep their memory. No locks: one thread at a time owns them.
template <typename Table>
class drained_tables {
public:
    using value_type = typename Table::value_type;

    explicit drained_tables(std::size_t stripes) : tables_(stripes) {}

    /// What a swap exchanges.
    [[nodiscard]] std::span<Table> tables() noexcept { return tables_; }

    /// Readies them to be handed out in batches. What it throws leaves all values to `take_rest`.
    void prepare() { prepare(tables_); }

    /// Makes one table of all, ready to be handed out whole. What it throws leaves all values to `take_rest`.
    void merge() {
        if constexpr (requires(Table & one) { one.reserve(std::size_t{}); }) tables_[0].reserve(size());
        for (auto& other : std::span(tables_).subspan(1)) {
            if constexpr (requires { other.absorb(std::move(other)); }) tables_[0].absorb(std::move(other));
        }
        prepare(std::span(tables_).first(1));
    }

    /// The merged table, to keep. What it throws leaves all values to `take_rest`.
    [[nodiscard]] auto deliver() {
        if constexpr (requires { typename Table::delivered_table; }) {
            return tables_[0].deliver();
        } else {
            return std::move(tables_[0]);
        }
    }

    /// The next `size` values, of as many at least: in place where a table has them side by side, gathered otherwise.
    /// The caller destroys them before it asks for more. What it throws leaves all values to `take_rest`.
    [[nodiscard]] std::span<value_type> next_batch(std::size_t size) {
        auto const run = take(size);
        if (run.size() == size) return run;
        loose_ = run;
        gathered_.reserve(size);
        for (std::size_t count = 0; count < size; ++count) {
            if (loose_.empty()) loose_ = take(size - count);
            gathered_.push_back(std::move(loose_.front()));
            std::destroy_at(loose_.data());
            loose_ = loose_.subspan(1);
        }
        return gathered_.release();
    }

    /// Some of what is left, in order where there is one, for the caller to destroy; empty if nothing is.
    [[nodiscard]] std::span<value_type> take_rest() noexcept {
        if (!gathered_.values().empty()) return gathered_.release();
        if (!loose_.empty()) return std::exchange(loose_, {});
        return take((std::numeric_limits<std::size_t>::max)());
    }

    /// The batch that was made last stays where it is for as long as this object lives, whatever is asked for next. If
    /// that throws, nothing has changed.
    void keep_batch() {
        kept_.reserve(kept_.size() + 1);
        kept_.push_back(std::move(gathered_));
    }

    /// Ready for the next swap, in the same memory.
    void clear() noexcept {
        for (auto& one : tables_) one.clear();
    }

    void shrink_to_fit() noexcept {
        for (auto& one : tables_) one.shrink_to_fit();
        gathered_.shrink_to_fit();
    }

private:
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t total = 0;
        for (auto const& one : tables_) total += one.size();
        return total;
    }

    static void prepare([[maybe_unused]] std::span<Table> tables) {
        if constexpr (requires(Table & one) { one.prepare(); }) {
            for (auto& one : tables) one.prepare();
        }
    }

    /// Values of the first table that has any.
    std::span<value_type> take(std::size_t most) noexcept {
        for (auto& one : tables_) {
            if (one.size() > 0) return one.take(most);
        }
        return {};
    }

    std::vector<Table> tables_;
    scratch<value_type> gathered_;  ///< a batch that no table has side by side
    std::span<value_type> loose_;   ///< taken to be gathered; empty but after a throw
    std::vector<scratch<value_type>> kept_;
};

}  // namespace tidefall::inline v0::detail
