// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/table.hpp>

#include <algorithm>
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
    drained_tables(drained_tables const&) = delete;
    drained_tables& operator=(drained_tables const&) = delete;
    ~drained_tables() { std::destroy(ahead_.begin(), ahead_.end()); }

    /// What a swap exchanges.
    [[nodiscard]] std::span<Table> tables() noexcept { return tables_; }

    /// Readies them to be handed out in batches. What it throws leaves all values to `take`.
    void prepare() { prepare(tables_); }

    /// Makes one table of all, ready to be handed out whole. What it throws leaves all values to `take`.
    void merge() {
        if constexpr (requires(Table & one) { one.reserve(std::size_t{}); }) tables_[0].reserve(size());
        for (auto& other : std::span(tables_).subspan(1)) {
            if constexpr (requires { other.absorb(std::move(other)); }) tables_[0].absorb(std::move(other));
        }
        prepare(std::span(tables_).first(1));
    }

    /// The merged table, to keep. What it throws leaves all values to `take`.
    [[nodiscard]] auto deliver() {
        if constexpr (requires { typename Table::delivered_table; }) {
            return tables_[0].deliver();
        } else {
            return std::move(tables_[0]);
        }
    }

    /// The values that are next, side by side, to be looked at before so many of them are taken.
    [[nodiscard]] std::span<value_type> look_ahead() noexcept requires(weighed<Table>) {
        if (ahead_.empty()) ahead_ = take_from_tables(no_bound);
        return ahead_;
    }

    /// Values of one table, `most` at most, for the caller to destroy; empty if none is left. Of a table that has so
    /// many, as long as there is one: so whole batches come first, and only what each table has left is gathered.
    [[nodiscard]] std::span<value_type> take(std::size_t most = no_bound) noexcept {
        if constexpr (weighed<Table>) {
            if (!ahead_.empty()) {
                auto const first = ahead_.first((std::min)(most, ahead_.size()));
                ahead_ = ahead_.subspan(first.size());
                return first;
            }
        }
        return take_from_tables(most);
    }

    /// Ready for the next swap, in the same memory.
    void clear() noexcept {
        std::destroy(ahead_.begin(), ahead_.end());
        ahead_ = {};
        taken_from_ = 0;
        for (auto& one : tables_) one.clear();
    }

    void free_memory() noexcept {
        for (auto& one : tables_) one.shrink_to_fit();
    }

private:
    static constexpr std::size_t no_bound = (std::numeric_limits<std::size_t>::max)();

    [[nodiscard]] std::span<value_type> take_from_tables(std::size_t most) noexcept {
        for (; taken_from_ < tables_.size(); ++taken_from_) {
            if (auto& one = tables_[taken_from_]; one.size() >= most) return one.take(most);
        }
        for (auto& one : tables_) {
            if (one.size() > 0) return one.take(most);
        }
        return {};
    }

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

    std::vector<Table> tables_;
    std::size_t taken_from_ = 0;   ///< those before it have no whole batch
    std::span<value_type> ahead_;  ///< taken out of a table that is weighed, to be looked at
};

}  // namespace tidefall::inline v0::detail
