// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/this_thread.hpp>
#include <tidefall/detail/base/to_size.hpp>
#include <tidefall/detail/write/writer_places.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tidefall::inline v0::detail {

/// From a thread or a hash to the number of a stripe, which counts those of all partitions. Nothing here changes, so
/// any number of threads may ask at once.
class router {
public:
    /// `stripes` in each partition, a power of two. `places` outlives it.
    router(writer_places& places, std::size_t partitions, std::size_t stripes) noexcept
        : places_(&places),
          key_(places.key()),
          stripe_count_(partitions * stripes),
          stripe_mask_(stripes - 1),
          stripe_bits_(static_cast<unsigned>(std::countr_zero(stripes))) {}

    /// Of the one that the calling thread keeps to.
    [[nodiscard]] thread_places::place& place_of_this_thread() const noexcept {
        auto& place = state_of_this_thread().places.first_look(key_);
        if (place.buffer == key_) [[likely]]
            return place;
        return places_->of_this_thread();
    }

    /// The same if one look tells; null otherwise. What this returns stays the place in this buffer, whatever the
    /// thread writes to meanwhile.
    [[nodiscard]] thread_places::place* first_look() const noexcept {
        auto& place = state_of_this_thread().places.first_look(key_);
        return place.buffer == key_ ? &place : nullptr;
    }

    /// The one that the calling thread keeps to.
    [[nodiscard]] std::size_t by_thread() const noexcept { return place_of_this_thread().stripe; }

    /// The one of a mixed hash: its highest bits choose the partition, the next ones the stripe.
    [[nodiscard]] std::size_t by_hash(std::uint64_t hash) const noexcept {
        return to_size((hash >> 32) * stripe_count_ >> 32);
    }

    /// In the same partition, the one that the calling thread keeps to.
    [[nodiscard]] std::size_t own_stripe_of(std::size_t stripe) const noexcept {
        return (stripe & ~stripe_mask_) | (by_thread() & stripe_mask_);
    }

    /// How many there are.
    [[nodiscard]] std::size_t stripes() const noexcept { return to_size(stripe_count_); }

    [[nodiscard]] std::size_t partition_of(std::size_t stripe) const noexcept { return stripe >> stripe_bits_; }

private:
    writer_places* places_;
    std::uint64_t key_;           ///< by which a thread finds its place
    std::uint64_t stripe_count_;  ///< of all partitions
    std::size_t stripe_mask_;
    unsigned stripe_bits_;
};

}  // namespace tidefall::inline v0::detail
