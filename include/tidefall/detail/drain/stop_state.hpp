// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>

#include <algorithm>
#include <cassert>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// How far a partition is on its way to its end: whether it takes values, and whether its end was announced. Both only
/// ever go forward.
///
///     open --close--> closed --expire--> expired        (expired: the deadline of the stop has passed, and dropped
///                                                        what waited)
///     pending --claim_end--> announcing --announced--> announced
class stop_state {
public:
    /// Sets the deadline, or brings it forward. True for the first who closes.
    bool close(time_point deadline) noexcept {
        deadline_ = (std::min)(deadline_, deadline);
        if (intake_ != intake::open) return false;
        intake_ = intake::closed;
        return true;
    }

    /// True for the first.
    bool expire() noexcept {
        assert(is_closed());
        if (is_expired()) return false;
        intake_ = intake::expired;
        return true;
    }

    [[nodiscard]] bool is_closed() const noexcept { return intake_ != intake::open; }
    [[nodiscard]] bool is_expired() const noexcept { return intake_ == intake::expired; }
    [[nodiscard]] time_point deadline() const noexcept { return deadline_; }

    [[nodiscard]] bool is_past_deadline(time_point now) const noexcept {
        return is_closed() && has_passed(deadline_, now);
    }

    /// True once nothing is to be begun any more.
    [[nodiscard]] bool is_over(time_point now) const noexcept { return is_expired() || is_past_deadline(now); }

    /// True for the one who is to announce the end.
    bool claim_end() noexcept {
        assert(is_closed());
        if (end_ != end::pending) return false;
        end_ = end::announcing;
        return true;
    }
    void announced() noexcept {
        assert(end_ == end::announcing);
        end_ = end::announced;
    }

    /// Who expired returns what was dropped, perhaps beside a worker.
    void begin_return() noexcept { is_returning_ = true; }
    void end_return() noexcept { is_returning_ = false; }

    /// True once the end was announced, and nobody returns values.
    [[nodiscard]] bool has_ended() const noexcept { return end_ == end::announced && !is_returning_; }
    [[nodiscard]] bool is_returning() const noexcept { return is_returning_; }
    [[nodiscard]] bool was_announced() const noexcept { return end_ == end::announced; }

private:
    enum class intake : std::uint8_t { open, closed, expired };
    enum class end : std::uint8_t { pending, announcing, announced };

    intake intake_ = intake::open;
    end end_ = end::pending;
    bool is_returning_ = false;
    time_point deadline_ = never;
};

}  // namespace tidefall::inline v0::detail
