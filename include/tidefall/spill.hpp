// SPDX-License-Identifier: MIT
//
// The file that `with_spill` (decorators.hpp) writes values to that could not be delivered, and how they come back. At
// the next start, what is in it is moved aside, delivered once more, and removed:
//
//     auto const old = tidefall::set_aside_spill("events.spill");        // before with_spill opens it
//     tidefall::queue<event> events(options, tidefall::with_spill(process, "events.spill", encode));
//     if (old) {
//         tidefall::read_spill(*old, [&](std::string_view record) { events.push(decode(record)); });
//         bool const drained = events.flush().complete;                  // delivered, or spilled anew
//         auto const s = events.stats();
//         if (drained && s.refused + s.failed + s.dropped == 0) std::filesystem::remove(*old);
//     }
//
// A crash on the way loses nothing: the file that was moved aside comes first at the next start, and what was
// delivered of it is delivered twice.
//
// The format, version 1. All integers are little-endian.
//
//     the file      8 bytes, "TFSPILL" and 1; then records, one after the other
//     a record      4 bytes, F5 54 46 A7; u32, the length of the payload; u32, a checksum; the payload
//     the checksum  CRC-32C of the record's offset in the file as u64, its length as u32, and its payload
//     a gap         4 bytes, F5 54 46 A8; u32, a length; u32, the checksum without a payload; so many bytes: where
//                   records were that went back to the processor. A reader of 0.9 takes it for damage, and finds them
//                   once more
//
// The payload is what the encoding made of one value. A crash, or a disk that is full, may leave a record torn at the
// end: `read_spill` says so, and `with_spill` cuts it off when it opens the file. Damage anywhere else costs the
// records that it hit: reading goes on at the next whole one, and nothing that is whole is ever cut off.
//
// A file is made with mode 0600, since its values may be anybody's. It is never opened through a symbolic link, and is
// one process's at a time, and so is what was set aside of it (where the system has flock).
#pragma once

#include <tidefall/detail/decorators/spill_claims.hpp>
#include <tidefall/detail/decorators/spill_input.hpp>
#include <tidefall/detail/decorators/spill_output.hpp>
#include <tidefall/detail/decorators/spill_records.hpp>
#include <tidefall/version.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace tidefall::inline v0 {

/// A spill file cannot be opened, read or written. `what()` names the file and the reason.
class spill_error : public std::runtime_error {
public:
    spill_error(std::filesystem::path const& path, std::string const& what, std::exception_ptr cause = nullptr)
        : std::runtime_error("tidefall: spill file " + path.string() + " " + what), cause_(std::move(cause)) {}
    spill_error(std::filesystem::path const& path, std::string const& what, std::error_code reason,
                std::exception_ptr cause = nullptr)
        : spill_error(path, what + ": " + reason.message(), std::move(cause)) {}

    /// What the processor threw, for values that could neither be delivered nor spilled; else null.
    std::exception_ptr const& cause() const noexcept { return cause_; }

private:
    std::exception_ptr cause_;
};

/// What `read_spill` found.
struct spill_report {
    std::uint64_t records = 0;        ///< whole ones
    std::uint64_t bytes = 0;          ///< of their payload
    std::uint64_t damaged_bytes = 0;  ///< in between, that are part of no whole record
    std::uint64_t removed_bytes = 0;  ///< of records that went back to the processor
    std::uint64_t torn_bytes = 0;     ///< after the last whole record: what a crash tore, most likely

    friend bool operator==(spill_report const&, spill_report const&) = default;
};

/// The options of a spill file.
struct spill_options {
    /// Syncs the file to its disk with each batch, where the system can, so that it survives the end of the system and
    /// not that of the process alone. Takes milliseconds a batch. What makes room for a newer value
    /// (`overflow_policy::drop_oldest`) is written without it, since a writer waits for that; it waits for a batch that
    /// is being written, too.
    bool sync = true;

    /// Is told how many values were spilled, and why they were not delivered, which may be null. May be called from
    /// several threads at once; what it throws is swallowed.
    std::function<void(std::size_t values, std::exception_ptr const& error)> on_spill = {};

    /// The file is never larger. Values that do not fit have failed. Any number; none is the default.
    std::uint64_t max_bytes = (std::numeric_limits<std::uint64_t>::max)();
};

/// What a spill file that is open holds, and what became of values since it was opened.
struct spill_stats {
    std::uint64_t records = 0;      ///< in the file
    std::uint64_t bytes = 0;        ///< of these records, with 12 for each beside its payload
    std::uint64_t written = 0;      ///< values
    std::uint64_t replayed = 0;     ///< values that were delivered and left the file
    std::uint64_t refused = 0;      ///< values that could not be written, at each attempt: `undelivered` makes another
    std::uint64_t undecodable = 0;  ///< records that were set aside, since `decode` threw

    friend bool operator==(spill_stats const&, spill_stats const&) = default;
};

namespace detail {

struct spill_reading {
    std::uint64_t size = 0;  ///< of the file
    spill_report report;
};

/// `read_spill`, of a file that is open.
template <typename File, typename F>
spill_reading read_spill_records(std::filesystem::path const& path, File& file, F&& f) {
    auto const or_error = [&path](auto const& act) {
        try {
            return act();
        } catch (std::system_error const& error) {
            throw spill_error(path, "cannot be read", error.code());
        }
    };
    auto const size = or_error([&] { return file.size(); });
    spill_reading result{.size = size, .report = {}};
    auto& report = result.report;
    spill_input<File> in(file, size);
    std::string bytes;
    auto const header = static_cast<std::size_t>((std::min<std::uint64_t>)(size, spill_header.size()));
    if (!or_error([&] { return in.read(0, header, bytes); }) || !spill_header.starts_with(bytes)) {
        throw spill_error(path, "is not a spill file of version 1: it begins with other bytes");
    }
    if (header < spill_header.size()) {
        report.torn_bytes = size;
        return result;
    }
    for (std::uint64_t at = header; at < size;) {
        auto const piece = or_error([&] { return in.next(at, bytes); });
        switch (piece.what) {
            case spill_input<File>::piece::kind::record:
                f(std::string_view(bytes));
                ++report.records;
                report.bytes += bytes.size();
                break;
            case spill_input<File>::piece::kind::gap: report.removed_bytes += piece.end - at; break;
            case spill_input<File>::piece::kind::damage:
                (piece.end < size ? report.damaged_bytes : report.torn_bytes) += piece.end - at;
                break;
        }
        at = piece.end;
    }
    return result;
}

}  // namespace detail

/// Calls `f(std::string_view record)` for each whole record, in the order in which they were written; the view is
/// valid during that call. What `f` throws ends it. Neither a torn end nor damage is an error: the report tells. Throws
/// `spill_error` if there is no such file, it is a symbolic link or no spill file of this version, or it cannot be
/// read.
///
/// Blocks on the file, for a time that is linear in its size, whatever it holds. Needs memory for one record, and where
/// there is damage up to 66 MiB more. Any number of readers may read a file at once, also one that is being written:
/// its end may look torn then.
template <typename F>
spill_report read_spill(std::filesystem::path const& path, F&& f) {
    std::error_code error;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
        throw spill_error(path, "cannot be read: there is no such file");
    }
    if (auto const* const reason = detail::unfit_for_spill(path)) {
        throw spill_error(path, std::string("cannot be read: ") + reason);
    }
    detail::spill_reader reader;
    error = reader.open(path);
    if (error) throw spill_error(path, "cannot be read", error);
    return detail::read_spill_records(path, reader, f).report;
}

/// Moves the file at `path` out of the way of a new one, so that it can be read while the new one is written, and
/// returns its new name: `path` with ".replay" behind it. Where a file of that name is left from a crash, returns that
/// one and leaves `path` for the next start. None if there is neither.
///
/// What is set aside is one process's (where the system has flock): it is the caller's until `with_spill` opens `path`,
/// and from then on that of the process that has `path` open. Where `with_spill` never opens it, it is the caller's
/// until the process ends, and once removed it keeps its room on the disk for as long. A child that is forked off has
/// no part in it.
///
/// Throws `spill_error` where what is set aside is another process's, where a `with_spill` has `path` open, in this
/// process or another, where one of the two names is a symbolic link's, or if the file cannot be renamed.
inline std::optional<std::filesystem::path> set_aside_spill(std::filesystem::path const& path) {
    auto const aside = detail::spill_set_aside(path);
    auto const is_there = [](std::filesystem::path const& one) {
        std::error_code ignored;
        return std::filesystem::exists(std::filesystem::symlink_status(one, ignored));
    };
    for (auto const* const one : {&aside, &path}) {
        if (auto const* const reason = detail::unfit_for_spill(*one)) {
            throw spill_error(*one, std::string("cannot be set aside: ") + reason);
        }
    }
    std::error_code error;
#if defined(__unix__) || defined(__APPLE__)
    auto const open = [](detail::spill_output& to, std::filesystem::path const& one) {
        auto const fault = to.open(one, detail::spill_output::if_missing::fail);
        if (fault == std::errc::device_or_resource_busy) throw spill_error(one, "cannot be set aside: it is in use");
        if (fault && fault != std::errc::no_such_file_or_directory)
            throw spill_error(one, "cannot be set aside", fault);
        return !fault;
    };
    return detail::spill_claims::of_this_process().locked(
        [&](detail::spill_claims& claims) -> std::optional<std::filesystem::path> {
            for (;;) {
                if (claims.has(aside)) return aside;
                detail::spill_output file;
                if (is_there(aside) && open(file, aside)) {
                    detail::spill_output its_owner;
                    open(its_owner, path);  // who has that one has both
                    claims.add(std::move(file));
                    return aside;
                }
                if (!is_there(path) || !open(file, path)) return std::nullopt;
                // The new name is given by those alone who have the lock that is held now. So it is free, or it was
                // given before that, and would be lost.
                if (is_there(aside)) continue;
                std::filesystem::rename(path, aside, error);
                if (error) throw spill_error(path, "cannot be set aside", error);
                claims.add(std::move(file));
                return aside;
            }
        });
#else
    if (is_there(aside)) return aside;
    if (!is_there(path)) return std::nullopt;
    std::filesystem::rename(path, aside, error);
    if (error) throw spill_error(path, "cannot be set aside", error);
    return aside;
#endif
}

}  // namespace tidefall::inline v0
