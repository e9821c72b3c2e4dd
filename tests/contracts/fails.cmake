# SPDX-License-Identifier: MIT
#
# SOURCE does not compile, and the first error says REASON.
execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${FLAGS} -I${INCLUDE} ${SOURCE}
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles")
endif()
# Semicolons part the entries of a list, brackets keep them together.
string(REGEX REPLACE "[][;]" "," output "${output}")
string(REGEX REPLACE "[][;]" "," REASON "${REASON}")
string(REGEX MATCH "error: [^\n]*" first "${output}")
string(FIND "${first}" "${REASON}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "the first error does not say \"${REASON}\":\n${output}")
endif()
