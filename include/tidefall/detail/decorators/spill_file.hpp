// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/decorators/spill_claims.hpp>
#include <tidefall/detail/decorators/spill_output.hpp>
#include <tidefall/detail/decorators/spill_records.hpp>
#include <tidefall/detail/sync.hpp>
#include <tidefall/spill.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tidefall::inline v0::detail {

/// A spill file that is open for more records. Any thread may append.
class spill_file {
public:
    /// Cuts off a torn end. Throws `spill_error`.
    spill_file(std::filesystem::path path, bool sync) : path_(std::move(path)), sync_(sync) {
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
        if (!error && sync_) {
            error = output_.sync();
            spill_output::sync_directory_of(path_);
        }
        if (error) throw spill_error(path_, "cannot be written", error);
        hand_over_spill(path_);
    }

    [[nodiscard]] std::filesystem::path const& path() const noexcept { return path_; }

    /// Writes all of the records, or returns an error and none of them is in the file. Blocks on the file, and on
    /// other threads that append. In a process that was forked off it is an error: what both write would be torn, and
    /// the lock may be held for ever.
    [[nodiscard]] std::error_code append(spill_records& records) {
        if (output_.is_the_parents()) return std::make_error_code(std::errc::device_or_resource_busy);
        lock_guard const lock(mutex_);
        if (torn_) {
            if (auto const error = output_.truncate(end_)) return error;
            torn_ = false;
        }
        auto const bytes = records.sealed_for(end_);
        auto error = output_.write(end_, bytes);
        if (!error && sync_) error = output_.sync();
        if (error) {
            torn_ = static_cast<bool>(output_.truncate(end_));
            return error;
        }
        end_ += bytes.size();
        return {};
    }

private:
    /// Reads what is open and locked, which need not be what has the name by now.
    spill_reading read_all() const {
        spill_reader reader;
        if (auto const error = reader.open(output_.file())) throw spill_error(path_, "cannot be read", error);
        return read_spill_records(path_, reader, [](std::string_view) {});
    }

    std::filesystem::path const path_;
    bool const sync_;

    // Invariant: guarded by mutex_, which is held while the file is written. Up to end_ the file is whole records;
    // nothing follows unless torn_.
    mutex mutex_;
    spill_output output_;
    std::uint64_t end_ = 0;
    bool torn_ = false;  ///< what a failed append wrote could not be cut off
};

}  // namespace tidefall::inline v0::detail
