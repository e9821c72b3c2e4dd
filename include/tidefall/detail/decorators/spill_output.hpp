// SPDX-License-Identifier: MIT
//
// Spill files as the system has them: one that is read, and one that a single process writes to. With the calls of
// POSIX where they are, else with what the standard library has, which can neither lock a file, nor sync it to its
// disk, nor tell a symbolic link from a file while it opens it.
#pragma once

#include <tidefall/detail/base/fork.hpp>
#include <tidefall/version.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#endif

namespace tidefall::inline v0::detail {

[[nodiscard]] inline std::error_code last_error() noexcept {
    return {errno != 0 ? errno : EIO, std::generic_category()};
}

/// Why a file with that name can be no spill file, or null. A link is not followed: whoever may write to the directory
/// could have the process write elsewhere.
[[nodiscard]] inline char const* unfit_for_spill(std::filesystem::path const& path) noexcept {
    std::error_code ignored;
    auto const status = std::filesystem::symlink_status(path, ignored);
    if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) return nullptr;
    return std::filesystem::is_symlink(status) ? "it is a symbolic link" : "it is not a regular file";
}

#if defined(__unix__) || defined(__APPLE__)

/// Repeats a call that a signal interrupted before it did anything.
template <typename Call>
auto despite_signals(Call call) {
    for (;;) {
        auto const result = call();
        if (result >= 0 || errno != EINTR) return result;
    }
}

/// A regular file that is open. Which one it is does not change with its name.
class spill_descriptor {
public:
    spill_descriptor() = default;
    spill_descriptor(spill_descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    spill_descriptor& operator=(spill_descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~spill_descriptor() {
        if (number_ >= 0) ::close(number_);  // not again after EINTR: it is closed, and the number may be another's
    }

    /// Opens a file with those flags, never through a symbolic link. One that is made is its owner's alone.
    [[nodiscard]] std::error_code open(std::filesystem::path const& path, int flags) noexcept {
        // Without O_NONBLOCK a pipe of that name would have it wait for the other end.
        int const all = flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
        spill_descriptor opened(despite_signals([&] { return ::open(path.c_str(), all, 0600); }));
        struct stat status = {};
        if (opened.number_ < 0 || ::fstat(opened.number_, &status) != 0) return last_error();
        if (!S_ISREG(status.st_mode)) return std::make_error_code(std::errc::operation_not_supported);
        std::swap(number_, opened.number_);
        return {};
    }

    /// Opens what another one has open.
    [[nodiscard]] std::error_code open(spill_descriptor const& other) noexcept {
        spill_descriptor opened(despite_signals([&] { return ::fcntl(other.number_, F_DUPFD_CLOEXEC, 0); }));
        if (opened.number_ < 0) return last_error();
        std::swap(number_, opened.number_);
        return {};
    }

    [[nodiscard]] int number() const noexcept { return number_; }

    /// Whether the name is this file's. Of a symbolic link it is not.
    [[nodiscard]] bool is_at(std::filesystem::path const& path) const noexcept {
        struct stat here = {};
        struct stat there = {};
        return ::fstat(number_, &here) == 0 && ::lstat(path.c_str(), &there) == 0 && here.st_ino == there.st_ino &&
               here.st_dev == there.st_dev;
    }

    /// Whether the file is gone but for those who have it open.
    [[nodiscard]] bool has_no_name() const noexcept {
        struct stat here = {};
        return ::fstat(number_, &here) == 0 && here.st_nlink == 0;
    }

private:
    explicit spill_descriptor(int number) noexcept : number_(number) {}

    int number_ = -1;
};

/// What `spill_input` reads from.
class spill_reader {
public:
    [[nodiscard]] std::error_code open(std::filesystem::path const& path) noexcept {
        return file_.open(path, O_RDONLY);
    }
    [[nodiscard]] std::error_code open(spill_descriptor const& other) noexcept { return file_.open(other); }

    /// Throws std::system_error.
    [[nodiscard]] std::uint64_t size() const {
        struct stat status = {};
        if (::fstat(file_.number(), &status) != 0) throw std::system_error(last_error());
        return static_cast<std::uint64_t>(status.st_size);
    }

    /// Less than `count` where the file ends. Throws std::system_error.
    std::size_t read_at(std::uint64_t from, char* to, std::size_t count) {
        std::size_t done = 0;
        while (done < count) {
            auto const got = despite_signals(
                [&] { return ::pread(file_.number(), to + done, count - done, static_cast<off_t>(from + done)); });
            if (got < 0) throw std::system_error(last_error());
            if (got == 0) break;
            done += static_cast<std::size_t>(got);
        }
        return done;
    }

private:
    spill_descriptor file_;
};

/// A file that is open to be written, and locked: nothing else has it open like this, in this process or another. In a
/// process that is forked off meanwhile it is the parent's, who unlocks it.
class spill_output {
public:
    enum class if_missing { make_it, fail };

    spill_output() = default;
    spill_output(spill_output&&) = default;
    spill_output& operator=(spill_output&&) = default;
    ~spill_output() { close(); }

    /// `device_or_resource_busy` if something else has it open like this.
    [[nodiscard]] std::error_code open(std::filesystem::path const& path, if_missing then) noexcept {
        close();
        home_ = home_process();
        // What is locked may have another name by then, or none. So often in a row that is nobody's doing but a fault.
        for (int turn = 0; turn < 100; ++turn) {
            int const make = then == if_missing::make_it ? O_CREAT : 0;
            if (auto const error = file_.open(path, O_RDWR | make)) return error;
#if defined(LOCK_EX)
            // Held by the open file and not by the process: a second one in this process is refused too.
            if (despite_signals([&] { return ::flock(file_.number(), LOCK_EX | LOCK_NB); }) != 0) {
                auto const error =
                    errno == EWOULDBLOCK ? std::make_error_code(std::errc::device_or_resource_busy) : last_error();
                file_ = {};
                return error;
            }
#endif
            if (file_.is_at(path)) return {};
            close();
        }
        return std::make_error_code(std::errc::device_or_resource_busy);
    }

    void close() noexcept {
#if defined(LOCK_EX)
        // A child that was forked off has a share in the open file, and would keep the lock.
        if (file_.number() >= 0 && !is_the_parents()) ::flock(file_.number(), LOCK_UN);
#endif
        file_ = {};
    }

    /// True in a process that was forked off while this was open.
    [[nodiscard]] bool is_the_parents() const noexcept {
        return home_.left();
    }

    [[nodiscard]] spill_descriptor const& file() const noexcept {
        return file_;
    }

    /// Writes all of it; on an error part of it may be written.
    [[nodiscard]] std::error_code write(std::uint64_t at, std::string_view bytes) noexcept {
        while (!bytes.empty()) {
            auto const written = despite_signals(
                [&] { return ::pwrite(file_.number(), bytes.data(), bytes.size(), static_cast<off_t>(at)); });
            if (written < 0) return last_error();
            at += static_cast<std::uint64_t>(written);
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
        return {};
    }

    /// What was written survives the system's end, and not the process's alone.
    [[nodiscard]] std::error_code sync() noexcept {
        return despite_signals([&] { return ::fsync(file_.number()); }) == 0 ? std::error_code() : last_error();
    }

    [[nodiscard]] std::error_code truncate(std::uint64_t size) noexcept {
        int const result = despite_signals([&] { return ::ftruncate(file_.number(), static_cast<off_t>(size)); });
        return result == 0 ? std::error_code() : last_error();
    }

    /// That the file is there survives it too. Some file systems cannot, which is no error.
    static void sync_directory_of(std::filesystem::path const& path) {
        auto const directory = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
        int const number = despite_signals([&] { return ::open(directory.c_str(), O_RDONLY | O_CLOEXEC); });
        if (number < 0) return;
        static_cast<void>(despite_signals([&] { return ::fsync(number); }));
        ::close(number);
    }

private:
    spill_descriptor file_;
    home_process home_;
};

#else

/// What `spill_input` reads from.
class spill_reader {
public:
    [[nodiscard]] std::error_code open(std::filesystem::path const& path) {
        errno = 0;
        in_.open(path, std::ios::binary);
        return in_ ? std::error_code() : last_error();
    }

    /// Throws std::system_error.
    [[nodiscard]] std::uint64_t size() {
        errno = 0;
        in_.clear();
        in_.seekg(0, std::ios::end);
        auto const end = in_.tellg();
        position_ = static_cast<std::uint64_t>(end);
        if (!in_) throw std::system_error(last_error());
        return position_;
    }

    /// Less than `count` where the file ends. Throws std::system_error.
    std::size_t read_at(std::uint64_t from, char* to, std::size_t count) {
        errno = 0;
        in_.clear();
        if (from != position_) in_.seekg(static_cast<std::streamoff>(from));
        in_.read(to, static_cast<std::streamsize>(count));
        if (in_.bad()) throw std::system_error(last_error());
        auto const done = static_cast<std::size_t>(in_.gcount());
        position_ = from + done;
        return done;
    }

private:
    std::ifstream in_;
    std::uint64_t position_ = 0;
};

class spill_output {
public:
    enum class if_missing { make_it, fail };

    [[nodiscard]] std::error_code open(std::filesystem::path const& path, if_missing then) {
        std::error_code ignored;
        if (then == if_missing::fail && !std::filesystem::exists(path, ignored)) {
            return std::make_error_code(std::errc::no_such_file_or_directory);
        }
        path_ = path;
        errno = 0;
        out_.close();
        out_.clear();
        out_.open(path_, std::ios::binary | std::ios::app);  // makes it
        out_.close();
        out_.open(path_, std::ios::binary | std::ios::in | std::ios::out);
        return out_ ? std::error_code() : last_error();
    }

    void close() { out_.close(); }

    [[nodiscard]] bool is_the_parents() const noexcept { return false; }

    [[nodiscard]] std::filesystem::path const& file() const noexcept { return path_; }

    [[nodiscard]] std::error_code write(std::uint64_t at, std::string_view bytes) {
        errno = 0;
        out_.seekp(static_cast<std::streamoff>(at));
        out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        out_.flush();
        return out_ ? std::error_code() : last_error();
    }

    [[nodiscard]] std::error_code sync() noexcept { return {}; }

    [[nodiscard]] std::error_code truncate(std::uint64_t size) {
        out_.close();
        std::error_code error;
        std::filesystem::resize_file(path_, size, error);
        auto const reopened = open(path_, if_missing::make_it);
        return error ? error : reopened;
    }

    static void sync_directory_of(std::filesystem::path const&) {}

private:
    std::filesystem::path path_;
    std::fstream out_;
};

#endif

}  // namespace tidefall::inline v0::detail
