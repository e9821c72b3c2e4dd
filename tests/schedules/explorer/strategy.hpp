// SPDX-License-Identifier: MIT
//
// Who runs next.
#pragma once

#include "../../support/checker.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace explore {

/// Random numbers, the same for the same seed.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed) {}
    std::size_t below(std::size_t limit) noexcept {
        return static_cast<std::size_t>(tests::mixed(++state_ * 0x2545f4914f6cdd1dU) % limit);
    }
    bool one_in(std::size_t many) noexcept { return below(many) == 0; }

private:
    std::uint64_t state_;
};

class strategy {
public:
    strategy() = default;
    strategy(strategy const&) = delete;
    strategy& operator=(strategy const&) = delete;
    virtual ~strategy() = default;

    /// One of `ready`, which are sorted and at least two. `current` is among them unless it waits. Where it yields, it
    /// is not to be picked.
    virtual std::size_t next(std::span<std::size_t const> ready, std::size_t current, bool yields) = 0;
};

/// The current one goes on but for a chance, which is drawn for each schedule.
class by_chance final : public strategy {
public:
    explicit by_chance(std::uint64_t seed) : dice_(seed), stays_(std::size_t{2} << (2 * dice_.below(4))) {}

    std::size_t next(std::span<std::size_t const> ready, std::size_t current, bool yields) override {
        bool const can_stay = !yields && std::ranges::binary_search(ready, current);
        if (can_stay && !dice_.one_in(stays_)) return current;
        for (;;) {
            auto const picked = ready[dice_.below(ready.size())];
            if (picked != current || can_stay) return picked;
        }
    }

private:
    dice dice_;
    std::size_t stays_;
};

/// Always the one of the highest priority; at a few points, which are drawn, that of the current one becomes the
/// lowest, and so it does where one yields. (PCT: Burckhardt and others, 2010.)
class by_priority final : public strategy {
public:
    /// `length`: about how many operations a schedule has.
    by_priority(std::uint64_t seed, std::size_t length) : dice_(seed) {
        auto const changes = dice_.below(6);
        for (std::size_t i = 0; i < changes; ++i) changes_.push_back(dice_.below(length));
        std::ranges::sort(changes_, std::greater<>());
    }

    std::size_t next(std::span<std::size_t const> ready, std::size_t current, bool yields) override {
        bool const changes = !changes_.empty() && changes_.back() <= ++points_;
        if (changes) changes_.pop_back();
        if (changes || yields) priority_of(current) = lowest_--;
        return std::ranges::max(ready, {}, [&](std::size_t one) { return priority_of(one); });
    }

private:
    std::int64_t& priority_of(std::size_t one) {
        while (priorities_.size() <= one) priorities_.push_back(static_cast<std::int64_t>(dice_.below(1'000'000)));
        return priorities_[one];
    }

    dice dice_;
    std::vector<std::size_t> changes_;  ///< the last is the next
    std::size_t points_ = 0;
    std::vector<std::int64_t> priorities_;
    std::int64_t lowest_ = -1;
};

/// Each way through a scenario in which at most so many times one is left that could have gone on, one way after the
/// other. One that yields is left for the next in turn.
class every_way final : public strategy {
public:
    explicit every_way(std::size_t preemptions) noexcept : most_(preemptions) {}

    /// The way that takes these choices first, and the first one ever after.
    void begin(std::vector<std::size_t> choices = {}) {
        if (!choices.empty()) {
            taken_.clear();
            for (auto const one : choices) taken_.push_back({one, one + 1});
        }
        at_ = 0;
        preemptions_ = 0;
    }

    /// False if that was the last one.
    [[nodiscard]] bool another() {
        taken_.resize((std::min)(taken_.size(), at_));
        while (!taken_.empty() && taken_.back().choice + 1 == taken_.back().of) taken_.pop_back();
        if (taken_.empty()) return false;
        ++taken_.back().choice;
        return true;
    }

    [[nodiscard]] std::string choices() const {
        std::string text;
        for (auto const& one : taken_) text += (text.empty() ? "" : ",") + std::to_string(one.choice);
        return text;
    }

    std::size_t next(std::span<std::size_t const> ready, std::size_t current, bool yields) override {
        if (yields) {
            auto const after = std::ranges::upper_bound(ready, current);
            return after == ready.end() ? ready.front() : *after;
        }
        bool const can_stay = std::ranges::binary_search(ready, current);
        if (can_stay && preemptions_ == most_) return current;
        if (at_ == taken_.size()) taken_.push_back({0, ready.size()});
        auto const choice = (std::min)(taken_[at_++].choice, ready.size() - 1);
        if (!can_stay) return ready[choice];
        if (choice == 0) return current;
        ++preemptions_;
        // The others, in their order.
        auto const mine = static_cast<std::size_t>(std::ranges::lower_bound(ready, current) - ready.begin());
        return ready[choice <= mine ? choice - 1 : choice];
    }

private:
    struct decision {
        std::size_t choice;
        std::size_t of;
    };

    std::size_t const most_;
    std::vector<decision> taken_;
    std::size_t at_ = 0;
    std::size_t preemptions_ = 0;
};

}  // namespace explore
