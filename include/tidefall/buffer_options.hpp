// SPDX-License-Identifier: MIT
//
// Another name for options.hpp.
#pragma once

#include <tidefall/options.hpp>
