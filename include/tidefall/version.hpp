// SPDX-License-Identifier: MIT
//
// The version. Every header of the library begins with this one, so that what a compiler or its flags lack is said
// before anything else.
#pragma once

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 201709L
#if defined(_MSC_VER) && !defined(__clang__)
#error "tidefall needs C++20: compile with /std:c++20"
#else
#error "tidefall needs C++20: compile with -std=c++20"
#endif
#endif
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
