// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/results.hpp>

#include <cstdint>

namespace tidefall::inline v0::detail {

/// What became of the values that left the write table of one partition. Guarded by the partition's mutex.
struct drain_counters {
    std::uint64_t taken = 0;  ///< out of the write table: by a swap, or dropped there
    std::uint64_t processed = 0;
    std::uint64_t failed = 0;
    std::uint64_t dropped = 0;
    std::uint64_t given_up = 0;  ///< the part of `failed` whose calls were abandoned
    std::uint64_t late = 0;      ///< the part of `given_up` whose calls have not returned
    std::uint64_t swaps = 0;

    [[nodiscard]] std::uint64_t in_flight() const noexcept { return taken - processed - failed - dropped; }

    /// Values in a call that goes on without the partition.
    void give_up(std::uint64_t size) noexcept {
        failed += size;
        given_up += size;
        late += size;
    }

    /// Adds to `stats`, where `stripes` is what the partition's stripes counted.
    void add_to(buffer_stats& stats, buffer_stats const& stripes) const noexcept {
        stats.refused += stripes.refused;
        stats.coalesced += stripes.coalesced;
        stats.erased += stripes.erased;
        stats.pending += stripes.pending;
        stats.accepted += taken + stripes.coalesced + stripes.erased + stripes.dropped + stripes.pending;
        stats.processed += processed;
        stats.failed += failed;
        stats.dropped += dropped + stripes.dropped;
        stats.abandoned += late;
        stats.in_flight += in_flight();
        stats.ticks += swaps;
    }

    /// Adds the change since `before`.
    void add_to(drain_report& report, drain_counters const& before) const noexcept {
        report.processed += processed - before.processed;
        report.failed += failed - before.failed;
        report.dropped += dropped - before.dropped;
        report.abandoned += given_up - before.given_up;
    }
};

}  // namespace tidefall::inline v0::detail
