# SPDX-License-Identifier: MIT
#
# Writes into the file OUT, for ctest, one test for all cases of PROGRAM whose names begin alike.
include(${CMAKE_CURRENT_LIST_DIR}/cases.cmake)
get_filename_component(name ${PROGRAM} NAME_WE)
cases_of(${PROGRAM} cases)
groups_in(groups ${cases})
set(script "")
foreach(group IN LISTS groups)
  set(here ${cases})
  list(FILTER here INCLUDE REGEX "^${group}: ")
  list(LENGTH here count)
  set(test "[==[${group}: the cases of ${name}, ${count}]==]")
  string(APPEND script "add_test(${test} [==[${PROGRAM}]==] [==[${group}: *]==] ${ARGUMENTS})\n")
  if(PROPERTIES)
    string(APPEND script "set_tests_properties(${test} PROPERTIES ${PROPERTIES})\n")
  endif()
endforeach()
file(WRITE ${OUT} "${script}")
