// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>

#include <algorithm>
#include <cassert>

namespace tidefall::inline v0::detail {

/// When the timer is to look at a partition: for its tick, for the first write, to offer a batch again, and to free
/// memory.
///
/// A tick is due one interval after a write found the partition empty. No write has to plan it after a swap that took
/// values: the timer looks one interval after the swap whether anything was written, and since when. Memory that a
/// partition no longer needs is freed ten intervals after its last swap or drain: that look is called a trim.
class tick_plan {
public:
    /// The time of the next look; never if there is none to come.
    [[nodiscard]] time_point next() const noexcept { return (std::min)({tick_at_, look_at_, trim_at_, retry_at_}); }

    /// A value waits from now on. True if the next tick is earlier for it.
    bool value_waits(time_point now) noexcept { return tick_by(later(now, interval_)); }

    /// Has the tick be due by that time. True if that is earlier than before.
    bool tick_by(time_point at) noexcept {
        assert(!closed_ && "a closed partition has no tick");
        if (at >= tick_at_) return false;
        tick_at_ = at;
        return true;
    }

    /// True once, where the tick is due.
    [[nodiscard]] bool take_tick(time_point now) noexcept { return take(tick_at_, now); }

    /// The look at what was written since the swap, if anything was. Whoever looks plans the tick, and ends it.
    [[nodiscard]] bool is_look_due(time_point now) const noexcept { return has_passed(look_at_, now); }
    void end_look() noexcept { look_at_ = never; }

    /// True once, where the trim is due.
    [[nodiscard]] bool take_trim(time_point now) noexcept { return take(trim_at_, now); }

    /// A batch waits to be offered again, at that time.
    void retry_at(time_point at) noexcept {
        assert(!closed_ && "a closed partition offers it at once");
        retry_at_ = at;
    }

    /// True once, where that is due.
    [[nodiscard]] bool take_retry(time_point now) noexcept { return take(retry_at_, now); }

    /// The tables were exchanged, and nothing waits. A swap that took something puts the trim off.
    void swapped(bool took_values, time_point now) noexcept {
        tick_at_ = look_at_ = never;
        if (!took_values || closed_) return;
        look_at_ = later(now, interval_);
        trim_at_ = trim_from(now);
    }

    /// A drain ended. True if a trim was planned for it.
    bool drained(time_point now) noexcept {
        if (closed_ || trim_at_ != never) return false;
        trim_at_ = trim_from(now);
        return true;
    }

    /// Another interval from now on: nothing that is planned already comes later for it. `waits`: a value does.
    /// `used`: there was a swap before, so that there may be memory to free.
    void change_interval(nanoseconds interval, time_point now, bool waits, bool used) noexcept {
        interval_ = interval;
        if (closed_) return;
        if (waits) tick_at_ = (std::min)(tick_at_, later(now, interval));
        if (used) trim_at_ = (std::min)(trim_at_, trim_from(now));
    }

    /// Nothing is planned any more.
    void close() noexcept {
        closed_ = true;
        tick_at_ = look_at_ = trim_at_ = retry_at_ = never;
    }

private:
    static constexpr int intervals_until_trim = 10;

    [[nodiscard]] time_point trim_from(time_point now) const noexcept {
        return later(now, times(interval_, intervals_until_trim));
    }

    static bool take(time_point& at, time_point now) noexcept {
        if (!has_passed(at, now)) return false;
        at = never;
        return true;
    }

    nanoseconds interval_{};
    time_point tick_at_ = never;
    time_point look_at_ = never;
    time_point trim_at_ = never;
    time_point retry_at_ = never;
    bool closed_ = false;
};

}  // namespace tidefall::inline v0::detail
