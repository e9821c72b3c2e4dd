// SPDX-License-Identifier: MIT
#pragma once

#include "compressed.hpp"
#include "stop_request.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace access_log {

/// What is read at once, and so the longest line that is not malformed.
inline constexpr std::size_t block_size = 65'536;

/// Whole lines of one input: some hundred of them, or as few as a slow pipe has to offer.
struct block {
    std::size_t input = 0;         ///< its index in the list of inputs
    std::uint64_t first_line = 1;  ///< the number of its first line in that input
    std::string text = {};
    bool too_long = false;  ///< stands for one line that is longer than a block; there is no text
};

class input_error : public std::runtime_error {
public:
    input_error(std::string const& name, int error)
        : std::runtime_error("cannot read " + name + ": " + std::generic_category().message(error)) {}
};

/// Refuses what cannot be read before anything is stored. It opens no pipe: that can be done only once.
inline void check_readable(std::vector<std::string> const& names) {
    for (auto const& name : names) {
        if (name == "-") continue;
        struct stat status = {};
        if (::access(name.c_str(), R_OK) != 0 || ::stat(name.c_str(), &status) != 0) throw input_error(name, errno);
        if (S_ISDIR(status.st_mode)) throw input_error(name, EISDIR);
        if (!S_ISREG(status.st_mode)) continue;
        char beginning[16] = {};
        std::ifstream(name, std::ios::binary).read(beginning, sizeof beginning);
        if (auto const how = compression_of({beginning, sizeof beginning})) throw compressed_error(name, *how);
    }
}

/// A file, or with the name `-` standard input, read block by block until its end or a request to stop.
class input_file {
public:
    input_file(std::string const& name, std::size_t index, stop_request const& stop)
        : name_(name), is_stdin_(name == "-"), input_(index), stop_(stop) {
        if (is_stdin_) return;
        // Without O_NONBLOCK, opening a named pipe would wait for a writer, deaf to a request to stop.
        descriptor_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor_ < 0) throw input_error(name_, errno);
    }

    input_file(input_file const&) = delete;
    input_file& operator=(input_file const&) = delete;

    ~input_file() {
        if (!is_stdin_) ::close(descriptor_);
    }

    /// The next block; none at the end and when a stop is asked for. A line that has begun by then and not ended is
    /// left out, as only its first part is known. Throws `input_error` and `compressed_error`.
    std::optional<block> next() {
        for (;;) {
            std::string text = std::exchange(unfinished_, {});
            auto const known = text.size();
            text.resize(block_size);
            auto const count = read_into(text.data() + known, block_size - known);
            if (!count || known + *count == 0) return std::nullopt;
            text.resize(known + *count);
            if (next_line_ == 1) require_text(text);
            if (*count == 0) return lines(std::move(text), 1);  // the last line ends with the file
            if (skipping_ && !skip_to_next_line(text)) continue;
            auto const last_end = text.rfind('\n');
            if (last_end != std::string::npos) {
                unfinished_ = text.substr(last_end + 1);
                text.resize(last_end + 1);
                auto const count_of_lines = std::count(text.begin(), text.end(), '\n');
                return lines(std::move(text), static_cast<std::uint64_t>(count_of_lines));
            }
            if (text.size() == block_size) return line_too_long();
            unfinished_ = std::move(text);
        }
    }

private:
    /// The number of characters read, 0 at the end; none when a stop is asked for.
    std::optional<std::size_t> read_into(char* text, std::size_t size) {
        for (;;) {
            pollfd both[] = {{.fd = descriptor_, .events = POLLIN, .revents = 0},
                             {.fd = stop_.descriptor(), .events = POLLIN, .revents = 0}};
            auto const ready = ::poll(both, std::size(both), -1);
            if (stop_.asked()) return std::nullopt;
            auto const count = ready < 0 ? -1 : ::read(descriptor_, text, size);
            if (count >= 0) return static_cast<std::size_t>(count);
            if (errno != EINTR && errno != EAGAIN) throw input_error(name_, errno);
        }
    }

    /// Of the beginning of the input, as much as is there.
    void require_text(std::string_view beginning) const {
        if (auto const how = compression_of(beginning)) throw compressed_error(name_, *how);
    }

    block lines(std::string text, std::uint64_t count) {
        block result{.input = input_, .first_line = next_line_, .text = std::move(text)};
        next_line_ += count;
        return result;
    }

    block line_too_long() {
        skipping_ = true;
        return {.input = input_, .first_line = next_line_++, .too_long = true};
    }

    /// Removes the rest of the line that is too long; false if `text` does not contain its end.
    bool skip_to_next_line(std::string& text) {
        auto const end = text.find('\n');
        if (end == std::string::npos) return false;
        text.erase(0, end + 1);
        skipping_ = false;
        return true;
    }

    std::string const name_;
    bool const is_stdin_;
    std::size_t const input_;
    stop_request const& stop_;
    int descriptor_ = STDIN_FILENO;
    std::uint64_t next_line_ = 1;
    std::string unfinished_ = {};  ///< the beginning of a line, shorter than a block
    bool skipping_ = false;        ///< within a line that is too long
};

}  // namespace access_log
