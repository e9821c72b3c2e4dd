// SPDX-License-Identifier: MIT
#pragma once

#include <tidefall/detail/sync.hpp>

#include <version>
#if defined(__cpp_lib_jthread)
#include <optional>
#endif

namespace tidefall::inline v0::detail {

#if defined(__cpp_lib_jthread)

/// The source of the stop tokens of one partition's calls. It serves call after call, so that a call allocates
/// nothing, until it was stopped; then the next call gets a new one.
class stop_signal {
public:
    /// Has a new source, not stopped. Allocates.
    void renew() { source_.emplace(); }
    [[nodiscard]] stop_token token() const { return source_->get_token(); }

    /// Runs stop callbacks of the user on this thread.
    void stop() noexcept {
        if (source_) source_->request_stop();
    }

private:
    std::optional<stop_source> source_;
};

#else

/// Without std::stop_token in the library there are no processors that take one.
class stop_signal {
public:
    void renew() noexcept {}
    void stop() noexcept {}

    /// Never called: the compiler looks it up where a processor would take a token.
    static void token() noexcept {}
};

#endif

}  // namespace tidefall::inline v0::detail
