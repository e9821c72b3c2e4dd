// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace access_log {

/// The wish to end early, of Ctrl-C (SIGINT), of SIGTERM, or of a part of the program that failed. Only the reader of
/// the input looks at it: what was read by then takes its ordinary way to the database.
///
/// One at a time. The second signal of a kind ends the process as if nobody handled it.
class stop_request {
public:
    stop_request() {
        if (::pipe(ends_) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
        ::fcntl(ends_[1], F_SETFL, O_NONBLOCK);  // a handler must not wait
        active.store(this);
        // The signal may reach any thread; SA_RESTART keeps it from failing a call there. The reader, in poll, is woken
        // by the pipe.
        struct sigaction action = {};
        action.sa_handler = [](int signal) { active.load()->ask(signal); };
        action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
        for (int const signal : handled) ::sigaction(signal, &action, nullptr);
    }

    stop_request(stop_request const&) = delete;
    stop_request& operator=(stop_request const&) = delete;

    ~stop_request() {
        for (int const signal : handled) std::signal(signal, SIG_DFL);
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

    /// Async-signal-safe: stores a lock-free atomic and writes a byte to a pipe.
    void ask(int signal = 0) noexcept {
        int const error = errno;
        if (signal != 0) signal_.store(signal);
        asked_.store(true);
        [[maybe_unused]] auto const written = ::write(ends_[1], "", 1);  // full: then there is a byte in it already
        errno = error;
    }

    [[nodiscard]] bool asked() const noexcept { return asked_.load(); }

    /// The signal, or 0.
    [[nodiscard]] int signal() const noexcept { return signal_.load(); }

    /// Becomes readable, and stays so, with the request. To wait for it and for input in one call of poll: a flag
    /// alone could be set just before a read that then blocks.
    [[nodiscard]] int descriptor() const noexcept { return ends_[0]; }

private:
    static constexpr int handled[] = {SIGINT, SIGTERM};
    static inline std::atomic<stop_request*> active = nullptr;
    static_assert(std::atomic<stop_request*>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
                  std::atomic<bool>::is_always_lock_free);

    int ends_[2] = {-1, -1};
    std::atomic<int> signal_ = 0;
    std::atomic<bool> asked_ = false;
};

}  // namespace access_log
