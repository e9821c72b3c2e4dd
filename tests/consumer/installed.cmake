# SPDX-License-Identifier: MIT
#
# Installs this build, moves what was installed, and looks at it: every header, and nothing that holds a path.
cmake_minimum_required(VERSION 3.23)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)
set(staged ${WORK}/staged)
file(REMOVE_RECURSE ${WORK} ${INSTALLED})
run(${CMAKE_COMMAND} --install ${BINARY} --prefix ${staged} --component tidefall)

file(GLOB_RECURSE expected RELATIVE ${SOURCE} ${SOURCE}/include/*)
list(
  APPEND
  expected
  share/cmake/tidefall/tidefall-config-version.cmake
  share/cmake/tidefall/tidefall-config.cmake
  share/cmake/tidefall/tidefall-targets.cmake
  share/licenses/tidefall/LICENSE
  share/pkgconfig/tidefall.pc)
file(GLOB_RECURSE found RELATIVE ${staged} ${staged}/*)
set(missing ${expected})
list(REMOVE_ITEM missing ${found})
set(strange ${found})
list(REMOVE_ITEM strange ${expected})
if(missing OR strange)
  message(FATAL_ERROR "not installed: ${missing}; installed, but unknown: ${strange}")
endif()

foreach(file IN LISTS found)
  file(READ ${staged}/${file} text)
  foreach(path IN ITEMS ${SOURCE} ${BINARY} ${staged})
    string(FIND "${text}" "${path}" place)
    if(NOT place EQUAL -1)
      message(FATAL_ERROR "${file} holds ${path}: it cannot be moved")
    endif()
  endforeach()
endforeach()

# Consumers with a CMake that knows no file sets find the headers too.
file(STRINGS ${staged}/share/cmake/tidefall/tidefall-targets.cmake include REGEX "INTERFACE_INCLUDE_DIRECTORIES .*/include")
if(NOT include)
  message(FATAL_ERROR "the target has no include path but its file set's")
endif()

get_filename_component(parent ${INSTALLED} DIRECTORY)
file(MAKE_DIRECTORY ${parent})
file(RENAME ${staged} ${INSTALLED})
