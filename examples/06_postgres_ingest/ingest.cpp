// SPDX-License-Identifier: MIT
#include "ingest.hpp"

#include "../support/log_line.hpp"
#include "postgres.hpp"

#include <tidefall/log_telemetry.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace postgres_ingest {
namespace {

using namespace std::chrono_literals;

tidefall::options queue_options(settings const& how) {
    auto const& its = how.ingest;
    return {
        .name = "access_log",
        .partitions = its.connections,
        .processing_interval = its.interval,
        .processing_batch_size = its.batch,
        // A server that hangs: the call's token is stopped, the connection cut, and the batch is in the spill file.
        .processing_timeout = its.timeout,
        .drain_threshold = its.batch,
        // Where the server is slower than the log, or away, pushes wait, and with them the reader: until the batch
        // before has been taken or is in the spill file. Now and then they look whether a signal came.
        .capacity = 2 * its.batch,
        .overflow = tidefall::overflow_policy::block,
        .overflow_timeout = 100ms,
        .shutdown_timeout = its.timeout,
        .telemetry = how.verbose ? tidefall::make_log_telemetry(stderr) : nullptr,
        // A call waits for the server most of its time, so each connection has a thread.
        .runtime = tidefall::make_runtime({.workers = its.connections, .thread_name = "access_log"}),
    };
}

bool is_data_error(std::exception_ptr const& error) {
    try {
        std::rethrow_exception(error);
    } catch (postgres::error const& one) {
        return one.is_of_data();
    } catch (...) {
        return false;
    }
}

void say_spilled(std::string const& file, std::size_t count, std::exception_ptr const& error) {
    std::string reason = "no time was left";
    try {
        if (error) std::rethrow_exception(error);
    } catch (std::exception const& known) {
        reason = known.what();
    }
    std::fprintf(stderr, "06_postgres_ingest: %zu lines wait in %s: %s\n", count, file.c_str(), reason.c_str());
}

}  // namespace

/// Writes the batches of one partition, by a connection of its own, each in one transaction.
class ingest::writer {
public:
    explicit writer(ingest& of) : of_(of) {}

    void operator()(std::span<row const> batch, std::stop_token const& token) {
        try {
            if (!connection_) connect();
            std::stop_callback const cut(token, [this] { connection_->cut(); });
            auto const stored = store(batch);
            of_.written_.stored += stored;
            of_.written_.known += batch.size() - stored;
        } catch (postgres::error const& error) {
            // After any other error a new connection is the way out, maybe to another server.
            if (!error.is_of_data()) connection_.reset();
            if (!error.is_of_data() || batch.size() > 1) throw;
            of_.rejects_.add(batch[0], error.what());
        }
    }

private:
    void connect() {
        connection_ = std::make_unique<postgres::connection>(of_.how_.ingest.server);
        connection_->execute(prepare_tables);
    }

    std::uint64_t store(std::span<row const> batch) {
        // A row that is there already fails the whole COPY. That is rare: after an attempt whose answer was lost, and
        // where a log is read once more. The way by a second table can take it, for twice the server's time.
        if (!again_) {
            try {
                connection_->execute(copy_rows);
                return connection_->copy(batch);
            } catch (postgres::error const& error) {
                if (!error.is(postgres::unique_violation)) throw;
            }
        }
        connection_->execute(copy_again);
        connection_->copy(batch);
        auto const stored = connection_->execute(insert_missing);
        again_ = stored < batch.size();
        return stored;
    }

    ingest& of_;
    std::unique_ptr<postgres::connection> connection_ = {};
    bool again_ = false;  ///< the last batch had rows that were there
};

/// From the inside: a connection for each partition; rows that the server refuses are found and put aside; what it does
/// not take for another reason is tried again, and then goes to the spill file, and back once it takes something.
auto ingest::processor() {
    return tidefall::with_retry(
        tidefall::with_split(tidefall::per_partition([this](std::size_t) { return writer(*this); }), is_data_error),
        {.attempts = how_.ingest.attempts, .first_delay = 100ms, .max_delay = 5s});
}

ingest::ingest(settings const& how, access_log::stop_request& stop)
    : how_(how),
      stop_(stop),
      logs_(std::max<std::size_t>(1, how.source.inputs.size())),
      rejects_(how.ingest.rejects),
      spill_(tidefall::open_spill<row>(
          how.ingest.spill, [](row const& one) -> std::string const& { return one; },
          [](std::string_view record) { return row(record); },
          {.on_spill = [file = how.ingest.spill](std::size_t count,
                                                 std::exception_ptr const& why) { say_spilled(file, count, why); }})),
      waited_(spill_->stats().records),
      queue_(queue_options(how), tidefall::with_spill(processor(), spill_), spill_->undelivered()),
      workers_(how.ingest.threads, stop, [this](access_log::block const& lines) { make_rows(lines); }) {
}

ingest::~ingest() = default;

bool ingest::feed(access_log::block lines) {
    if (lines.first_line == 1) {
        // Of a first line that is too long nothing is known but where it is.
        auto const& inputs = how_.source.inputs;
        logs_[lines.input] =
            log_id(lines.too_long && !inputs.empty() ? std::string_view(inputs[lines.input])
                                                     : std::string_view(lines.text).substr(0, lines.text.find('\n')));
    }
    return workers_.feed(std::move(lines));
}

/// On several threads.
void ingest::make_rows(access_log::block const& lines) {
    auto const log = logs_[lines.input];
    if (lines.too_long) {
        ++lines_;
        return rejects_.add({log, lines.first_line}, "the line is longer than 64 KiB", "");
    }
    std::vector<row> rows;
    access_log::for_each_line(lines, [&](std::uint64_t number, std::string_view line) {
        ++lines_;
        auto const parsed = access_log::parse_line(line, how_.source.layout);
        if (auto const* const request = std::get_if<access_log::request>(&parsed)) {
            rows.push_back(make_row({log, number}, *request));
        } else {
            rejects_.add({log, number}, std::get<access_log::malformed>(parsed).reason, line);
        }
    });
    while (!rows.empty()) {
        auto const accepted = queue_.push_range(std::move(rows));  // what there is no room for stays
        rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(accepted));
        if (rows.empty() || !stop_.asked()) continue;
        // The end is not to wait for a server that is away: each batch has one more attempt, and these rows have none.
        queue_.stop();
        return spill_->undelivered()(rows, {.reason = tidefall::failure_reason::stopped});
    }
}

void ingest::finish() {
    workers_.wait();
    // A signal leaves the time for one attempt; without one there is time for all.
    if (!stop_.asked()) queue_.flush(std::chrono::nanoseconds::max());
    queue_.stop();
    // The batches that brought the file's rows along have ended. What is left has this chance, and waits else.
    if (spill_->stats().records > 0) {
        try {
            spill_->replay(tidefall::with_split(writer(*this), is_data_error), how_.ingest.batch);
        } catch (postgres::error const&) {
        }
    }
    workers_.throw_error();
}

ingest_counts ingest::counts() const {
    auto const spilled = spill_->stats();
    return {.lines = lines_.load(),
            .waited = waited_,
            .stored = written_.stored.load(),
            .known = written_.known.load(),
            .rejected = rejects_.count(),
            .kept = spilled.records,
            .lost = spilled.refused};
}

}  // namespace postgres_ingest
