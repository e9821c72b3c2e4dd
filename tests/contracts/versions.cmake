# SPDX-License-Identifier: MIT
#
# The version and the repository's address are what project() says, wherever they are spelled out.
cmake_minimum_required(VERSION 3.23)

# expect(FILE WHAT PATTERN EXPECTED): what the first match of PATTERN captures.
function(expect file what pattern expected)
  file(READ ${SOURCE}/${file} text)
  if(NOT text MATCHES "${pattern}")
    message(SEND_ERROR "${file}: there is no ${what}")
  elseif(NOT CMAKE_MATCH_1 STREQUAL expected)
    message(SEND_ERROR "${file}: ${what} is ${CMAKE_MATCH_1}, but CMakeLists.txt says ${expected}")
  endif()
endfunction()

string(REGEX MATCH "^([0-9]+)[.]([0-9]+)[.]([0-9]+)$" parts "${VERSION}")
set(major ${CMAKE_MATCH_1})
set(minor ${CMAKE_MATCH_2})
set(patch ${CMAKE_MATCH_3})
set(header include/tidefall/version.hpp)
expect(${header} version_major "version_major = ([0-9]+);" ${major})
expect(${header} version_minor "version_minor = ([0-9]+);" ${minor})
expect(${header} version_patch "version_patch = ([0-9]+);" ${patch})
expect(${header} version "version = \"([^\"]*)\";" ${VERSION})
expect(cmake/vcpkg/tidefall/vcpkg.json "the port's version" "\"version\": \"([^\"]*)\"" ${VERSION})
expect(CHANGELOG.md "the newest version" "\n## \\[([0-9][^]]*)\\] - [0-9-]+\n" ${VERSION})
expect(CHANGELOG.md "the newest version's link" "\n\\[[0-9.]+\\]: [^\n]*/tag/v([^\n]*)" ${VERSION})
expect(README.md "the version of find_package" "find_package\\(tidefall ([0-9.]+)" ${major}.${minor})
expect(README.md "the tag of FetchContent" "GIT_TAG v([0-9.]+)" ${VERSION})

# Every mention of the address, in text and in what a machine reads.
string(REGEX REPLACE "^https://github.com/(.*)$" "\\1" address "${HOMEPAGE}")
set(mentions 0)
file(
  GLOB_RECURSE
  files
  RELATIVE
  ${SOURCE}
  ${SOURCE}/*.md
  ${SOURCE}/.github/*
  ${SOURCE}/cmake/*
  ${SOURCE}/bench/*
  ${SOURCE}/examples/*
  ${SOURCE}/include/*
  ${SOURCE}/tests/*)
list(FILTER files EXCLUDE REGEX "^build|/build/|[.]db")
foreach(file IN LISTS files)
  file(STRINGS ${SOURCE}/${file} lines REGEX "(github[.]com[/:]|REPO )[A-Za-z0-9_-]+/tidefall")
  foreach(line IN LISTS lines)
    math(EXPR mentions "${mentions} + 1")
    string(REGEX MATCH "(github[.]com[/:]|REPO )([A-Za-z0-9_-]+/tidefall)" found "${line}")
    if(NOT CMAKE_MATCH_2 STREQUAL address)
      message(SEND_ERROR "${file}: the address is ${CMAKE_MATCH_2}, but CMakeLists.txt says ${address}")
    endif()
  endforeach()
endforeach()
if(mentions LESS 5)
  message(SEND_ERROR "only ${mentions} mentions of the address were found")
endif()
