// SPDX-License-Identifier: MIT
//
// The protocol: a datagram has lines, a line is NAME:VALUE|TYPE, and of what may follow this server reads the sample
// rate (|@0.1) and DogStatsD's tags (|#a:b,c). Of DogStatsD it also takes several values in a line (NAME:1:2:3|c).
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace statsd {

enum class kind : std::uint8_t { counter, gauge, timer, set };
inline constexpr std::string_view kind_names[] = {"counters", "gauges", "timers", "sets"};

struct measurement {
    std::string_view name = {};
    std::string_view tags = {};    ///< as they came
    std::string_view member = {};  ///< of a set
    kind what = kind::counter;
    bool is_relative = false;  ///< of a gauge: +3 or -3
    double value = 0;
    double rate = 1;  ///< the part that the client sent
};

namespace detail {

/// The text up to the separator, which is taken off `rest` with it; all of it where there is none.
inline std::string_view take(std::string_view& rest, char separator) {
    auto const end = rest.find(separator);
    auto const head = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return head;
}

inline bool parse_number(std::string_view text, double& into) {
    if (text.starts_with('+')) text.remove_prefix(1);
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && end == text.data() + text.size() && !text.empty() && std::isfinite(into);
}

inline bool parse_kind(std::string_view text, kind& into) {
    if (text == "c") {
        into = kind::counter;
    } else if (text == "g") {
        into = kind::gauge;
    } else if (text == "ms" || text == "h" || text == "d") {
        into = kind::timer;
    } else if (text == "s") {
        into = kind::set;
    } else {
        return false;
    }
    return true;
}

}  // namespace detail

/// Calls `use(measurement)` for each value of a line. False, and `use` was not called, if it is malformed: DogStatsD's
/// events and service checks are, too.
template <typename Use>
bool parse_line(std::string_view line, Use&& use) {
    measurement one;
    one.name = detail::take(line, ':');
    auto values = detail::take(line, '|');
    if (one.name.empty() || values.empty() || !detail::parse_kind(detail::take(line, '|'), one.what)) return false;
    while (!line.empty()) {
        auto part = detail::take(line, '|');
        if (part.starts_with('@')) {
            if (!detail::parse_number(part.substr(1), one.rate) || one.rate <= 0 || one.rate > 1) return false;
        } else if (part.starts_with('#')) {
            one.tags = part.substr(1);
        }  // what else there may be, a container's id for one, changes nothing here
    }
    if (one.what == kind::set) {
        one.member = values;
        use(one);
        return true;
    }
    double ignored = 0;
    for (auto rest = values; !rest.empty();) {
        if (!detail::parse_number(detail::take(rest, ':'), ignored)) return false;
    }
    while (!values.empty()) {
        auto const text = detail::take(values, ':');
        one.is_relative = one.what == kind::gauge && (text.front() == '+' || text.front() == '-');
        detail::parse_number(text, one.value);
        use(one);
    }
    return true;
}

/// Names a series: NAME, or NAME|#TAGS with the tags in order, so that clients may send them in any. One for each
/// thread: it keeps its memory.
class series_key {
public:
    std::string_view of(measurement const& one) {
        if (one.tags.empty()) return one.name;
        tags_.clear();
        for (auto rest = one.tags; !rest.empty();) tags_.push_back(detail::take(rest, ','));
        std::sort(tags_.begin(), tags_.end());
        text_.assign(one.name).append("|#");
        for (auto const tag : tags_) text_.append(tag).push_back(',');
        text_.pop_back();
        return text_;
    }

private:
    std::vector<std::string_view> tags_ = {};
    std::string text_ = {};
};

/// The two parts of such a key.
struct series_name {
    explicit series_name(std::string_view key)
        : name(key.substr(0, key.find("|#"))), tags(name.size() < key.size() ? key.substr(name.size() + 2) : "") {}
    std::string_view name;
    std::string_view tags;
};

}  // namespace statsd
