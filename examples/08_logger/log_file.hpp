// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

namespace logger_example {

/// A file that text is added to. From one thread at a time.
class log_file {
public:
    explicit log_file(std::string name)
        : name_(std::move(name)), to_(::open(name_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
        if (to_ < 0) throw failure("cannot open ");
    }
    log_file(log_file const&) = delete;
    log_file& operator=(log_file const&) = delete;
    ~log_file() { ::close(to_); }

    /// Adds all of it, by one write(2) where the system takes it whole, or throws and has added none: a disk that is
    /// full in the middle of a line leaves no half of it. (A pipe gives nothing back.)
    void append(std::string_view text) {
        for (std::size_t written = 0; written < text.size();) {
            auto const count = ::write(to_, text.data() + written, text.size() - written);
            if (count >= 0) {
                written += static_cast<std::size_t>(count);
            } else if (errno != EINTR) {
                auto const error = failure("cannot write to ");
                take_back(written);
                throw error;
            }
        }
    }

private:
    [[nodiscard]] std::system_error failure(char const* what) const {
        return {errno, std::generic_category(), what + name_};
    }

    void take_back(std::size_t written) const {
        struct stat now = {};
        if (written == 0 || ::fstat(to_, &now) != 0 || !S_ISREG(now.st_mode)) return;
        [[maybe_unused]] int const cut = ::ftruncate(to_, now.st_size - static_cast<off_t>(written));
    }

    std::string const name_;
    int const to_;
};

}  // namespace logger_example
