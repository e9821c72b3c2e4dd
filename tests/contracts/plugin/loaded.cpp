// SPDX-License-Identifier: MIT
#include "shared.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

plugin_functions const& plugin() {
    static plugin_functions const& loaded = []() -> plugin_functions const& {
        void* const library = dlopen(TIDEFALL_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
        auto const entry =
            library == nullptr ? nullptr : reinterpret_cast<plugin_entry>(dlsym(library, "tidefall_test_plugin"));
        if (entry == nullptr) {
            std::fprintf(stderr, "%s\n", dlerror());
            std::exit(2);
        }
        return *entry();
    }();
    return loaded;
}
