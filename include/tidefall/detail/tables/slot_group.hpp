// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#endif

namespace tidefall::inline v0::detail {

/// What a hash table knows of the slots of one group without looking at them: a tag byte each, 0 for an empty one.
struct alignas(16) slot_group {
    static constexpr std::size_t size = 14;
    static constexpr std::uint8_t full_bit = 0x80;  ///< in every tag but that of an empty slot
    static constexpr std::uint16_t many = 0xffff;

    std::uint8_t tags[size] = {};
    /// Values that would have come here or had come by and found it full, so that a search has to go on; from `many`
    /// it does not come down again.
    std::uint16_t passed = 0;
};

/// A set of slots of one group: bit i is slot i.
class slot_mask {
public:
    constexpr explicit slot_mask(std::uint32_t bits) noexcept : bits_(bits) {}
    static constexpr slot_mask only(std::size_t slot) noexcept { return slot_mask(1U << slot); }

    [[nodiscard]] constexpr std::uint32_t bits() const noexcept { return bits_; }
    [[nodiscard]] constexpr bool none() const noexcept { return bits_ == 0; }
    [[nodiscard]] constexpr std::size_t count() const noexcept {
        return static_cast<std::size_t>(std::popcount(bits_));
    }
    [[nodiscard]] constexpr bool has(std::size_t slot) const noexcept { return (bits_ >> slot & 1U) != 0; }

    /// The lowest slot; there is one.
    [[nodiscard]] constexpr std::size_t first() const noexcept {
        return static_cast<std::size_t>(std::countr_zero(bits_));
    }
    /// How many slots side by side begin with the lowest.
    [[nodiscard]] constexpr std::size_t run() const noexcept {
        return static_cast<std::size_t>(std::countr_one(bits_ >> first()));
    }
    [[nodiscard]] constexpr slot_mask without(slot_mask others) const noexcept {
        return slot_mask(bits_ & ~others.bits_);
    }
    /// Without the lowest `count` slots, side by side, that begin with the lowest.
    [[nodiscard]] constexpr slot_mask without_first(std::size_t count = 1) const noexcept {
        return slot_mask(bits_ & ~(((1U << count) - 1U) << first()));
    }

private:
    std::uint32_t bits_;
};

inline constexpr std::uint32_t all_slots = (1U << slot_group::size) - 1U;

/// Has the processor fetch what is about to be looked at.
inline void prefetch([[maybe_unused]] void const* address) noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(address);
#elif defined(_M_X64)
    _mm_prefetch(static_cast<char const*>(address), _MM_HINT_T0);
#endif
}

/// Compares the tags of a group with eight-byte words: for any processor.
struct portable_matching {
    /// The slots that have this tag.
    [[nodiscard]] static slot_mask equal(slot_group const& group, std::uint8_t tag) noexcept {
        return slots_of(group, [tag](std::uint64_t eight) {
            std::uint64_t const difference = eight ^ (every_byte * tag);
            // The high bit of each byte that is zero; exact, since no carry leaves a byte.
            return ~(((difference & low_bits) + low_bits) | difference | low_bits);
        });
    }
    /// The slots that hold a value.
    [[nodiscard]] static slot_mask full(slot_group const& group) noexcept {
        return slots_of(group, [](std::uint64_t eight) { return eight & high_bits; });
    }

private:
    static constexpr std::uint64_t every_byte = 0x0101010101010101U;
    static constexpr std::uint64_t low_bits = every_byte * 0x7f;
    static constexpr std::uint64_t high_bits = every_byte * 0x80;

    template <typename F>
    static slot_mask slots_of(slot_group const& group, F high_bits_of) noexcept {
        auto const low = high_bits_of(low_first(group.tags, 8));
        auto const high = high_bits_of(low_first(group.tags + 8, slot_group::size - 8));
        return slot_mask((gather(low) | gather(high) << 8) & all_slots);
    }

    /// The first byte is the lowest, whatever the order of bytes in memory.
    static std::uint64_t low_first(std::uint8_t const* bytes, std::size_t count) noexcept {
        std::uint64_t result = 0;
        for (std::size_t i = 0; i < count; ++i) result |= std::uint64_t{bytes[i]} << (8 * i);
        return result;
    }

    /// The high bits of eight bytes side by side: the product brings bit 7 + 8i to bit 56 + i, and no other there.
    static std::uint32_t gather(std::uint64_t word_of_high_bits) noexcept {
        return static_cast<std::uint32_t>(word_of_high_bits * 0x0002040810204081U >> 56);
    }
};

#if defined(__SSE2__) || defined(_M_X64)

/// The same by one instruction over 16 bytes.
struct sse2_matching {
    [[nodiscard]] static slot_mask equal(slot_group const& group, std::uint8_t tag) noexcept {
        // Spread over a whole word first: g++ may spill a byte and load four, which waits for the store.
        auto const four = static_cast<int>(tag * 0x01010101U);
        return mask(_mm_cmpeq_epi8(load(group), _mm_set1_epi32(four)));
    }
    [[nodiscard]] static slot_mask full(slot_group const& group) noexcept { return mask(load(group)); }

private:
    static __m128i load(slot_group const& group) noexcept {
        return _mm_load_si128(reinterpret_cast<__m128i const*>(&group));
    }
    static slot_mask mask(__m128i bytes) noexcept {
        return slot_mask(static_cast<std::uint32_t>(_mm_movemask_epi8(bytes)) & all_slots);
    }
};

using best_matching = sse2_matching;

#else

using best_matching = portable_matching;

#endif

}  // namespace tidefall::inline v0::detail
