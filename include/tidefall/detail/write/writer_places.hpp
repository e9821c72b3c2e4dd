// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/sync.hpp>

#include <cstddef>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// Where the threads that write to one buffer have their places: one partition each, in the order in which they first
/// wrote to it, and in every partition one stripe. Threads that share no partition do not share a stripe of that number
/// either, so that they do not meet where a key brings them together.
///
/// A thread that has a place of its own in 16 buffers already takes the one that its number in the process gives it.
///
/// Thread safety: everything may be called by several threads at once. Nothing blocks or allocates.
class writer_places {
public:
    writer_places(std::size_t partitions, unsigned stripe_bits) noexcept
        : key_(new_key(this)), partitions_(partitions), stripe_bits_(stripe_bits), place_here_(&place_in_this_module) {}
    writer_places(writer_places const&) = delete;
    writer_places& operator=(writer_places const&) = delete;

    /// What tells the buffer from every other one of the process, those that are gone included; never 0.
    [[nodiscard]] std::uint64_t key() const noexcept { return key_; }

    /// The calling thread's, in the module that asks; its stripe is counted over all partitions.
#if defined(__GNUC__)
    [[gnu::noinline]]
#endif
    thread_places::place&
    of_this_thread() noexcept {
        auto& mine = state_of_this_thread().places;
        if (auto* const known = mine.find(key_)) return *known;
        auto const stripe = place_here_(*this);
        auto* const noted = mine.find(key_);  // by that call, where it is of this module
        return noted != nullptr ? *noted : mine.note(key_, stripe);
    }

private:
    /// The module that made the buffer decides for all.
    static std::uint32_t place_in_this_module(writer_places& all) noexcept {
        auto& mine = state_of_this_thread().places;
        if (auto const* const known = mine.find(all.key_)) return known->stripe;
        auto const stripe = all.stripe_at(mine.is_full() ? number_of_this_thread() : next(all.writers_));
        mine.note(all.key_, stripe);
        return stripe;
    }

    /// Relaxed: a number of one's own is all that is wanted.
    static std::uint32_t next(atomic<std::uint32_t>& numbers) noexcept {
        return numbers.fetch_add(1, std::memory_order_relaxed);
    }

    static std::uint32_t number_of_this_thread() noexcept {
        auto& here = state_of_this_thread();
        if (here.number == 0) here.number = next(threads_numbered) + 1;
        return here.number - 1;
    }

    [[nodiscard]] std::uint32_t stripe_at(std::size_t writer) const noexcept {
        auto const partition = writer % partitions_;
        auto const round = writer / partitions_;
        auto const stripe = (round + partition) & ((std::size_t{1} << stripe_bits_) - 1);
        return static_cast<std::uint32_t>((partition << stripe_bits_) | stripe);
    }

    /// Some bits count the buffers, so that a thread finds its places in several at a first look; the others are mixed
    /// from the time and the address, since a module that is loaded anew counts anew.
    static std::uint64_t new_key(void const* of) noexcept {
        auto mixed =
            static_cast<std::uint64_t>(monotonic_clock::now().time_since_epoch().count()) * 0x9E3779B97F4A7C15U;
        mixed ^= reinterpret_cast<std::uintptr_t>(of) * std::uint64_t{0xC2B2AE3D27D4EB4FU};
        mixed = (mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9U;
        std::uint64_t const counted = next(buffers_made) % thread_places::count;
        constexpr auto shift = thread_places::key_shift;
        return ((mixed ^ (mixed >> 32)) << (shift + 4)) | counted << shift | 1ULL << 63;
    }

    static inline constinit atomic<std::uint32_t> buffers_made{0};

    std::uint64_t const key_;
    std::size_t const partitions_;
    unsigned const stripe_bits_;
    std::uint32_t (*const place_here_)(writer_places&) noexcept;
    atomic<std::uint32_t> writers_{0};
};

}  // namespace tidefall::inline v0::detail
