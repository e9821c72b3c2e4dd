// SPDX-License-Identifier: MIT
//
// The way of a line: a block of lines is read (support/input.hpp), one of several threads makes rows of it
// (support/block_workers.hpp), and these wait in a tidefall queue until a batch of them is written to the server. What
// waits at each of these places is bounded.
#pragma once

#include "../support/block_workers.hpp"
#include "../support/input.hpp"
#include "../support/stop_request.hpp"
#include "rejects.hpp"
#include "row.hpp"
#include "settings.hpp"

#include <tidefall/decorators.hpp>
#include <tidefall/queue.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace postgres_ingest {

/// What became of the lines of this run, and of those that an earlier one had left in the spill file:
///
///     lines + waited == stored + known + rejected + kept + lost
struct ingest_counts {
    std::uint64_t lines = 0;     ///< that were read, without blank ones
    std::uint64_t waited = 0;    ///< in the spill file at the start
    std::uint64_t stored = 0;    ///< rows that the server took
    std::uint64_t known = 0;     ///< rows that it had
    std::uint64_t rejected = 0;  ///< in the file of rejects
    std::uint64_t kept = 0;      ///< in the spill file now
    std::uint64_t lost = 0;      ///< neither the server nor the spill file took them
};

class ingest {
public:
    ingest(settings const& how, access_log::stop_request& stop);
    ingest(ingest const&) = delete;
    ingest& operator=(ingest const&) = delete;
    ~ingest();

    /// Takes a block, and waits while enough blocks wait. Called by one thread. False if no more can be taken.
    bool feed(access_log::block lines);

    /// Returns when every line that was fed is stored, rejected or in the spill file. Throws the first error of the
    /// threads that make rows.
    void finish();

    [[nodiscard]] ingest_counts counts() const;

private:
    struct written {
        std::atomic<std::uint64_t> stored = 0;
        std::atomic<std::uint64_t> known = 0;
    };
    class writer;

    void make_rows(access_log::block const& lines);
    auto processor();

    settings const how_;
    access_log::stop_request const& stop_;
    std::vector<std::int64_t> logs_;  ///< their ids; that of an input is set before its first block is worked on
    std::atomic<std::uint64_t> lines_ = 0;
    written written_ = {};
    rejects rejects_;
    std::shared_ptr<tidefall::spill<row>> const spill_;
    std::uint64_t const waited_;
    // They go in the reverse order: the workers end, the queue drains.
    tidefall::queue<row> queue_;
    access_log::block_workers workers_;
};

}  // namespace postgres_ingest
