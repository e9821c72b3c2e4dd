# SPDX-License-Identifier: MIT
#
# find_package refuses versions that this one does not stand in for, and says which one it saw.
cmake_minimum_required(VERSION 3.23)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)
file(REMOVE_RECURSE ${WORK})
string(REPLACE "." ";" numbers ${VERSION})
list(GET numbers 0 major)
list(GET numbers 1 minor)
list(GET numbers 2 patch)
math(EXPR next_major "${major} + 1")
math(EXPR next_minor "${minor} + 1")
math(EXPR next_patch "${patch} + 1")
set(wrong ${next_major}.0 ${major}.${next_minor} ${major}.${minor}.${next_patch})
if(minor GREATER 0)
  math(EXPR last_minor "${minor} - 1")
  list(APPEND wrong ${major}.${last_minor})
endif()
foreach(version IN LISTS wrong)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/versions -B ${WORK} -G ${GENERATOR}
            -DCMAKE_PREFIX_PATH=${INSTALLED} -DWANTED=${version}
    RESULT_VARIABLE result
    OUTPUT_QUIET
    ERROR_VARIABLE errors)
  string(REGEX REPLACE "[ \n]+" " " errors "${errors}")
  string(FIND "${errors}" "compatible with requested version \"${version}\"" names_it)
  string(FIND "${errors}" "version: ${VERSION}" names_ours)
  if(result EQUAL 0 OR names_it EQUAL -1 OR names_ours EQUAL -1)
    message(FATAL_ERROR "find_package(tidefall ${version}) answers ${result}: ${errors}")
  endif()
endforeach()
