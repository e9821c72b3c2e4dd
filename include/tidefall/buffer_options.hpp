// SPDX-License-Identifier: MIT
//
// The options of a buffer, by the name that their header had before 0.10: `options.hpp` has them.
#pragma once

#include <tidefall/options.hpp>
