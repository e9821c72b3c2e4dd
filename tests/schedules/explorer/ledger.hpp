// SPDX-License-Identifier: MIT
//
// What became of every value, by what was seen from outside alone.
#pragma once

#include "explorer.hpp"

#include <tidefall/results.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace explore {

/// A value: a number that no other value has. Others may run while it is made, moved or copied.
struct item {
    int number = 0;

    item() = default;
    item(int its) noexcept : number(its) { point(); }  // NOLINT(google-explicit-constructor)
    item(item const& other) noexcept : number(other.number) { point(); }
    item(item&& other) noexcept : number(std::exchange(other.number, -1)) { point(); }
    item& operator=(item const& other) noexcept {
        number = other.number;
        point();
        return *this;
    }
    item& operator=(item&& other) noexcept {
        number = std::exchange(other.number, -1);
        point();
        return *this;
    }
    ~item() = default;
};

/// One real thread runs all that is here.
class ledger {
public:
    /// What the values of one buffer are held to.
    struct rules {
        bool in_order = false;         ///< over all producers: what one wrote before another began comes out before it
        bool one_call_at_once = true;  ///< for the whole buffer
        bool gives_up = false;         ///< a call may be, before it has begun even
    };

    explicit ledger(rules which) : rules_(which) {}

    /// Makes a write of the value, `push`, and returns its answer.
    template <typename Push>
    tidefall::write_status write(int value, Push push) {
        fates_[value].began = steps();
        auto const answer = push();
        auto& mine = fates_[value];
        mine.ended = steps();
        mine.is_known = true;
        mine.accepted = answer == tidefall::write_status::accepted;
        return answer;
    }

    /// The processor is called with these, and takes them unless it throws.
    void called(std::span<item const> values) {
        require_no_lock("the processor");
        require(!values.empty(), "a batch has values");
        for (auto const& value : values) {
            auto& its = of(value.number);
            require(its.calls++ == 0, "value " + std::to_string(value.number) + " is handed over once");
            its.turn = ++turns_;
        }
    }

    /// Marks a call for as long as it lives.
    class call {
    public:
        call(ledger& in, std::span<item const> values) : in_(in) {
            require(++in.calls_ == 1 || !in.rules_.one_call_at_once, "no two calls at once");
            in.called(values);
        }
        ~call() { --in_.calls_; }
        call(call const&) = delete;
        call& operator=(call const&) = delete;

    private:
        ledger& in_;
    };

    void undelivered(std::span<item const> values, tidefall::failure const& why) {
        require_no_lock("undelivered");
        require(!values.empty(), "what is undelivered has values");
        for (auto const& value : values) {
            auto& its = of(value.number);
            require(its.returned++ == 0, "value " + std::to_string(value.number) + " comes back once");
            its.why = why.reason;
        }
    }

    /// For a flush that is about to begin: the values that it is to see to.
    [[nodiscard]] std::vector<int> written() const {
        std::vector<int> all;
        for (auto const& [value, its] : fates_) {
            if (its.is_known && its.accepted) all.push_back(value);
        }
        return all;
    }

    /// After a complete one.
    void require_outcomes(std::vector<int> const& values) {
        if (rules_.gives_up) return;
        for (auto const value : values) {
            auto const& its = of(value);
            require(its.calls + its.returned > 0, "value " + std::to_string(value) + " has its outcome after a flush");
        }
    }

    /// True if the value came back for that reason.
    [[nodiscard]] bool came_back(int value, tidefall::failure_reason why) {
        auto const& its = of(value);
        return its.returned > 0 && its.why == why;
    }

    [[nodiscard]] bool has_outcome(int value) {
        auto const& its = of(value);
        return (its.calls + its.returned > 0 && calls_ == 0) || (its.is_known && !its.accepted);
    }

    /// When all is over.
    void close(tidefall::buffer_stats const& stats) {
        std::uint64_t processed = 0;
        std::uint64_t failed = 0;
        std::uint64_t dropped = 0;
        for (auto const& [value, its] : fates_) {
            auto const name = "value " + std::to_string(value);
            require(its.is_known, name + " has an answer");
            if (!its.accepted) {
                require(its.calls + its.returned == 0, name + ", refused, does not come out");
                continue;
            }
            require(its.calls + its.returned > 0, name + " comes out");
            if (its.returned == 0) {
                ++processed;
            } else if (its.why == tidefall::failure_reason::exception || its.why == tidefall::failure_reason::timeout) {
                require(its.calls == 1, name + " failed in a call");
                ++failed;
            } else {
                require(its.calls == 0, name + ", dropped, was in no call");
                ++dropped;
            }
        }
        same("processed", stats.processed, processed);
        same("failed", stats.failed, failed);
        same("dropped", stats.dropped, dropped);
        same("pending", stats.pending, 0);
        if (rules_.in_order) require_order();
    }

private:
    struct fate {
        bool is_known = false;
        bool accepted = false;
        std::uint64_t began = 0;
        std::uint64_t ended = 0;
        int calls = 0;
        int returned = 0;
        std::uint64_t turn = 0;
        tidefall::failure_reason why{};
    };

    fate& of(int value) {
        auto const at = fates_.find(value);
        if (at == fates_.end()) fail("value " + std::to_string(value) + " was never written");
        return at->second;
    }

    static void same(std::string const& what, std::uint64_t counted, std::uint64_t seen) {
        require(counted == seen, what + ": " + std::to_string(counted) + " counted, " + std::to_string(seen) + " seen");
    }

    void require_order() const {
        for (auto const& [a, first] : fates_) {
            for (auto const& [b, second] : fates_) {
                bool const before = first.accepted && second.accepted && first.ended < second.began;
                bool const both = first.turn > 0 && second.turn > 0;
                require(!before || !both || first.turn < second.turn,
                        "value " + std::to_string(a) + " comes before value " + std::to_string(b));
            }
        }
    }

    rules const rules_;
    std::map<int, fate> fates_;
    std::uint64_t turns_ = 0;
    int calls_ = 0;
};

}  // namespace explore
