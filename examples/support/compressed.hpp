// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace access_log {

struct compression {
    char const* name;
    std::string_view begins;  ///< what every file of the kind begins with, and no log
    char const* reader;       ///< the command that writes the content to standard output
};

/// How a file that begins with this text is compressed, if it is. Its name does not count: rotation may give it any.
[[nodiscard]] inline std::optional<compression> compression_of(std::string_view beginning) {
    using namespace std::string_view_literals;
    static constexpr compression known[] = {
        {"gzip", "\x1f\x8b"sv, "zcat"},
        {"compress", "\x1f\x9d"sv, "zcat"},
        {"xz",
         "\xfd"
         "7zXZ\0"sv,
         "xzcat"},
        {"zstd", "\x28\xb5\x2f\xfd"sv, "zstdcat"},
        {"bzip2", "BZh91AY&SY"sv, "bzcat"},
    };
    for (auto const& one : known) {
        if (beginning.starts_with(one.begins)) return one;
    }
    return std::nullopt;
}

/// An input is compressed.
class compressed_error : public std::runtime_error {
public:
    compressed_error(std::string const& input, compression const& how)
        : std::runtime_error("cannot read " + input + ": it is compressed by " + how.name),
          reader_(how.reader + (input == "-" ? std::string() : " " + input)) {}

    /// What to call instead.
    [[nodiscard]] std::string command(std::string const& program) const { return reader_ + " | " + program + " -"; }

private:
    std::string reader_;
};

}  // namespace access_log
