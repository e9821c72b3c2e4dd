// SPDX-License-Identifier: MIT
#include "engines.hpp"

TIDEFALL_ENGINES()
