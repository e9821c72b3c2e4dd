# SPDX-License-Identifier: MIT
#
# The vcpkg port without vcpkg: the real portfile with functions of vcpkg's names, which do with this checkout what
# vcpkg's would do with the archive of the tag, and check what they are given.
cmake_minimum_required(VERSION 3.23)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)
file(REMOVE_RECURSE ${WORK})
set(port_dir ${SOURCE}/cmake/vcpkg/tidefall)

# check(CONDITION...): holds, or the test fails.
macro(check)
  if(NOT (${ARGN}))
    message(FATAL_ERROR "the port: not true: ${ARGN}")
  endif()
endmacro()

# What vcpkg knows from vcpkg.json.
file(READ ${port_dir}/vcpkg.json manifest)
string(JSON PORT GET "${manifest}" name)
string(JSON VERSION_OF_PORT GET "${manifest}" version)
string(JSON licence GET "${manifest}" license)
string(JSON homepage GET "${manifest}" homepage)
string(JSON fmt GET "${manifest}" features fmt dependencies 0)
check(PORT STREQUAL "tidefall" AND licence STREQUAL "MIT" AND fmt STREQUAL "fmt" AND homepage STREQUAL HOMEPAGE)
set(helpers "")
string(JSON count LENGTH "${manifest}" dependencies)
math(EXPR last "${count} - 1")
foreach(i RANGE ${last})
  string(JSON helper GET "${manifest}" dependencies ${i} name)
  string(JSON host GET "${manifest}" dependencies ${i} host)
  check(host)
  list(APPEND helpers ${helper})
endforeach()
set(VERSION ${VERSION_OF_PORT})
set(CURRENT_PACKAGES_DIR ${WORK}/packages)
set(calls "")

# called(NAME [HELPER]): notes a call, of a function that the helper port offers.
macro(called name)
  list(APPEND calls ${name})
  set(calls "${calls}" PARENT_SCOPE)
  foreach(helper IN ITEMS ${ARGN})
    if(NOT helper IN_LIST helpers)
      message(FATAL_ERROR "the port calls ${name} without depending on ${helper}")
    endif()
  endforeach()
endmacro()

function(vcpkg_from_github)
  called(vcpkg_from_github)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "OUT_SOURCE_PATH;REPO;REF;SHA512;HEAD_REF" "")
  check(NOT DEFINED arg_UNPARSED_ARGUMENTS)
  check("https://github.com/${arg_REPO}" STREQUAL HOMEPAGE)
  check(arg_REF STREQUAL "v${VERSION}")
  check(arg_HEAD_REF STREQUAL "main")
  string(LENGTH "${arg_SHA512}" length)
  check(arg_SHA512 STREQUAL "0" OR (length EQUAL 128 AND arg_SHA512 MATCHES "^[0-9a-f]+$"))
  set(${arg_OUT_SOURCE_PATH} ${SOURCE} PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
  called(vcpkg_cmake_configure vcpkg-cmake)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  check(NOT DEFINED arg_UNPARSED_ARGUMENTS)
  check(VCPKG_BUILD_TYPE STREQUAL "release")
  run(${CMAKE_COMMAND}
      -S
      ${arg_SOURCE_PATH}
      -B
      ${WORK}/build
      -G
      ${GENERATOR}
      -DCMAKE_CXX_COMPILER=${COMPILER}
      -DCMAKE_BUILD_TYPE=Release
      -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}
      ${arg_OPTIONS})
  check(NOT errors MATCHES "Warning") # an option that the project does not have, say
endfunction()

function(vcpkg_cmake_install)
  called(vcpkg_cmake_install vcpkg-cmake)
  run(${CMAKE_COMMAND} --build ${WORK}/build --target install --config Release)
endfunction()

function(vcpkg_cmake_config_fixup)
  called(vcpkg_cmake_config_fixup vcpkg-cmake-config)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "CONFIG_PATH" "")
  check(NOT DEFINED arg_UNPARSED_ARGUMENTS)
  check(EXISTS ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}/tidefall-config.cmake)
  file(GLOB files ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}/*)
  file(COPY ${files} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT})
  file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH})
  get_filename_component(parent ${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH} DIRECTORY)
  if(parent MATCHES "/cmake$")
    file(REMOVE_RECURSE ${parent})
  endif()
endfunction()

function(vcpkg_fixup_pkgconfig)
  called(vcpkg_fixup_pkgconfig)
  check(EXISTS ${CURRENT_PACKAGES_DIR}/share/pkgconfig/tidefall.pc)
  file(READ ${CURRENT_PACKAGES_DIR}/share/pkgconfig/tidefall.pc text)
  string(FIND "${text}" "prefix=\${pcfiledir}/../..\n" place)
  check(NOT place EQUAL -1)
  check(text MATCHES "Version: ${VERSION}")
  check(NOT text MATCHES "Libs") # what has a library to link is not for share/
endfunction()

function(vcpkg_install_copyright)
  called(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  check(NOT DEFINED arg_UNPARSED_ARGUMENTS)
  file(READ ${arg_FILE_LIST} text)
  file(WRITE ${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright "${text}")
endfunction()

include(${port_dir}/portfile.cmake)

foreach(name IN ITEMS vcpkg_from_github vcpkg_cmake_configure vcpkg_cmake_install vcpkg_cmake_config_fixup
                      vcpkg_fixup_pkgconfig vcpkg_install_copyright)
  if(NOT name IN_LIST calls)
    message(FATAL_ERROR "the port does not call ${name}")
  endif()
endforeach()
file(GLOB_RECURSE expected RELATIVE ${SOURCE} ${SOURCE}/include/*)
foreach(name IN ITEMS copyright tidefall-config-version.cmake tidefall-config.cmake tidefall-targets.cmake usage)
  list(APPEND expected share/tidefall/${name})
endforeach()
list(APPEND expected share/pkgconfig/tidefall.pc)
file(GLOB_RECURSE found LIST_DIRECTORIES false RELATIVE ${CURRENT_PACKAGES_DIR} ${CURRENT_PACKAGES_DIR}/*)
set(missing ${expected})
list(REMOVE_ITEM missing ${found})
set(strange ${found})
list(REMOVE_ITEM strange ${expected})
if(missing OR strange)
  message(FATAL_ERROR "the port does not install ${missing}; it installs ${strange}")
endif()
# vcpkg complains of empty directories.
file(GLOB_RECURSE entries LIST_DIRECTORIES true ${CURRENT_PACKAGES_DIR}/*)
foreach(entry IN LISTS entries)
  if(IS_DIRECTORY ${entry})
    file(GLOB inside ${entry}/*)
    if(NOT inside)
      message(FATAL_ERROR "the port leaves ${entry} empty")
    endif()
  endif()
endforeach()
