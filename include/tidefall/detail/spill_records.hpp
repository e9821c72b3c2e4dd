// SPDX-License-Identifier: MIT
//
// The bytes of a spill file, as spill.hpp describes them: how records are made, told from damage, and found again.
#pragma once

#include <tidefall/version.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <limits>
#include <string>
#include <string_view>

namespace tidefall::inline v0::detail {

inline constexpr std::string_view spill_header{"TFSPILL\x01", 8};
inline constexpr std::string_view spill_marker{"\xF5TF\xA7", 4};
inline constexpr std::size_t spill_prefix = 12;  ///< marker, length, checksum

inline constexpr auto crc32c_table = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t rest = i;
        for (int step = 0; step < 8; ++step) rest = (rest >> 1) ^ ((rest & 1U) != 0 ? 0x82F63B78U : 0U);
        table[i] = rest;
    }
    return table;
}();

/// The CRC-32C of `bytes`, or of what `before` is the checksum of followed by `bytes`.
[[nodiscard]] constexpr std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) noexcept {
    std::uint32_t rest = ~before;
    for (char const one : bytes) {
        rest = crc32c_table[(rest ^ static_cast<unsigned char>(one)) & 0xFFU] ^ (rest >> 8);
    }
    return ~rest;
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

/// A record's checksum covers its place too, so that nothing that is out of place (what a block of the disk held
/// before, a spill file inside a record) is taken for a record.
[[nodiscard]] inline std::uint32_t spill_checksum(std::uint64_t offset, std::string_view payload) noexcept {
    char place[12];
    put_integer(place, offset);
    put_integer(place + 8, static_cast<std::uint32_t>(payload.size()));
    return crc32c(payload, crc32c({place, sizeof place}));
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

/// Reads `size` bytes of a stream from any place; sequential reads do not seek.
class spill_input {
public:
    spill_input(std::istream& in, std::uint64_t size) : in_(in), size_(size) {}

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// False if there are not as many.
    bool read(std::uint64_t from, std::size_t count, std::string& to) {
        if (from > size_ || count > size_ - from) return false;
        if (from != position_) {
            in_.clear();
            in_.seekg(static_cast<std::streamoff>(from));
        }
        to.resize(count);
        in_.read(to.data(), static_cast<std::streamsize>(count));
        bool const all = in_.gcount() == static_cast<std::streamsize>(count);
        position_ = all ? from + count : (std::numeric_limits<std::uint64_t>::max)();
        return all;
    }

    /// The payload of the record that begins at `offset`; false if no whole one does.
    bool read_record(std::uint64_t offset, std::string& payload) {
        if (!read(offset, spill_prefix, prefix_) || !std::string_view(prefix_).starts_with(spill_marker)) return false;
        auto const length = get_u32(prefix_.data() + 4);
        auto const checksum = get_u32(prefix_.data() + 8);
        return read(offset + spill_prefix, length, payload) && spill_checksum(offset, payload) == checksum;
    }

    /// Where the first whole record at `from` or later begins; `size()` if there is none.
    std::uint64_t find_record(std::uint64_t from) {
        std::string window;
        std::string payload;
        while (size_ >= spill_prefix && from <= size_ - spill_prefix) {
            auto const length = static_cast<std::size_t>(std::min<std::uint64_t>(size_ - from, std::size_t{1} << 16));
            if (!read(from, length, window)) break;
            for (auto i = window.find(spill_marker); i != std::string::npos; i = window.find(spill_marker, i + 1)) {
                if (read_record(from + i, payload)) return from + i;
            }
            from += length - (spill_marker.size() - 1);  // a marker may lie across the border
        }
        return size_;
    }

private:
    std::istream& in_;
    std::uint64_t size_;
    std::uint64_t position_ = 0;
    std::string prefix_;
};

}  // namespace tidefall::inline v0::detail
