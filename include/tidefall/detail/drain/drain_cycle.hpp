// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/results.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace tidefall::inline v0::detail {

/// Where a partition is in its drain, which drain follows, and the numbers that a flush waits for.
///
///     idle --begin--> queued --start_run--> preparing <--enter_call, leave_call--> calling
///      ^                ^ |                   |  |                                    |
///      |                +-|-------pause-------+  +--end--> idle                       |
///      |                +-|-----------------------------abandon_call------------------+
///      |                | +--unqueue--+
///      |                |             v
///      |                +--resume-- waiting <--put_off, take_up--> preparing
///      +--cancel--(queued)
class drain_cycle {
public:
    enum class phase : std::uint8_t {
        idle,
        queued,     ///< a worker is to come
        preparing,  ///< a worker sorts, gathers, or settles a call that ended
        calling,    ///< a worker is in a call of the processor
        waiting,    ///< no worker is here: for a batch that is out, or one that is offered again at its time
    };

    [[nodiscard]] phase now() const noexcept { return phase_; }
    [[nodiscard]] bool is(phase one) const noexcept { return phase_ == one; }

    /// The tables were exchanged. Without values the drain ends here.
    void begin(drain_trigger trigger, bool has_values) noexcept {
        assert(is(phase::idle));
        is_requested_ = false;
        ++begun_;
        if (!has_values) {
            ++ended_;
            return;
        }
        trigger_ = trigger;
        started_ = false;
        batches_ = 0;
        phase_ = phase::queued;
    }

    /// Another drain is to follow the one in progress. The first to ask gives its trigger.
    void request(drain_trigger trigger) noexcept {
        if (!std::exchange(is_requested_, true)) requested_ = trigger;
    }
    [[nodiscard]] std::optional<drain_trigger> requested() const noexcept {
        return is_requested_ ? std::optional(requested_) : std::nullopt;
    }

    /// A worker has come. True for the first of this drain.
    bool start_run() noexcept {
        move(phase::queued, phase::preparing);
        return !std::exchange(started_, true);
    }
    /// A worker has come to this drain before.
    [[nodiscard]] bool has_started() const noexcept { return started_; }

    /// The worker leaves the rest of the drain for another run.
    void pause() noexcept { move(phase::preparing, phase::queued); }

    /// There is nothing to do before a batch that is out has its outcome, or one that is to be offered again its time.
    void put_off() noexcept { move(phase::preparing, phase::waiting); }
    void resume() noexcept { move(phase::waiting, phase::queued); }
    /// The same where the worker has not come yet.
    void unqueue() noexcept { move(phase::queued, phase::waiting); }
    /// Who ends the last batch that is out goes on as a worker would.
    void take_up() noexcept { move(phase::waiting, phase::preparing); }

    /// The index of the next batch, from 0.
    std::size_t next_batch() noexcept { return batches_++; }

    void enter_call() noexcept { move(phase::preparing, phase::calling); }
    void leave_call() noexcept { move(phase::calling, phase::preparing); }

    /// The call goes on by itself; the rest of the drain is another worker's.
    void abandon_call() noexcept { move(phase::calling, phase::queued); }

    void end() noexcept {
        move(phase::preparing, phase::idle);
        ++ended_;
    }

    /// Ends the drain before a worker came back to it.
    void cancel() noexcept {
        move(phase::queued, phase::idle);
        ++ended_;
    }

    [[nodiscard]] drain_trigger trigger() const noexcept { return trigger_; }

    /// The number of the newest drain, and of that which would follow it. Empty drains count.
    [[nodiscard]] std::uint64_t newest() const noexcept { return begun_; }

    /// True once that drain, and each before it, has ended.
    [[nodiscard]] bool has_ended(std::uint64_t number) const noexcept { return ended_ >= number; }

private:
    void move([[maybe_unused]] phase from, phase to) noexcept {
        assert(phase_ == from);
        phase_ = to;
    }

    phase phase_ = phase::idle;
    bool started_ = false;
    drain_trigger trigger_ = drain_trigger::interval;
    std::size_t batches_ = 0;
    bool is_requested_ = false;  // two fields: g++ 12 warns of an optional that is empty
    drain_trigger requested_ = drain_trigger::interval;
    std::uint64_t begun_ = 0;
    std::uint64_t ended_ = 0;
};

}  // namespace tidefall::inline v0::detail
