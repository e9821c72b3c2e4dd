// SPDX-License-Identifier: MIT
#include "shared.hpp"

plugin_functions const& plugin() {
    return *tidefall_test_plugin();
}
