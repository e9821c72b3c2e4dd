// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/results.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace tidefall::inline v0::detail {

/// What became of every value that left the write table of one partition. The law of conservation:
///
///     taken == processed + failed + dropped + fresh + again + in calls
///
/// `fresh` is what no call has had: what the drained tables hold. `again` is what is to be offered again.
class drain_ledger {
public:
    // ---- values move

    /// Out of the write table into the drained ones, which were empty.
    void take(std::size_t size) noexcept {
        assert(rest() == 0);
        now_.taken += size;
        swapped_ = fresh_ = size;
        ++swaps_;
    }
    void hand_to_call(std::size_t size) noexcept { move_to_call(fresh_, size); }
    void hand_to_call_again(std::size_t size) noexcept { move_to_call(again_, size); }
    /// Of the values of a call that ended so many were processed and so many have failed; so many are offered again.
    void settle_call(std::size_t processed, std::size_t failed, std::size_t again) noexcept {
        leave_call(processed + failed + again);
        now_.processed += processed;
        now_.failed += failed;
        again_ += again;
    }
    /// The values of the call have failed, although it goes on.
    void abandon_call(std::size_t size) noexcept {
        leave_call(size);
        now_.failed += size;
        now_.abandoned += size;
        late_ += size;
        ++late_calls_;
    }
    void late_call_returned(std::size_t size) noexcept {
        assert(size <= late_ && late_calls_ > 0);
        late_ -= size;
        --late_calls_;
    }
    /// What no call has had fails, or so much of what was to be offered again. Returns how much that is: none if it was
    /// dropped before.
    std::size_t fail_fresh() noexcept { return fail(fresh_, fresh_); }
    std::size_t fail_again(std::size_t size) noexcept { return fail(again_, size); }
    /// Both are dropped.
    std::size_t drop_rest() noexcept {
        auto const dropped = rest();
        now_.dropped += dropped;
        fresh_ = again_ = 0;
        return dropped;
    }
    /// Dropped where they waited.
    std::size_t drop_waiting(std::size_t size) noexcept {
        now_.taken += size;
        now_.dropped += size;
        return size;
    }

    /// A report counts from here on.
    void close() noexcept { at_close_ = now_; }

    // ---- what is asked

    [[nodiscard]] std::size_t swapped() const noexcept { return swapped_; }  ///< by the newest swap that took any
    [[nodiscard]] std::size_t fresh() const noexcept { return fresh_; }
    [[nodiscard]] std::size_t rest() const noexcept { return fresh_ + again_; }  ///< what no call has
    [[nodiscard]] std::uint64_t swaps() const noexcept { return swaps_; }        ///< that took any
    [[nodiscard]] bool has_dropped() const noexcept { return now_.dropped > 0; }
    [[nodiscard]] bool has_late_calls() const noexcept { return late_calls_ > 0; }
    [[nodiscard]] std::uint64_t abandoned() const noexcept { return now_.abandoned; }
    [[nodiscard]] std::uint64_t in_flight() const noexcept {
        auto const open = now_.taken - now_.processed - now_.failed - now_.dropped;
        assert(open == rest() + in_calls_);
        return open;
    }

    /// Adds to `stats`, where `stripes` is what the partition's stripes counted.
    void add_to(buffer_stats& stats, buffer_stats const& stripes) const noexcept {
        stats.refused += stripes.refused;
        stats.coalesced += stripes.coalesced;
        stats.erased += stripes.erased;
        stats.pending += stripes.pending;
        stats.pending_weight += stripes.pending_weight;
        stats.accepted += now_.taken + stripes.coalesced + stripes.erased + stripes.dropped + stripes.pending;
        stats.processed += now_.processed;
        stats.failed += now_.failed;
        stats.dropped += now_.dropped + stripes.dropped;
        stats.abandoned += late_;
        stats.in_flight += in_flight();
        stats.ticks += swaps_;
    }

    /// Adds the change since `close`.
    void add_to(drain_report& report) const noexcept {
        report.processed += now_.processed - at_close_.processed;
        report.failed += now_.failed - at_close_.failed;
        report.dropped += now_.dropped - at_close_.dropped;
        report.abandoned += now_.abandoned - at_close_.abandoned;
        report.complete = report.complete && !has_dropped() && in_flight() == 0;
    }

private:
    struct totals {
        std::uint64_t taken = 0;
        std::uint64_t processed = 0;
        std::uint64_t failed = 0;
        std::uint64_t dropped = 0;
        std::uint64_t abandoned = 0;  ///< the part of `failed` whose calls were
    };

    void leave_call(std::size_t size) noexcept {
        assert(size <= in_calls_);
        in_calls_ -= size;
    }

    void move_to_call(std::size_t& from, std::size_t size) noexcept {
        assert(size <= from);
        from -= size;
        in_calls_ += size;
    }
    std::size_t fail(std::size_t& of, std::size_t size) noexcept {
        auto const failed = (std::min)(size, of);
        now_.failed += failed;
        of -= failed;
        return failed;
    }

    totals now_;
    totals at_close_;
    std::size_t swapped_ = 0;
    std::size_t fresh_ = 0;
    std::size_t again_ = 0;
    std::size_t in_calls_ = 0;
    std::uint64_t late_ = 0;      ///< the part of `abandoned` whose calls have not returned
    std::size_t late_calls_ = 0;  ///< that have not returned, of values or of none
    std::uint64_t swaps_ = 0;
};

}  // namespace tidefall::inline v0::detail
