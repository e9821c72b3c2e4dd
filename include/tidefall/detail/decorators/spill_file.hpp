// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/base/user_code.hpp>
#include <tidefall/detail/decorators/spill_claims.hpp>
#include <tidefall/detail/decorators/spill_output.hpp>
#include <tidefall/detail/decorators/spill_records.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/spill.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace tidefall::inline v0::detail {

/// The file would be larger than it may be.
inline constexpr std::errc spill_is_full = std::errc::no_buffer_space;

/// Whether what is written is on its disk when the call returns.
enum class spill_sync : bool { no, yes };

/// A spill file that is open: records are appended, and leave it at the front. Any thread may do either; one at a time
/// has records of the front in its hands.
///
/// What has left the file is a gap at its front. A gap that is larger than all that follows it is closed: the records
/// are copied into it, out of sight; then one small write brings the copies into sight and another, before it, has put
/// the originals out of it. Whatever a crash leaves of that, each record is in the file once at least.
class spill_file {
public:
    /// Cuts off a torn end. Throws `spill_error`.
    spill_file(std::filesystem::path path, spill_options how) : path_(std::move(path)), how_(std::move(how)) {
        if (auto const* const reason = unfit_for_spill(path_)) {
            throw spill_error(path_, std::string("cannot be opened: ") + reason);
        }
        auto error = output_.open(path_, spill_output::if_missing::make_it);
        if (error == std::errc::device_or_resource_busy) {
            throw spill_error(path_, "cannot be opened: it is in use, and a file serves one with_spill at a time");
        }
        if (error) throw spill_error(path_, "cannot be opened", error);
        auto const [size, found] = read_all();
        end_ = size - found.torn_bytes;
        if (end_ < size) error = output_.truncate(end_);
        if (!error && end_ == 0) {
            error = output_.write(0, spill_header);
            end_ = spill_header.size();
        }
        if (!error && how_.sync) {
            error = output_.sync();
            spill_output::sync_directory_of(path_);
        }
        if (error) throw spill_error(path_, "cannot be written", error);
        records_.store(found.records, std::memory_order_relaxed);
        pass_gaps();
        stats_.bytes = found.bytes + found.records * spill_prefix;
        hand_over_spill(path_);
    }

    [[nodiscard]] std::filesystem::path const& path() const noexcept { return path_; }
    [[nodiscard]] bool syncs() const noexcept { return how_.sync; }

    /// How many are in the file. Does not wait for who writes to it.
    [[nodiscard]] std::uint64_t records() const noexcept { return records_.load(std::memory_order_relaxed); }

    /// Tells `on_spill`.
    void tell_spilled(std::size_t count, std::exception_ptr const& error) const {
        if (how_.on_spill) static_cast<void>(thrown_by([&] { how_.on_spill(count, error); }));
    }

    /// Writes all of the records, or returns an error and none of them is in the file. Blocks on the file, and on
    /// other threads that append. In a process that was forked off it is an error: what both write would be torn, and
    /// the lock may be held for ever.
    [[nodiscard]] std::error_code append(spill_records& records, std::size_t count, spill_sync sync) {
        if (output_.is_the_parents()) return std::make_error_code(std::errc::device_or_resource_busy);
        lock_guard const lock(mutex_);
        if (!fits(records.size()) && !is_claimed_) static_cast<void>(close_gap());
        if (!fits(records.size())) return std::make_error_code(spill_is_full);
        auto const error = append_here(records, count, sync);
        if (!error) stats_.written += count;
        return error;
    }

    /// Values that could not be written, and records that no value could be made of.
    void count_refused(std::size_t count) noexcept {
        if (output_.is_the_parents()) return;
        lock_guard const lock(mutex_);
        stats_.refused += count;
    }
    void count_undecodable(std::size_t count) noexcept {
        lock_guard const lock(mutex_);
        stats_.undecodable += count;
    }

    /// In a process that was forked off: nothing.
    [[nodiscard]] spill_stats stats() const noexcept {
        if (output_.is_the_parents()) return {};
        lock_guard const lock(mutex_);
        auto result = stats_;
        result.records = records();
        return result;
    }

    /// Records of the front, in one's hands: they are in the file until `remove`. Gives them back at its end.
    class claim {
    public:
        claim(claim&& other) noexcept
            : payloads(std::move(other.payloads)),
              of_(std::exchange(other.of_, nullptr)),
              end_(other.end_),
              bytes_(other.bytes_) {}
        claim& operator=(claim&&) = delete;
        ~claim() {
            if (of_ == nullptr) return;
            lock_guard const lock(of_->mutex_);
            of_->is_claimed_ = false;
        }

        std::vector<std::string> payloads;

    private:
        friend class spill_file;
        explicit claim(spill_file& of) noexcept : of_(&of) {}

        spill_file* of_;
        std::uint64_t end_ = 0;
        std::uint64_t bytes_ = 0;
    };

    /// So many at most; none where there are none, or others have them. Throws `std::system_error`.
    [[nodiscard]] std::optional<claim> take_front(std::size_t most) {
        if (output_.is_the_parents()) return std::nullopt;
        std::uint64_t from = 0;
        std::uint64_t end = 0;
        {
            lock_guard const lock(mutex_);
            if (is_claimed_ || records() == 0) return std::nullopt;
            is_claimed_ = true;
            from = front_;
            end = end_;
        }
        // Nothing but the one who has the claim changes what is between the two.
        claim result(*this);
        spill_reader reader;
        if (auto const error = reader.open(output_.file())) throw std::system_error(error);
        spill_input<spill_reader> in(reader, end);
        std::string payload;
        while (from < end && result.payloads.size() < most) {
            auto const piece = in.next(from, payload);
            if (piece.what == spill_input<spill_reader>::piece::kind::record) {
                result.payloads.push_back(payload);
                result.bytes_ += piece.end - from;
            }
            from = piece.end;
        }
        result.end_ = from;
        if (result.payloads.empty()) return std::nullopt;
        return result;
    }

    /// They leave the file, `replayed` of them since they were delivered. `count` of them, whose records are `kept`, go
    /// to its end before that; where that fails, all stay.
    [[nodiscard]] std::error_code remove(claim&& these, spill_records& kept, std::size_t count, std::size_t replayed) {
        claim const done(std::move(these));  // claimed until the lock is released
        lock_guard const lock(mutex_);
        if (count > 0) {
            if (auto const error = append_here(kept, count, spill_sync::yes)) return error;
        }
        front_ = done.end_;
        count_records(0, done.payloads.size());
        stats_.bytes -= done.bytes_;
        stats_.replayed += replayed;
        if (records() == 0) {
            if (!output_.truncate(spill_header.size())) front_ = end_ = spill_header.size();
            return {};
        }
        // An error leaves them in the file for the next process, which offers them once more.
        static_cast<void>(write_gap(spill_header.size(), front_));
        if (front_ >= worth_closing) static_cast<void>(close_gap());
        return {};
    }

private:
    static constexpr std::uint64_t worth_closing = 1 << 20;

    /// Reads what is open and locked, which need not be what has the name by now.
    spill_reading read_all() const {
        spill_reader reader;
        if (auto const error = reader.open(output_.file())) throw spill_error(path_, "cannot be read", error);
        return read_spill_records(path_, reader, [](std::string_view) {});
    }

    /// What was removed in an earlier run is no part of what is to be read, or copied.
    void pass_gaps() {
        spill_reader reader;
        if (auto const error = reader.open(output_.file())) throw spill_error(path_, "cannot be read", error);
        spill_input<spill_reader> in(reader, end_);
        while (auto const end = in.end_of_gap(front_)) front_ = *end;
    }

    // The mutex is held in these.

    void count_records(std::size_t more, std::size_t fewer) noexcept {
        records_.store(records() + more - fewer, std::memory_order_relaxed);
    }

    [[nodiscard]] bool fits(std::size_t size) const noexcept {
        return size <= how_.max_bytes && end_ <= how_.max_bytes - size;
    }

    [[nodiscard]] std::error_code append_here(spill_records& records, std::size_t count, spill_sync sync) {
        if (torn_) {
            if (auto const error = output_.truncate(end_)) return error;
            torn_ = false;
        }
        auto const bytes = records.sealed_for(end_);
        auto error = output_.write(end_, bytes);
        if (!error && how_.sync && sync == spill_sync::yes) error = output_.sync();
        if (error) {
            torn_ = static_cast<bool>(output_.truncate(end_));
            return error;
        }
        end_ += bytes.size();
        count_records(count, 0);
        stats_.bytes += bytes.size();
        return {};
    }

    /// Several, where it is long: each is of 2 GiB at most.
    [[nodiscard]] std::error_code write_gap(std::uint64_t from, std::uint64_t to) {
        constexpr std::uint64_t most = std::uint64_t{1} << 31;
        while (from < to) {
            auto const rest = to - from;
            auto const size = rest > most + spill_prefix ? most : rest;
            auto const length = static_cast<std::uint32_t>(size - spill_prefix);
            if (auto const error = output_.write(from, spill_gap(from, length))) return error;
            from += size;
        }
        return {};
    }

    /// Copies the records of the file to its front, without the damage between them. Does nothing where there is no
    /// room for the copies yet.
    [[nodiscard]] std::error_code close_gap() {
        auto const begin = spill_header.size();
        auto const live = end_ - front_;
        if (front_ - begin < live + 2 * spill_prefix) return {};
        auto const copied = copy_to(begin + spill_prefix);
        if (copied.error) return copied.error;
        if (auto const error = write_gap(copied.end, end_)) return error;
        if (auto const error = sync_if_wanted()) return error;
        if (auto const error = write_gap(begin, begin + spill_prefix)) return error;
        if (auto const error = sync_if_wanted()) return error;
        front_ = begin + spill_prefix;
        stats_.bytes = copied.end - front_;
        if (auto const error = output_.truncate(copied.end)) return error;
        end_ = copied.end;
        return {};
    }

    struct copying {
        std::error_code error;
        std::uint64_t end = 0;
    };
    [[nodiscard]] copying copy_to(std::uint64_t to) {
        constexpr std::size_t at_once = std::size_t{1} << 20;
        spill_reader reader;
        if (auto const error = reader.open(output_.file())) return {error};
        try {
            spill_input<spill_reader> in(reader, end_);
            spill_records some;
            std::string payload;
            for (auto at = front_; at < end_;) {
                auto const piece = in.next(at, payload);
                if (piece.what == spill_input<spill_reader>::piece::kind::record) some.add(payload);
                at = piece.end;
                if (some.size() < at_once && at < end_) continue;
                if (auto const error = output_.write(to, some.sealed_for(to))) return {error};
                to += some.size();
                some = {};
            }
        } catch (std::system_error const& error) {
            return {error.code()};
        }
        return {{}, to};
    }

    [[nodiscard]] std::error_code sync_if_wanted() { return how_.sync ? output_.sync() : std::error_code(); }

    std::filesystem::path const path_;
    spill_options const how_;
    atomic<std::uint64_t> records_{0};  ///< in the file; relaxed, and written with the mutex held

    // In a process that was forked off the mutex may be held for ever, and is not touched.
    // Invariant: guarded by mutex_, which is held while the file is written. Up to end_ the file is whole records, gaps
    // and what damage was found when it was opened; nothing follows unless torn_. No record is before front_.
    mutable mutex mutex_;
    spill_output output_;
    std::uint64_t front_ = spill_header.size();
    std::uint64_t end_ = 0;
    bool torn_ = false;        ///< what a failed append wrote could not be cut off
    bool is_claimed_ = false;  ///< records from front_ on are in somebody's hands
    spill_stats stats_;        ///< but for the records
};

}  // namespace tidefall::inline v0::detail
