// SPDX-License-Identifier: MIT
//
// Catch2, version 2 or 3, whichever is installed.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_get_random_seed.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <catch2/matchers/catch_matchers_vector.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdint>
#include <string>

namespace tests {

#if __has_include(<catch2/catch_test_macros.hpp>)
using Catch::Matchers::ContainsSubstring;

/// The seed of this run, which Catch2 prints, and takes by --rng-seed.
inline std::uint32_t seed() {
    return Catch::getSeed();
}
#else
inline auto ContainsSubstring(std::string const& text) {
    return Catch::Matchers::Contains(text);
}

inline std::uint32_t seed() {
    return Catch::rngSeed();
}
#endif

}  // namespace tests
