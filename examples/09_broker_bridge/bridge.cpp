// SPDX-License-Identifier: MIT
#include "bridge.hpp"

#include <tidefall/log_telemetry.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <future>
#include <random>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>

namespace broker_bridge {
namespace {

using namespace std::chrono_literals;

tidefall::options queue_options(settings const& how) {
    return {
        .name = "lines",
        .partitions = how.partitions,
        .processing_interval = how.interval,
        .processing_batch_size = how.batch,
        // The brokers need time to answer. Meanwhile other batches go out.
        .max_in_flight = how.in_flight,
        // The client has a timeout of its own, and a late success is a success.
        .processing_timeout = std::chrono::nanoseconds::max(),
        .drain_threshold = how.batch * how.in_flight,
        // Where the brokers are slower than the lines, the reader waits, and with it who writes to it. Now and then it
        // looks whether it is to end.
        .capacity = 2 * how.batch * how.in_flight,
        .overflow = tidefall::overflow_policy::block,
        .overflow_timeout = 100ms,
        .shutdown_timeout = how.timeout,
        .telemetry = how.verbose ? tidefall::make_log_telemetry(stderr) : nullptr,
    };
}

/// Differs from run to run: without a name from the command line the lines are others every time.
std::string random_id() {
    std::random_device random;
    char text[17];
    std::snprintf(text, sizeof text, "%08x%08x", random(), random());
    return text;
}

/// The word of this number, from 1; what is separated by spaces and tabs.
void find_key(message& in, std::size_t word) {
    std::size_t end = 0;
    for (std::size_t i = 0; i < word; ++i) {
        in.key_at = in.text.find_first_not_of(" \t", end);
        if (in.key_at == std::string::npos) in.key_at = in.text.size();
        end = std::min(in.text.find_first_of(" \t", in.key_at), in.text.size());
    }
    in.key_size = end - in.key_at;
}

/// A record of the spill file: the id and, on a line of its own, the text. The key is found again.
void encode(message const& one, std::string& to) {
    to = one.id + '\n' + one.text;
}

message decode(std::string_view record, std::size_t key) {
    auto const end = record.find('\n');
    if (end == std::string_view::npos) throw std::runtime_error("no id");
    message one{.id = std::string(record.substr(0, end)), .text = std::string(record.substr(end + 1))};
    find_key(one, key);
    return one;
}

void say_spilled(std::string const& file, std::size_t count, std::exception_ptr const& error) {
    std::string reason = "no time was left";
    try {
        if (error) std::rethrow_exception(error);
    } catch (std::exception const& known) {
        reason = known.what();
    }
    std::fprintf(stderr, "09_broker_bridge: %zu lines wait in %s: %s\n", count, file.c_str(), reason.c_str());
}

tidefall::batch_result result_of(answer const& said) {
    tidefall::batch_result result;
    for (auto const index : said.unconfirmed) result.reject(index);
    if (!said.unconfirmed.empty()) result.because(std::make_exception_ptr(std::runtime_error(said.reason)));
    return result;
}

}  // namespace

bridge::bridge(settings const& how, broker& to, access_log::stop_request const& stop)
    : how_(how),
      stop_(stop),
      id_((how.id.empty() ? random_id() : how.id) + '-'),
      broker_(to),
      spill_(tidefall::open_spill<message>(
          how.spill, encode, [key = how.key](std::string_view record) { return decode(record, key); },
          {.on_spill = [file = how.spill](std::size_t count,
                                          std::exception_ptr const& why) { say_spilled(file, count, why); }})),
      waited_(spill_->stats().records),
      queue_(
          queue_options(how), [this](tidefall::async_batch<message> batch) { deliver(std::move(batch)); },
          spill_->undelivered()),
      back_(std::in_place, 500ms, [this] {
          if (is_well_) bring_back();
      }) {
}

bridge::~bridge() = default;

void bridge::push(std::uint64_t number, std::string_view line) {
    message one{.id = id_ + std::to_string(number), .text = std::string(line)};
    find_key(one, how_.key);
    ++lines_;
    // Lines of one key keep their order: they have one partition here, and one of the broker's.
    auto const hash = std::hash<std::string_view>{}(one.key());
    auto const push = [&] {
        return one.key_size == 0 ? queue_.push(std::move(one))
                                 : queue_.push(std::move(one), tidefall::partition_key{hash});
    };
    while (push() != tidefall::write_status::accepted) {  // and then it leaves the line as it was
        if (!stop_.asked()) continue;
        // The end is not to wait for brokers that are away: each batch has one more attempt, and this line has none.
        queue_.stop();
        unsent_.push_back(std::move(one));
        break;
    }
}

/// The processor. It returns at once; the answer ends the batch, on a thread of the client's.
void bridge::deliver(tidefall::async_batch<message> batch) {
    auto const held = std::make_shared<tidefall::async_batch<message>>(std::move(batch));
    broker_.send(held->values(), [this, held](answer const& said) {
        auto result = result_of(said);
        is_well_ = said.unconfirmed.empty();
        auto const attempt = held->info().attempt;
        if (attempt < how_.attempts) result.retry_after(100ms * (1 << std::min<std::size_t>(attempt - 1, 5)));
        held->complete(std::move(result));  // what is rejected for good goes to the spill file
    });
}

/// A batch of the spill file after the other, until one is not taken.
void bridge::bring_back() {
    if (spill_->stats().records == 0) return;
    spill_->replay(
        [this](std::span<message const> batch) {
            std::promise<answer> said;
            broker_.send(batch, [&](answer one) { said.set_value(std::move(one)); });
            return result_of(said.get_future().get());
        },
        how_.batch);
}

void bridge::finish() {
    if (!stop_.asked()) queue_.flush(std::chrono::nanoseconds::max());
    back_.reset();
    if (!queue_.stop().complete) broker_.give_up();
    if (!unsent_.empty()) {
        spill_->undelivered()(unsent_, {.reason = tidefall::failure_reason::stopped});
    }
    // Batches that were out have an outcome now, or will have it in a moment.
    while (queue_.stats().in_flight > 0) std::this_thread::sleep_for(1ms);
    bring_back();
}

bridge_counts bridge::counts() const {
    auto const spilled = spill_->stats();
    return {.lines = lines_,
            .waited = waited_,
            .confirmed = queue_.stats().processed + spilled.replayed,
            .kept = spilled.records,
            .lost = spilled.refused,
            .doubtful = broker_.doubtful()};
}

}  // namespace broker_bridge
