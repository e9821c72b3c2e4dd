// SPDX-License-Identifier: MIT
//
// Catch2 is read once, for all programs of the tests: the precompiled header is that of this file.
#include "catch.hpp"
