# SPDX-License-Identifier: MIT
file(READ ${SOURCE}/README.md readme)
file(READ ${SOURCE}/examples/00_quick_start.cpp program)
string(REPLACE "// SPDX-License-Identifier: MIT\n" "" program "${program}")
string(FIND "${readme}" "```cpp\n${program}```" place)
if(place EQUAL -1)
  message(FATAL_ERROR "the README's first program is not examples/00_quick_start.cpp")
endif()
