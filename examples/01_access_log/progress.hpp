// SPDX-License-Identifier: MIT
#pragma once

#include "format.hpp"
#include "ingest.hpp"

#include <chrono>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

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
        if (style != progress_style::none) thread_ = std::thread([this] { show_until_done(); });
    }

    progress(progress const&) = delete;
    progress& operator=(progress const&) = delete;

    ~progress() {
        if (!thread_.joinable()) return;
        {
            std::lock_guard const lock(mutex_);
            done_ = true;
        }
        wake_.notify_one();
        thread_.join();
        if (style_ == progress_style::in_place) std::cerr << clear_line << std::flush;
    }

private:
    static constexpr char const* clear_line = "\r\x1b[2K";

    void show_until_done() {
        using namespace std::chrono_literals;
        auto const every = style_ == progress_style::in_place ? 100ms : 1000ms;
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, every, [&] { return done_; })) {
            auto const text = describe();
            if (style_ == progress_style::in_place)
                std::cerr << clear_line << text << std::flush;
            else
                std::cerr << text << std::endl;
        }
    }

    [[nodiscard]] std::string describe() const {
        auto const counts = of_.counts();
        std::chrono::duration<double> const elapsed = std::chrono::steady_clock::now() - began_;
        std::ostringstream text;
        text << grouped(counts.lines) << " lines, "
             << grouped(static_cast<std::uint64_t>(static_cast<double>(counts.lines) / elapsed.count())) << "/s, "
             << grouped(counts.waiting) << " waiting, " << grouped(counts.batches) << " batches";
        return text.str();
    }

    ingest const& of_;
    progress_style const style_;
    std::chrono::steady_clock::time_point const began_ = std::chrono::steady_clock::now();
    std::mutex mutex_ = {};
    std::condition_variable wake_ = {};
    bool done_ = false;
    std::thread thread_ = {};
};

}  // namespace access_log
