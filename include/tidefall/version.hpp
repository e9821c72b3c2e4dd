// SPDX-License-Identifier: MIT
#pragma once

#if defined(__GNUC__) && !defined(__cpp_exceptions)
#error "tidefall needs exceptions: build without -fno-exceptions"
#endif

#include <string_view>

namespace tidefall::inline v0 {

inline constexpr int version_major = 0;
inline constexpr int version_minor = 9;
inline constexpr int version_patch = 0;
inline constexpr std::string_view version = "0.9.0";

}  // namespace tidefall::inline v0
