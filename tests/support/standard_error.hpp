// SPDX-License-Identifier: MIT
//
// What the process says on its standard error while this lives. POSIX.
#pragma once

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace tests {

class standard_error {
public:
    standard_error() {
        std::fflush(stderr);
        if (file_ == nullptr || before_ < 0 || dup2(fileno(file_), STDERR_FILENO) < 0) std::abort();
    }
    standard_error(standard_error const&) = delete;
    standard_error& operator=(standard_error const&) = delete;
    ~standard_error() {
        std::fflush(stderr);
        dup2(before_, STDERR_FILENO);
        close(before_);
        std::fclose(file_);
    }

    /// All so far. May be called by any thread.
    [[nodiscard]] std::string text() const {
        std::string all;
        std::array<char, 256> some{};
        for (ssize_t n = 0; (n = pread(fileno(file_), some.data(), some.size(), static_cast<off_t>(all.size()))) > 0;) {
            all.append(some.data(), static_cast<std::size_t>(n));
        }
        return all;
    }

    [[nodiscard]] bool says(std::string const& words) const { return text().find(words) != std::string::npos; }

private:
    std::FILE* const file_ = std::tmpfile();
    int const before_ = dup(STDERR_FILENO);
};

}  // namespace tests
