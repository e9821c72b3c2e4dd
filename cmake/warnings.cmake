# SPDX-License-Identifier: MIT
#
# tidefall_warnings: what our own targets are compiled with, and no consumer is.
option(TIDEFALL_WERROR "Treat warnings in tests, examples and benchmarks as errors" OFF)

add_library(tidefall_warnings INTERFACE)
if(MSVC)
  target_compile_options(tidefall_warnings INTERFACE /W4 /permissive- $<$<BOOL:${TIDEFALL_WERROR}>:/WX>)
else()
  target_compile_options(
    tidefall_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
                                $<$<BOOL:${TIDEFALL_WERROR}>:-Werror>)
endif()
