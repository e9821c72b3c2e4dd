// SPDX-License-Identifier: MIT
//
// Output that is whole or an error: with a disk that is full, or a pipe that nobody reads any more, a program that
// looks at nothing ends with exit code 0, or by SIGPIPE in the middle of its work. By C's streams, which keep the
// reason.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace output {

class error : public std::runtime_error {
    using runtime_error::runtime_error;
};

/// A write to a pipe that nobody reads fails from now on, like any other, and does not end the process.
inline void let_closed_pipes_fail() {
#ifdef SIGPIPE
    std::signal(SIGPIPE, SIG_IGN);
#endif
}

namespace detail {

inline error failure(std::string const& name, int reason) {
    return error("cannot write to " + name + ": " + (reason == 0 ? "an earlier write failed" : std::strerror(reason)));
}

/// The text has left the process when this returns.
inline void write(std::FILE* to, std::string const& name, std::string_view text) {
    errno = 0;
    bool const taken = std::fwrite(text.data(), 1, text.size(), to) == text.size();
    if (!taken || std::fflush(to) != 0) throw failure(name, errno);
}

}  // namespace detail

/// Writes to standard output. Throws `error`.
inline void write(std::string_view text) {
    detail::write(stdout, "standard output", text);
}

/// For the end of a program that uses std::printf: whether all of it was written. If not, says so.
inline bool written(char const* program) {
    let_closed_pipes_fail();
    errno = 0;
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
    std::fprintf(stderr, "%s: %s\n", program, detail::failure("standard output", errno).what());
    return false;
}

/// A new file, or with the name `-` standard output. Every call throws `error`.
class file {
public:
    explicit file(std::string const& name) : name_(name == "-" ? "standard output" : name) {
        if (name == "-") return;
        opened_.reset(std::fopen(name.c_str(), "wb"));
        if (!opened_) throw detail::failure(name_, errno);
    }

    void write(std::string_view text) { detail::write(opened_ ? opened_.get() : stdout, name_, text); }

    /// Some file systems tell only here that there was no room.
    void close() {
        errno = 0;
        if (opened_ && std::fclose(opened_.release()) != 0) throw detail::failure(name_, errno);
    }

private:
    struct closer {
        void operator()(std::FILE* one) const { std::fclose(one); }
    };
    std::string const name_;
    std::unique_ptr<std::FILE, closer> opened_ = {};
};

}  // namespace output
