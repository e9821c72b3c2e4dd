// SPDX-License-Identifier: MIT
//
// Finds the records of a spill file, as spill.hpp describes them, in time that is linear in its size, whatever it
// holds. What is hard about that: damage may leave anything, such as a marker in every eighth byte, each with a length
// that reaches to the end of the file. To read and to checksum what each of them claims takes quadratic time.
//
// So a byte that was part of a claim which did not hold is not checksummed again for the next claim. The CRC is linear:
// with P(k) for the register after the bytes up to k, the register after those from s to e, which begins with r, is
// P(e) + (P(s) + r) * x^(8(e-s)). P is kept for one byte in `block`; for the others it takes the bytes since then. That
// leaves, in bytes that are read and checksummed,
//
//     one pass over the file, in search of markers,
//     one pass over what was claimed, to know P, and one to find that a claim does not hold,
//     one pass over the payloads of whole records, which do not overlap,
//     and for each marker less than two blocks, as well as its prefix. Markers with a length are 8 bytes or more apart
//     (4 in files of 3 GB and more, since the next marker is a length of 2.8 GB).
//
// The memory: a window, the payload of a whole record or of a claim up to `direct`, and 4 bytes for each block of what
// is claimed, which is at most 64 MiB since no length exceeds 32 bits.
#pragma once

#include <tidefall/detail/decorators/spill_records.hpp>
#include <tidefall/version.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace tidefall::inline v0::detail {

/// A distance within what is in memory. (The parameter is const for g++, which else takes the cast for a useless one.)
[[nodiscard]] constexpr std::size_t in_memory(std::uint64_t const distance) noexcept {
    return static_cast<std::size_t>(distance);
}

/// The records in the first `size` bytes of a file. Its records are asked for from the front to the back.
///
/// `File` has `std::size_t read_at(std::uint64_t from, char* to, std::size_t count)`, which throws if it cannot, and
/// gives less than `count` only where the file ends.
template <typename File>
class spill_input {
public:
    static constexpr std::size_t window_size = std::size_t{1} << 16;
    static constexpr std::size_t block = 256;
    static constexpr std::size_t direct = std::size_t{1} << 20;

    spill_input(File& file, std::uint64_t size) : file_(file), size_(size) {}

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// How many bytes were put through the CRC.
    [[nodiscard]] std::uint64_t checksummed() const noexcept { return checksummed_; }

    /// The bytes at `from`; false if there are not as many.
    bool read(std::uint64_t from, std::size_t count, std::string& to) {
        if (from > size_ || count > size_ - from) return false;
        to.resize(count);
        std::size_t done = 0;
        if (from >= window_at_ && from - window_at_ < window_.size()) {
            done = window_.copy(to.data(), count, in_memory(from - window_at_));
        }
        return done == count || file_.read_at(from + done, to.data() + done, count - done) == count - done;
    }

    /// The payload of the record that begins at `offset`; false if no whole one does.
    bool read_record(std::uint64_t offset, std::string& payload) {
        auto const bytes = window(offset);
        return bytes.size() >= spill_prefix && bytes.starts_with(spill_marker) &&
               read_claim(offset, get_u32(bytes.data() + 4), get_u32(bytes.data() + 8), payload);
    }

    /// Where the gap ends that begins at `offset`; none if none does.
    [[nodiscard]] std::optional<std::uint64_t> end_of_gap(std::uint64_t offset) {
        auto const bytes = window(offset);
        if (bytes.size() < spill_prefix || !bytes.starts_with(spill_gap_marker)) return std::nullopt;
        auto const length = get_u32(bytes.data() + 4);
        if (length > size_ - offset - spill_prefix) return std::nullopt;
        if (get_u32(bytes.data() + 8) != spill_place_checksum(offset, length)) return std::nullopt;
        return offset + spill_prefix + length;
    }

    /// Where the first whole record or gap at `from` or later begins, with the record's payload; `size()` if there is
    /// none.
    std::uint64_t find_record(std::uint64_t from, std::string& payload) {
        for (;;) {
            auto const bytes = window(from);
            if (bytes.size() < spill_prefix) return size_;
            auto const usable = bytes.size() - (spill_prefix - 1);  // where a prefix may begin that is all in there
            for (auto i = bytes.find(spill_any_marker); i < usable; i = bytes.find(spill_any_marker, i + 1)) {
                char const* const prefix = bytes.data() + i;
                if (prefix[3] == spill_gap_marker[3] && end_of_gap(from + i)) return from + i;
                if (prefix[3] == spill_marker[3] &&
                    read_claim(from + i, get_u32(prefix + 4), get_u32(prefix + 8), payload)) {
                    return from + i;
                }
            }
            from += usable;
        }
    }

    /// What the file is made of, from the front to the back.
    struct piece {
        enum class kind { record, gap, damage } what;
        std::uint64_t end;
    };

    /// The piece that begins at `at`, with its payload if it is a record. Damage ends where something whole begins.
    piece next(std::uint64_t at, std::string& payload) {
        if (auto const end = end_of_gap(at)) return {piece::kind::gap, *end};
        if (read_record(at, payload)) return {piece::kind::record, at + spill_prefix + payload.size()};
        return {piece::kind::damage, find_record(at + 1, payload)};
    }

private:
    /// P at one place.
    struct cursor {
        std::uint64_t at = 0;
        std::uint32_t held = 0;
    };

    /// The bytes at `from` and after it, which are `spill_prefix` or more, or all that there are.
    [[nodiscard]] std::string_view window(std::uint64_t from) {
        if (from < window_at_ || from - window_at_ + spill_prefix > window_.size()) {
            window_.resize(static_cast<std::size_t>((std::min<std::uint64_t>)(size_ - from, window_size)));
            window_at_ = from;
            window_.resize(file_.read_at(from, window_.data(), window_.size()));
        }
        return std::string_view(window_).substr(in_memory(from - window_at_));
    }

    /// The payload of a record at `offset` with that length and checksum; false if it is not whole.
    bool read_claim(std::uint64_t offset, std::uint32_t length, std::uint32_t checksum, std::string& payload) {
        auto const begin = offset + spill_prefix;
        if (length > size_ - begin) return false;
        auto const end = begin + length;
        bool const is_short = length <= block;
        bool const is_new = begin >= summed_to_ && length <= direct;
        if (!is_short && !is_new && !is_promising(offset, length, checksum)) return false;
        // Here a claim that does not hold is a short one, or none of its bytes was part of one before. (Or the file has
        // changed meanwhile, which is why what is promising is checksummed again.)
        if (read(begin, length, payload)) {
            checksummed_ += spill_prefix + length;
            if (spill_checksum(offset, payload) == checksum) return true;
        }
        if (!is_short && is_new) sum_up(begin, end);
        return false;
    }

    /// Whether the checksum is right, by P.
    bool is_promising(std::uint64_t offset, std::uint32_t length, std::uint32_t checksum) {
        auto const begin = offset + spill_prefix;
        auto const end = begin + length;
        if (!sum_up(begin, end)) return false;
        for (; begin - first_ >= block; first_ += block) sums_.pop_front();  // no later claim begins before this one
        checksummed_ += spill_prefix;
        auto const held = ~spill_place_checksum(offset, length);
        return move_to(begin, begin_) && move_to(end, end_) &&
               (end_.held ^ crc32c_after_zeros(begin_.held ^ held, length)) == ~checksum;
    }

    /// Sees to it that P is known from `begin` to `end`; false if the file ends before.
    bool sum_up(std::uint64_t begin, std::uint64_t end) {
        if (begin >= summed_to_) {  // P may begin anywhere, so it begins anew
            first_ = begin;
            summed_to_ = begin;
            last_sum_ = 0;
            sums_.assign(1, 0);
            begin_ = {};
            end_ = {};
        }
        while (summed_to_ < end) {
            auto const count = static_cast<std::size_t>((std::min<std::uint64_t>)(end - summed_to_, window_size));
            if (!read(summed_to_, count, scratch_)) return false;
            checksummed_ += count;
            for (std::string_view rest = scratch_; !rest.empty();) {
                auto const in_block = block - in_memory((summed_to_ - first_) % block);
                auto const part = rest.substr(0, in_block);
                last_sum_ = crc32c_register(last_sum_, part);
                summed_to_ += part.size();
                rest.remove_prefix(part.size());
                if (part.size() == in_block) sums_.push_back(last_sum_);
            }
        }
        return true;
    }

    /// P at a place up to which it is summed up; it takes the bytes since the block's begin, or since where `one` was.
    bool move_to(std::uint64_t at, cursor& one) {
        auto const number = in_memory((at - first_) / block);
        auto const from = first_ + std::uint64_t{number} * block;
        if (one.at < from || one.at > at) one = {from, sums_[number]};
        if (!read(one.at, in_memory(at - one.at), scratch_)) return false;
        checksummed_ += scratch_.size();
        one = {at, crc32c_register(one.held, scratch_)};
        return true;
    }

    File& file_;
    std::uint64_t const size_;
    std::uint64_t checksummed_ = 0;

    std::string window_;
    std::uint64_t window_at_ = 0;
    std::string scratch_;

    // P is known from first_ to summed_to_, where it is last_sum_: sums_[i] is P(first_ + i * block).
    std::deque<std::uint32_t> sums_;
    std::uint64_t first_ = 0;
    std::uint64_t summed_to_ = 0;
    std::uint32_t last_sum_ = 0;
    cursor begin_;  ///< of the claim that was looked at last
    cursor end_;
};

}  // namespace tidefall::inline v0::detail
