// SPDX-License-Identifier: MIT
#include "ingest.hpp"

#include "../support/format.hpp"

#include <chrono>
#include <utility>

namespace access_log {
namespace {

tidefall::options queue_options(ingest_options const& how) {
    return {
        .name = "access_log",
        // SQLite has one writer at a time. More partitions would call write() side by side, to wait there for each
        // other; with one it needs no lock. The threads that push meet in it for a short moment every block.
        .partitions = 1,
        .processing_interval = how.interval,
        .processing_batch_size = how.batch,
        // A commit on a slow disk is late, not lost: with a timeout its batch would count as failed.
        .processing_timeout = std::chrono::nanoseconds::max(),
        // Under load a drain starts as soon as a batch is full; the interval is for input that trickles in.
        .drain_threshold = how.batch,
        // Parsing is faster than SQLite. At the capacity a push waits for it, and with it the parsers and the
        // reader: so many records wait, as many are being written. It never gives up, so no line is lost.
        .capacity = how.capacity,
        .overflow = tidefall::overflow_policy::block,
        .overflow_timeout = std::chrono::nanoseconds::max(),
        // stop() waits for the last batch, however long it takes.
        .shutdown_timeout = std::chrono::nanoseconds::max(),
    };
}

}  // namespace

ingest::ingest(database& into, stop_request& stop, ingest_options const& how, log_layout layout)
    : database_(into),
      failure_(stop),
      queue_(
          queue_options(how), [this](std::span<record const> batch) { write(batch); },
          [this](std::span<record>, tidefall::failure const& why) { failure_.note(why.error); }),
      parsers_(how.threads, layout, stop, [this](std::vector<record> records) { push(std::move(records)); }) {
}

ingest::~ingest() = default;

bool ingest::feed(block lines) {
    return parsers_.feed(std::move(lines));
}

void ingest::finish() {
    parsers_.wait();
    // Every accepted record has been handed to write() or to failure_ when this returns.
    queue_.stop();
    parsers_.throw_error();
    require_no_failure();
}

ingest_counts ingest::counts() const {
    auto const stats = queue_.stats();
    return {.lines = parsers_.lines(), .waiting = stats.pending + stats.in_flight, .batches = batches_.load()};
}

tidefall::buffer_stats ingest::stats() const {
    return queue_.stats();
}

/// The processor: called by the queue's worker, never twice at once.
void ingest::write(std::span<record const> batch) {
    failure_.require_none();
    database_.write(batch);
    batches_.fetch_add(1);
}

/// On the parsers' threads.
void ingest::push(std::vector<record> records) {
    records_.fetch_add(records.size());
    queue_.push_range(std::move(records));  // all are accepted: nothing stops the queue before the parsers end
}

void ingest::require_no_failure() const {
    auto const reason = failure_.reason();
    if (reason.empty()) return;
    auto const stats = queue_.stats();
    throw database_error(reason + "; " + grouped(stats.processed) + " of " +
                         counted(stats.accepted, "parsed line", "parsed lines") + " stored");
}

}  // namespace access_log
