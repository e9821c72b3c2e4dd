// SPDX-License-Identifier: MIT
//
// Says whether all that was written came out, once, and in its order. It knows nothing of what the values go through:
// it sees each write when it ended, and each value when it comes out, and keeps as little of a billion as of one.
//
//     tests::checker check({{tests::checker::rule::each, true}});  // one lane
//     auto const mark = check.next(0);
//     if (write(mark)) check.wrote(mark);
//     ...
//     check.came_out(mark, tests::checker::turn::regular);
//     CHECK(check.verdict() == "");
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace tests {

/// A number that says nothing of the one that it was made from (splitmix64).
constexpr std::uint64_t mixed(std::uint64_t number) noexcept {
    number += 0x9e3779b97f4a7c15U;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9U;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebU;
    return number ^ (number >> 31);
}

/// What a value is known by: the thread that wrote it, the lane that it keeps to, its number among that thread's.
struct stamp {
    std::uint32_t producer = 0;
    std::uint32_t lane = 0;
    std::uint64_t number = 0;  ///< from 1 on; it only grows
    /// A write of another producer to this lane that had ended before this one began; 0 if none is known.
    std::uint64_t earlier_number = 0;
    std::uint32_t earlier_producer = 0;

    friend bool operator==(stamp const&, stamp const&) = default;
};

class checker {
public:
    /// What is to come out of a lane.
    enum class rule : std::uint8_t {
        each,  ///< every value, once
        last,  ///< a value may take the place of an older one, but the last one comes out, and all that was added
        some,  ///< values may also be taken out again
    };
    struct lane_rule {
        rule what = rule::each;
        /// What one producer wrote before another began to comes out before it; otherwise a producer's own order is
        /// all that is kept.
        bool over_all_producers = false;
    };

    /// How a value comes out.
    enum class turn : std::uint8_t {
        regular,  ///< in order; for one lane these come one after the other
        rest,     ///< in any order among themselves, but of what was written after all regular ones
        any,      ///< whenever
    };

    static constexpr std::size_t most_producers = 16;

    explicit checker(std::vector<lane_rule> lanes)
        : rules_(std::move(lanes)), lanes_(rules_.size()), cells_(rules_.size() * most_producers) {}

    /// The number of the calling thread; it is given one at its first call.
    std::uint32_t producer() {
        thread_local std::vector<std::pair<std::uint64_t, std::uint32_t>> given;
        for (auto one = given.rbegin(); one != given.rend(); ++one) {
            if (one->first == serial_) return one->second;
        }
        auto const mine = producers_++;
        if (mine >= most_producers) {
            std::fputs("a checker has more producers than it can tell apart\n", stderr);
            std::abort();
        }
        given.emplace_back(serial_, mine);
        return mine;
    }

    /// The stamp of a write that the calling thread is about to make, or of the first of so many.
    stamp next(std::uint32_t lane, std::uint64_t count = 1) {
        auto const me = producer();
        stamp result{.producer = me, .lane = lane, .number = drawn_[me].number + 1};
        drawn_[me].number += count;
        if (rules_[lane].over_all_producers) {
            auto const other = static_cast<std::uint32_t>(result.number % producers_.load(std::memory_order_relaxed));
            // Pairs with wrote().
            result.earlier_number = cell_of(other, lane).ended.load(std::memory_order_acquire);
            result.earlier_producer = other;
        }
        return result;
    }

    /// A write of the calling thread was accepted, and ended. It may have added something to what the lane holds.
    void wrote(stamp const& one, std::uint64_t added = 0) {
        auto& mine = cell_of(one.producer, one.lane);
        mine.written.add(one.number);
        mine.added += added;
        if (one.number > mine.last_written) mine.last_written = one.number;
        if (rules_[one.lane].over_all_producers) mine.ended.store(mine.last_written, std::memory_order_release);
    }

    /// A value came out, with all that was added to the lane since the last one. Regular ones are not locked: for one
    /// lane the caller has them come one after the other.
    void came_out(stamp const& one, turn how, std::uint64_t added = 0) {
        if (one.number == 0 || one.lane >= rules_.size() || one.producer >= most_producers) {
            ++strangers_;
            return;
        }
        auto& mine = cell_of(one.producer, one.lane);
        if (how == turn::regular) {
            in_order(one, mine.regular, added);
            return;
        }
        std::lock_guard const lock(mutex_);
        mine.others.add(one.number);
        if (how == turn::rest) {
            if (mine.first_of_rest == 0 || one.number < mine.first_of_rest) mine.first_of_rest = one.number;
            if (one.number > mine.last_of_rest) mine.last_of_rest = one.number;
            lanes_[one.lane].left_over += added;
        }
    }

    /// What is wrong, or nothing. For when all has come out.
    [[nodiscard]] std::string verdict() const {
        std::string faults;
        if (strangers_ > 0) faults += std::to_string(strangers_) + " values that nobody wrote\n";
        for (std::uint32_t lane = 0; lane < rules_.size(); ++lane) {
            for (std::uint32_t producer = 0; producer < most_producers; ++producer) judge(producer, lane, faults);
            if (rules_[lane].what == rule::last) judge_last(lane, faults);
            if (faults.size() > enough) break;
        }
        return faults;
    }

private:
    static constexpr std::size_t enough = 2'000;

    /// A set of numbers: two of them are the same but for a chance of 2^-64.
    struct tally {
        std::uint64_t count = 0;
        std::uint64_t sum = 0;

        void add(std::uint64_t number) {
            ++count;
            sum += mixed(number);
        }
        void add(tally const& other) {
            count += other.count;
            sum += other.sum;
        }
    };

    struct ordered {
        tally numbers;
        std::uint64_t last = 0;  ///< no later one may have this number, or a smaller one
        std::uint64_t disorder = 0;
        std::uint64_t misplaced = 0;  ///< the first that came too late
        std::uint64_t overtaken_by = 0;
    };

    /// One producer's values in one lane. What a producer writes is apart from what it is that comes out.
    struct cell {
        alignas(64) tally written;
        std::uint64_t added = 0;
        std::uint64_t last_written = 0;
        std::atomic<std::uint64_t> ended{0};
        alignas(64) ordered regular;
        alignas(64) tally others;
        std::uint64_t first_of_rest = 0;
        std::uint64_t last_of_rest = 0;
    };

    /// What came out of a lane in which values take each other's place.
    struct lane_state {
        alignas(64) stamp last{};  ///< in its regular turn
        std::uint64_t added = 0;
        alignas(64) std::uint64_t left_over = 0;  ///< what was added, of the rest
    };
    struct alignas(64) draw {
        std::uint64_t number = 0;
    };

    cell& cell_of(std::uint32_t producer, std::uint32_t lane) { return cells_[producer * rules_.size() + lane]; }
    [[nodiscard]] cell const& cell_of(std::uint32_t producer, std::uint32_t lane) const {
        return cells_[producer * rules_.size() + lane];
    }

    void in_order(stamp const& one, ordered& mine, std::uint64_t added) {
        mine.numbers.add(one.number);
        if (one.number <= mine.last) {
            if (mine.disorder++ == 0) {
                mine.misplaced = one.number;
                mine.overtaken_by = mine.last;
            }
        } else {
            mine.last = one.number;
        }
        if (one.earlier_number > 0) {
            // From now on that one, and those before it, are too late.
            auto& others = cell_of(one.earlier_producer, one.lane).regular;
            others.last = std::max(others.last, one.earlier_number);
        }
        if (rules_[one.lane].what != rule::each) {
            lanes_[one.lane].last = one;
            lanes_[one.lane].added += added;
        }
    }

    void judge(std::uint32_t producer, std::uint32_t lane, std::string& faults) const {
        auto const& of = cell_of(producer, lane);
        auto const say = [&](std::string const& what) {
            faults += "producer " + std::to_string(producer) + ", lane " + std::to_string(lane) + ": " + what + "\n";
        };
        if (of.regular.disorder > 0) {
            say(std::to_string(of.regular.disorder) + " out of order or twice, first number " +
                std::to_string(of.regular.misplaced) + " after " + std::to_string(of.regular.overtaken_by));
        }
        if (of.first_of_rest > 0 && of.first_of_rest <= of.regular.last) {
            say("number " + std::to_string(of.first_of_rest) + " was left over, but not number " +
                std::to_string(of.regular.last));
        }
        tally out = of.regular.numbers;
        out.add(of.others);
        if (rules_[lane].what != rule::each) {
            if (out.count > of.written.count) say("more values came out than were written");
        } else if (out.count < of.written.count) {
            say(std::to_string(of.written.count - out.count) + " of " + std::to_string(of.written.count) + " lost");
        } else if (out.count > of.written.count) {
            say(std::to_string(out.count - of.written.count) + " more than the " + std::to_string(of.written.count) +
                " that were written");
        } else if (out.sum != of.written.sum) {
            say("as many lost as doubled or made up, of " + std::to_string(out.count));
        }
    }

    /// Of a lane in which values take each other's place.
    void judge_last(std::uint32_t lane, std::string& faults) const {
        auto const& out = lanes_[lane];
        auto const say = [&](std::string const& what) {
            faults += "lane " + std::to_string(lane) + ": " + what + "\n";
        };
        std::uint64_t added = 0;
        bool written = false;
        bool has_rest = false;
        bool is_there = out.last.number > 0 && out.last.number == cell_of(out.last.producer, lane).last_written;
        for (std::uint32_t producer = 0; producer < most_producers; ++producer) {
            auto const& of = cell_of(producer, lane);
            added += of.added;
            written = written || of.last_written > 0;
            if (of.last_of_rest == 0) continue;
            // What is left over comes after what came regularly.
            is_there = (has_rest && is_there) || of.last_of_rest == of.last_written;
            has_rest = true;
        }
        if (out.added + out.left_over != added) {
            say(std::to_string(out.added + out.left_over) + " came out of the " + std::to_string(added) +
                " that were added");
        }
        if (written && !is_there) say("what came out last is not what its producer wrote last");
    }

    static inline std::atomic<std::uint64_t> serials_{0};

    std::uint64_t const serial_ = ++serials_;
    std::vector<lane_rule> const rules_;
    std::vector<lane_state> lanes_;
    std::vector<cell> cells_;
    std::vector<draw> drawn_ = std::vector<draw>(most_producers);
    std::atomic<std::uint32_t> producers_{0};
    std::atomic<std::uint64_t> strangers_{0};
    std::mutex mutex_;  ///< guards what does not come out in its regular turn
};

}  // namespace tests
