// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/time.hpp>
#include <tidefall/detail/drain/call_in_progress.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <list>

namespace tidefall::inline v0::detail {

/// The calls of one partition, each in one list at most: those that are out, those whose batches wait to be offered
/// again, in the order in which the batches were cut, and those that serve no batch. Guarded by the control's mutex.
/// Whose list a call is in, owns nothing.
class calls_in_progress {
public:
    /// For the calls that are out too.
    void set_timeout(nanoseconds timeout) noexcept {
        timeout_ = timeout;
        for (auto* const one : out_) one->set_timeout(timeout);
    }

    /// A call is made: it is out.
    void begin(call_in_progress& call, std::size_t size, time_point now, worker* by) noexcept {
        call.begin(++begun_, size, now, timeout_, by);
        list(call, out_);
    }

    /// Of one that is out. It is in no list from then on.
    void take_back(call_in_progress& call) noexcept {
        unlist(call, out_);
        if (call.offers_again()) --parting_;
    }

    /// The values of one that is out are sorted out, of which so many are offered again, until it is taken back.
    void part(call_in_progress& call, time_point again_at, std::size_t again) noexcept {
        call.offer_again(again_at, again);
        ++parting_;
    }
    [[nodiscard]] bool is_parting() const noexcept { return parting_ > 0; }

    // ---- those that are out

    [[nodiscard]] std::size_t out() const noexcept { return out_.size(); }
    [[nodiscard]] std::list<call_in_progress*> const& all_out() const noexcept { return out_; }

    /// Null if it is not out.
    [[nodiscard]] call_in_progress* find(std::uint64_t number) const noexcept {
        auto const at = std::find_if(out_.begin(), out_.end(),
                                     [=](call_in_progress const* one) { return one->who().number == number; });
        return at == out_.end() ? nullptr : *at;
    }

    // ---- those that wait to be offered again

    /// In no list before.
    void wait(call_in_progress& call) noexcept {
        auto const at = std::find_if(waiting_.begin(), waiting_.end(),
                                     [&](auto const* one) { return one->index() > call.index(); });
        waiting_.splice(at, call.unlisted_);
    }
    [[nodiscard]] call_in_progress* first_waiting() const noexcept {
        return waiting_.empty() ? nullptr : waiting_.front();
    }
    /// The first one. It is in no list from then on. Null if there is none.
    call_in_progress* take_waiting() noexcept { return take(waiting_); }

    // ---- those that serve no batch

    /// In no list before.
    void put_aside(call_in_progress& call) noexcept { list(call, idle_); }
    /// One that is in no list from then on. Null if there is none.
    call_in_progress* take_idle() noexcept { return take(idle_); }
    [[nodiscard]] std::list<call_in_progress*> const& idle() const noexcept { return idle_; }

private:
    using calls = std::list<call_in_progress*>;

    static void list(call_in_progress& call, calls& in) noexcept {
        assert(!call.unlisted_.empty());
        in.splice(in.end(), call.unlisted_);
    }
    static void unlist(call_in_progress& call, calls& from) noexcept {
        assert(call.unlisted_.empty());
        call.unlisted_.splice(call.unlisted_.end(), from, call.place_);
    }
    static call_in_progress* take(calls& from) noexcept {
        if (from.empty()) return nullptr;
        auto* const first = from.front();
        unlist(*first, from);
        return first;
    }

    calls out_;
    calls waiting_;
    calls idle_;
    std::size_t parting_ = 0;
    std::uint64_t begun_ = 0;
    nanoseconds timeout_{};
};

}  // namespace tidefall::inline v0::detail
