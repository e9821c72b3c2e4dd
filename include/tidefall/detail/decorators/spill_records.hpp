// SPDX-License-Identifier: MIT
//
// The bytes of a spill file, as spill.hpp describes them: how records are made. spill_input.hpp finds them again.
#pragma once

#include <tidefall/version.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace tidefall::inline v0::detail {

inline constexpr std::string_view spill_header{"TFSPILL\x01", 8};
inline constexpr std::string_view spill_marker{"\xF5TF\xA7", 4};
inline constexpr std::string_view spill_gap_marker{"\xF5TF\xA8", 4};
inline constexpr std::string_view spill_any_marker = spill_marker.substr(0, 3);  ///< what both begin with
inline constexpr std::size_t spill_prefix = 12;                                  ///< marker, length, checksum

inline constexpr auto crc32c_table = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t rest = i;
        for (int step = 0; step < 8; ++step) rest = (rest >> 1) ^ ((rest & 1U) != 0 ? 0x82F63B78U : 0U);
        table[i] = rest;
    }
    return table;
}();

/// What the register of the CRC holds after `bytes`, if it held `held` before.
[[nodiscard]] constexpr std::uint32_t crc32c_register(std::uint32_t held, std::string_view bytes) noexcept {
    for (char const one : bytes) {
        held = crc32c_table[(held ^ static_cast<unsigned char>(one)) & 0xFFU] ^ (held >> 8);
    }
    return held;
}

/// The CRC-32C of `bytes`, or of what `before` is the checksum of followed by `bytes`.
[[nodiscard]] constexpr std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) noexcept {
    return ~crc32c_register(~before, bytes);
}

/// The product of two polynomials, modulo that of the CRC. The highest bit is the coefficient of 1.
[[nodiscard]] constexpr std::uint32_t crc32c_product(std::uint32_t one, std::uint32_t other) noexcept {
    std::uint32_t product = 0;
    for (; one != 0; one <<= 1) {
        product ^= (one >> 31) != 0 ? other : 0U;
        other = (other >> 1) ^ ((other & 1U) != 0 ? 0x82F63B78U : 0U);
    }
    return product;
}

/// In row r and column c, what c * 16^r zero bytes multiply the register by.
inline constexpr auto crc32c_zeros = [] {
    std::array<std::array<std::uint32_t, 16>, 8> table{};
    std::uint32_t by_one = std::uint32_t{1} << 23;  // x^8
    for (auto& row : table) {
        row[0] = std::uint32_t{1} << 31;
        for (std::size_t i = 1; i < row.size(); ++i) row[i] = crc32c_product(row[i - 1], by_one);
        by_one = crc32c_product(row.back(), by_one);
    }
    return table;
}();

/// What the register holds after `count` zero bytes, if it held `held` before. Takes eight products at most.
[[nodiscard]] constexpr std::uint32_t crc32c_after_zeros(std::uint32_t held, std::uint32_t count) noexcept {
    for (std::size_t row = 0; count != 0; count >>= 4, ++row) {
        if ((count & 15U) != 0) held = crc32c_product(held, crc32c_zeros[row][count & 15U]);
    }
    return held;
}

/// Little-endian, whatever the machine is.
template <typename Integer>
void put_integer(char* to, Integer value) noexcept {
    for (std::size_t i = 0; i < sizeof value; ++i) {
        to[i] = static_cast<char>(static_cast<unsigned char>((value >> (8 * i)) & 0xFFU));
    }
}
[[nodiscard]] inline std::uint32_t get_u32(char const* from) noexcept {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) value |= std::uint32_t{static_cast<unsigned char>(from[i])} << (8 * i);
    return value;
}

/// The part of a record's checksum that is made of its place and length. It is there so that nothing that is out of
/// place (what a block of the disk held before, a spill file inside a record) is taken for a record.
[[nodiscard]] inline std::uint32_t spill_place_checksum(std::uint64_t offset, std::uint32_t length) noexcept {
    char place[12];
    put_integer(place, offset);
    put_integer(place + 8, length);
    return crc32c({place, sizeof place});
}

[[nodiscard]] inline std::uint32_t spill_checksum(std::uint64_t offset, std::string_view payload) noexcept {
    return crc32c(payload, spill_place_checksum(offset, static_cast<std::uint32_t>(payload.size())));
}

/// What begins a gap: `length` bytes follow that are no part of the file any more.
[[nodiscard]] inline std::string spill_gap(std::uint64_t offset, std::uint32_t length) {
    std::string prefix(spill_gap_marker);
    prefix.resize(spill_prefix);
    put_integer(prefix.data() + 4, length);
    put_integer(prefix.data() + 8, spill_place_checksum(offset, length));
    return prefix;
}

/// Records that are written together.
class spill_records {
public:
    static constexpr std::size_t max_payload = (std::numeric_limits<std::uint32_t>::max)();

    /// At most `max_payload` bytes.
    void add(std::string_view payload) {
        char prefix[spill_prefix] = {};
        spill_marker.copy(prefix, spill_marker.size());
        put_integer(prefix + 4, static_cast<std::uint32_t>(payload.size()));
        bytes_.append(prefix, sizeof prefix);
        bytes_.append(payload);
    }

    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }  ///< in bytes

    /// The bytes, for that place in the file.
    [[nodiscard]] std::string_view sealed_for(std::uint64_t offset) noexcept {
        for (std::size_t at = 0; at < bytes_.size();) {
            char* const prefix = bytes_.data() + at;
            std::string_view const payload{prefix + spill_prefix, get_u32(prefix + 4)};
            put_integer(prefix + 8, spill_checksum(offset + at, payload));
            at += spill_prefix + payload.size();
        }
        return bytes_;
    }

private:
    std::string bytes_;
};

}  // namespace tidefall::inline v0::detail
