// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/version.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tidefall::inline v0::detail {

/// The number of bytes of the UTF-8 character that `text` begins with; 0 if it begins with none.
[[nodiscard]] inline std::size_t utf8_length(std::string_view text) noexcept {
    auto const at = [&](std::size_t i) -> unsigned {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
    };
    auto const between = [&](std::size_t i, unsigned low, unsigned high) { return at(i) >= low && at(i) <= high; };
    auto const tail = [&](std::size_t i) { return between(i, 0x80, 0xBF); };
    if (text.empty()) return 0;
    if (at(0) < 0x80) return 1;
    if (between(0, 0xC2, 0xDF)) return tail(1) ? 2 : 0;
    // The second byte tells overlong forms, surrogates and what lies beyond U+10FFFF.
    unsigned const low = at(0) == 0xE0 ? 0xA0 : at(0) == 0xF0 ? 0x90 : 0x80;
    unsigned const high = at(0) == 0xED ? 0x9F : at(0) == 0xF4 ? 0x8F : 0xBF;
    if (between(0, 0xE0, 0xEF)) return between(1, low, high) && tail(2) ? 3 : 0;
    if (between(0, 0xF0, 0xF4)) return between(1, low, high) && tail(2) && tail(3) ? 4 : 0;
    return 0;
}

/// A duration, 0 or more, as a decimal number of seconds: exactly, and the same in every locale.
[[nodiscard]] inline std::string seconds_text(std::chrono::nanoseconds duration) {
    std::string text = std::to_string(duration.count() / 1'000'000'000);
    if (auto const rest = duration.count() % 1'000'000'000; rest != 0) {
        std::string const digits = std::to_string(rest);
        text.append(1, '.').append(9 - digits.size(), '0').append(digits);
        text.erase(text.find_last_not_of('0') + 1);
    }
    return text;
}

/// `name="value"` as Prometheus' text format 0.0.4 wants it. A byte that is not UTF-8, for which Prometheus would
/// refuse the whole text, becomes U+FFFD.
[[nodiscard]] inline std::string label_text(std::string_view name, std::string_view value) {
    std::string text(name);
    text += "=\"";
    while (!value.empty()) {
        auto const length = utf8_length(value);
        switch (value.front()) {
            case '\\': text += "\\\\"; break;
            case '"': text += "\\\""; break;
            case '\n': text += "\\n"; break;
            default:
                if (length == 0) {
                    text += "\xEF\xBF\xBD";
                } else {
                    text += value.substr(0, length);
                }
        }
        value.remove_prefix(length == 0 ? 1 : length);
    }
    return text += '"';
}

/// Writes Prometheus' text format 0.0.4: a family, then its samples.
class prometheus_text {
public:
    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
        text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
    }

    /// A sample of the family begun last; `labels` is never empty.
    void sample(std::string_view suffix, std::string_view labels, std::string_view value) {
        text_.append(name_).append(suffix).append("{").append(labels).append("} ").append(value).append("\n");
    }
    void sample(std::string_view labels, std::uint64_t value) { sample("", labels, std::to_string(value)); }

    [[nodiscard]] std::string take() && noexcept { return std::move(text_); }

private:
    std::string text_;
    std::string_view name_;
};

}  // namespace tidefall::inline v0::detail
