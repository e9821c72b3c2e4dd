// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/stop_signal.hpp>
#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/call_services.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <utility>

namespace tidefall::inline v0::detail {

/// One batch on its way through the processor: what its call is about, how long it may take, its stop token. An object
/// serves one batch after another. Guarded by the control's mutex while it is in a list of `calls_in_progress` or late;
/// otherwise its worker's.
///
/// A call has two ends, which most processors reach together: its batch has an outcome, and whoever made the call has
/// returned from it. A batch that is completed later has its outcome on whatever thread, before that or after it.
class call_in_progress {
public:
    /// Which call, and who makes it.
    struct identity {
        std::uint64_t number = 0;
        detail::worker* worker = nullptr;  ///< null: no worker of a runtime. It is there for as long as `is_inside`.
        bool is_inside = false;            ///< the worker has not returned from it
    };

    /// How it ended.
    struct result {
        nanoseconds duration{};
        bool timed_out = false;
        bool unnoticed = false;  ///< nobody but this result has said so yet
    };

    call_in_progress() { place_ = unlisted_.insert(unlisted_.end(), this); }
    call_in_progress(call_in_progress const&) = delete;
    call_in_progress& operator=(call_in_progress const&) = delete;

    /// The call is made. `number` is not 0, and no other call's of the partition.
    void begin(std::uint64_t number, std::size_t size, time_point now, nanoseconds timeout, worker* by) noexcept {
        assert(!is_open() && !is_inside() && !is_late() && "one call at a time");
        identity_ = {.number = number, .worker = by, .is_inside = true};
        since_ = now;
        deadline_ = later(now, timeout);
        size_ = size;
        is_open_ = true;
        if (!signal_ready_) signal_spent_ = false;  // nobody has the token, but for who asks whether it was stopped
        timed_out_ = settled_ = is_finished_ = is_given_up_ = offers_again_ = waits_for_return_ = false;
    }

    /// For a call in progress too, unless it has timed out, or was settled.
    void set_timeout(nanoseconds timeout) noexcept {
        if (!timed_out_ && !settled_) deadline_ = later(since_, timeout);
    }

    /// The call takes as long as it likes from here on. False where it has taken too long.
    bool settle(time_point now) noexcept {
        assert(is_open());
        if (timed_out_ || has_passed(deadline_, now)) return false;
        settled_ = true;
        deadline_ = never;
        return true;
    }

    /// The batch has its outcome. The watchdog may be late, or held up in a hook: a call is judged by its own time.
    [[nodiscard]] result end(time_point now) noexcept {
        assert(is_open());
        bool const unnoticed = time_out(now);
        is_open_ = false;
        return {.duration = now - since_, .timed_out = timed_out_, .unnoticed = unnoticed};
    }

    /// Whoever made the call has returned.
    void leave() noexcept {
        assert(is_inside());
        identity_.is_inside = false;
        identity_.worker = nullptr;
    }

    /// The values of the batch have gone where they go.
    void finish() noexcept {
        assert(!is_open() && !is_finished());
        is_finished_ = true;
    }

    /// The call goes on without the partition, until `forget`. Returns its size.
    std::size_t abandon() noexcept {
        assert(is_open());
        is_open_ = false;
        is_late_ = true;
        signal_spent_ = true;
        return size_;
    }
    void forget() noexcept {
        assert(is_late() && !is_inside());
        is_late_ = false;
        is_counted_late_ = false;
    }
    /// While it is late it is one of those that nobody is in.
    void count_late() noexcept { is_counted_late_ = true; }
    [[nodiscard]] bool is_counted_late() const noexcept { return is_counted_late_; }

    [[nodiscard]] identity who() const noexcept { return identity_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool is_open() const noexcept { return is_open_; }  ///< its batch has no outcome
    [[nodiscard]] bool is_inside() const noexcept { return identity_.is_inside; }
    [[nodiscard]] bool is_late() const noexcept { return is_late_; }  ///< it was abandoned, and has not returned

    /// When it will have taken too long; never if it has.
    [[nodiscard]] time_point times_out_at() const noexcept { return timed_out_ || !is_open_ ? never : deadline_; }

    /// True once, where it has taken too long.
    bool time_out(time_point now) noexcept {
        if (timed_out_ || !is_open_ || !has_passed(deadline_, now)) return false;
        return timed_out_ = true;
    }

    // ---- of a batch that is completed later

    [[nodiscard]] bool is_finished() const noexcept { return is_finished_; }

    /// It was given up while its call runs, which says why when it returns.
    void give_up() noexcept { is_given_up_ = true; }
    [[nodiscard]] bool is_given_up() const noexcept { return is_given_up_; }

    // ---- of a batch of which a part is to be offered again

    /// So many values of it are offered again, not before that time.
    void offer_again(time_point at, std::size_t size) noexcept {
        offers_again_ = true;
        again_at_ = at;
        size_ = size;
    }
    [[nodiscard]] bool offers_again() const noexcept { return offers_again_; }
    [[nodiscard]] time_point again_at() const noexcept { return again_at_; }

    /// The values lie ready, and the call has not returned.
    void wait_for_return() noexcept { waits_for_return_ = true; }
    [[nodiscard]] bool waits_for_return() const noexcept { return waits_for_return_; }

    /// That time has come, as far as the timer knows.
    void set_due() noexcept { again_at_ = (time_point::min)(); }
    [[nodiscard]] bool is_due() const noexcept { return again_at_ == (time_point::min)(); }

    /// The index of the batch in its drain.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    void set_index(std::size_t index) noexcept { index_ = index; }

    // ---- the token

    /// For the next call.
    [[nodiscard]] stop_signal const& signal() const noexcept { return signal_; }

    /// Has a token ready: one that was stopped serves no other call. May throw for memory.
    void renew_signal() {
        if (signal_ready_ && !signal_spent_) return;
        signal_.renew();
        signal_ready_ = true;
        signal_spent_ = false;
    }

    /// True until somebody has taken it upon himself to stop the token.
    [[nodiscard]] bool signal_is_unspent() const noexcept { return !signal_spent_; }
    [[nodiscard]] stop_signal spend_signal() noexcept {
        signal_spent_ = true;
        return signal_;
    }

    // ---- what the call waits for itself

    /// Where whoever stops its token is to wake it; null: nowhere.
    [[nodiscard]] std::shared_ptr<waiting_place> const& waits_at() const noexcept { return waits_at_; }
    /// Returns the place before, to be released without a lock.
    std::shared_ptr<waiting_place> wait_at(std::shared_ptr<waiting_place> place) noexcept {
        return std::exchange(waits_at_, std::move(place));
    }

protected:
    ~call_in_progress() = default;

private:
    friend class calls_in_progress;

    identity identity_;
    std::size_t size_ = 0;
    std::size_t index_ = 0;
    time_point since_{};
    time_point deadline_ = never;
    time_point again_at_{};
    bool is_open_ = false;
    bool is_late_ = false;
    bool timed_out_ = false;
    bool settled_ = false;
    bool is_finished_ = false;
    bool is_counted_late_ = false;
    bool is_given_up_ = false;
    bool offers_again_ = false;
    bool waits_for_return_ = false;

    bool signal_ready_ = false;
    bool signal_spent_ = false;  ///< stopped, or about to be
    stop_signal signal_;
    std::shared_ptr<waiting_place> waits_at_;

    // One list node, here or in a list of calls; place_ never changes.
    std::list<call_in_progress*> unlisted_;
    std::list<call_in_progress*>::iterator place_;
};

}  // namespace tidefall::inline v0::detail
