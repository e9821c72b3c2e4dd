// SPDX-License-Identifier: MIT
//
// A file that one process at a time writes to: with the calls of POSIX where they are, else with what the standard
// library has, which can neither lock a file nor sync it to its disk.
#pragma once

#include <tidefall/version.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace tidefall::inline v0::detail {

[[nodiscard]] inline std::error_code last_error() noexcept {
    return {errno != 0 ? errno : EIO, std::generic_category()};
}

#if defined(__unix__) || defined(__APPLE__)

class spill_output {
public:
    spill_output() = default;
    spill_output(spill_output const&) = delete;
    spill_output& operator=(spill_output const&) = delete;
    ~spill_output() { close(); }

    /// Opens the file, which is made if it is not there. `device_or_resource_busy` if something holds it open here,
    /// or renamed it meanwhile.
    [[nodiscard]] std::error_code open(std::filesystem::path const& path) noexcept {
        close();
        descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0) return last_error();
#if defined(LOCK_EX)
        // Held by the open file and not by the process: a second one in this process is refused too.
        if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
            return errno == EWOULDBLOCK ? std::make_error_code(std::errc::device_or_resource_busy) : last_error();
        }
#endif
        struct stat opened = {};
        struct stat named = {};
        if (::fstat(descriptor_, &opened) != 0 || ::stat(path.c_str(), &named) != 0) return last_error();
        if (opened.st_ino != named.st_ino || opened.st_dev != named.st_dev) {
            return std::make_error_code(std::errc::device_or_resource_busy);
        }
        return {};
    }

    void close() noexcept {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = -1;
    }

    /// Writes all of it; on an error part of it may be written.
    [[nodiscard]] std::error_code write(std::uint64_t at, std::string_view bytes) noexcept {
        while (!bytes.empty()) {
            auto const written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(at));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) return last_error();
            at += static_cast<std::uint64_t>(written);
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
        return {};
    }

    /// What was written survives the system's end, and not the process's alone.
    [[nodiscard]] std::error_code sync() noexcept {
        return ::fsync(descriptor_) == 0 ? std::error_code() : last_error();
    }

    [[nodiscard]] std::error_code truncate(std::uint64_t size) noexcept {
        return ::ftruncate(descriptor_, static_cast<off_t>(size)) == 0 ? std::error_code() : last_error();
    }

    /// That the file is there survives it too. Some file systems cannot, which is no error.
    static void sync_directory_of(std::filesystem::path const& path) {
        auto const directory = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
        int const descriptor = ::open(directory.c_str(), O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) return;
        static_cast<void>(::fsync(descriptor));
        ::close(descriptor);
    }

private:
    int descriptor_ = -1;
};

#else

class spill_output {
public:
    [[nodiscard]] std::error_code open(std::filesystem::path const& path) {
        path_ = path;
        errno = 0;
        out_.close();
        out_.clear();
        out_.open(path_, std::ios::binary | std::ios::app);
        return out_ ? std::error_code() : last_error();
    }

    void close() { out_.close(); }

    /// `at` is the end of the file.
    [[nodiscard]] std::error_code write(std::uint64_t, std::string_view bytes) {
        errno = 0;
        out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        out_.flush();
        return out_ ? std::error_code() : last_error();
    }

    [[nodiscard]] std::error_code sync() noexcept { return {}; }

    [[nodiscard]] std::error_code truncate(std::uint64_t size) {
        out_.close();
        std::error_code error;
        std::filesystem::resize_file(path_, size, error);
        auto const reopened = open(path_);
        return error ? error : reopened;
    }

    static void sync_directory_of(std::filesystem::path const&) {}

private:
    std::filesystem::path path_;
    std::ofstream out_;
};

#endif

}  // namespace tidefall::inline v0::detail
