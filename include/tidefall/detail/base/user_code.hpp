// SPDX-License-Identifier: MIT
//
// Calling code of the user that may throw anything.
#pragma once

#include <exception>
#include <utility>

#if defined(__has_include)
#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif
#endif

namespace tidefall::inline v0::detail {

/// Calls `f` and returns what it threw, or null. A forced unwind (pthread_exit, pthread_cancel) passes through:
/// swallowing one would end the process.
template <typename F>
#if defined(__GNUC__) && !defined(__clang__) && defined(_CXXABI_FORCED_H)
// The foreign exception has no object to refer to, which g++'s UBSan takes for a null reference.
__attribute__((no_sanitize("undefined")))
#endif
std::exception_ptr
thrown_by(F&& f) {
    try {
        std::forward<F>(f)();
        return nullptr;
    }
#if defined(_CXXABI_FORCED_H)
    catch (abi::__forced_unwind&) {
        throw;
    }
#endif
    catch (...) {
        return std::current_exception();
    }
}

}  // namespace tidefall::inline v0::detail
