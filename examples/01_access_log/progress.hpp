// SPDX-License-Identifier: MIT
#pragma once

#include "../support/format.hpp"
#include "../support/ticker.hpp"
#include "ingest.hpp"

#include <chrono>
#include <cstdint>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

namespace access_log {

enum class progress_style {
    none,
    in_place,  ///< one line of a terminal, redrawn some times a second
    lines,     ///< a line every second, for a log
};

/// Shows on standard error how far it is, from a thread of its own, as long as it lives.
class progress {
public:
    progress(ingest const& of, progress_style style) : of_(of), style_(style) {
        using namespace std::chrono_literals;
        if (style == progress_style::none) return;
        shown_.emplace(style == progress_style::in_place ? 100ms : 1000ms, [this] { show(); });
    }

    progress(progress const&) = delete;
    progress& operator=(progress const&) = delete;

    ~progress() {
        shown_.reset();
        if (style_ == progress_style::in_place) std::cerr << clear_line << std::flush;
    }

private:
    static constexpr char const* clear_line = "\r\x1b[2K";

    void show() const {
        auto const text = describe();
        if (style_ == progress_style::in_place)
            std::cerr << clear_line << text << std::flush;
        else
            std::cerr << text << std::endl;
    }

    [[nodiscard]] std::string describe() const {
        auto const counts = of_.counts();
        std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - began_;
        std::ostringstream text;
        text << counted(counts.lines, "line", "lines") << ", "
             << grouped(static_cast<std::uint64_t>(static_cast<double>(counts.lines) / elapsed.count())) << "/s, "
             << grouped(counts.waiting) << " waiting, " << counted(counts.batches, "batch", "batches");
        return text.str();
    }

    ingest const& of_;
    progress_style const style_;
    std::chrono::steady_clock::time_point const began_ = std::chrono::steady_clock::now();
    std::optional<ticker> shown_ = {};
};

}  // namespace access_log
