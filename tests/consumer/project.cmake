# SPDX-License-Identifier: MIT
#
# Configures, builds and runs the project in project/, which gets the library by BY, with the lines that the README
# gives, if it does.
cmake_minimum_required(VERSION 3.23)
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)
file(REMOVE_RECURSE ${WORK})

# The README's block of lines for it.
set(fetch_content "FetchContent_Declare[(]tidefall")
set(find_package "find_package[(]tidefall")
set(add_subdirectory "add_subdirectory[(]third_party/tidefall[)]")
file(READ ${SOURCE}/README.md readme)
string(REGEX MATCHALL "```cmake\n[^`]*```" blocks "${readme}")
list(FILTER blocks INCLUDE REGEX "${${BY}}")
list(LENGTH blocks count)
if(BY STREQUAL "add_subdirectory" AND count EQUAL 0)
  set(blocks "add_subdirectory(third_party/tidefall)\ntarget_link_libraries(app PRIVATE tidefall::tidefall)\n")
elseif(NOT count EQUAL 1)
  message(FATAL_ERROR "the README has ${count} blocks with ${${BY}}")
endif()
string(REGEX REPLACE "^```cmake\n|```$" "" lines "${blocks}")
# The consumer keeps the library elsewhere.
string(REPLACE "third_party/tidefall" "\"${SOURCE}\" tidefall" lines "${lines}")
file(WRITE ${WORK}/lines.cmake "${lines}")

set(how "")
if(BY STREQUAL "find_package")
  set(how -DCMAKE_PREFIX_PATH=${INSTALLED})
elseif(BY STREQUAL "fetch_content")
  set(how -DFETCHCONTENT_SOURCE_DIR_TIDEFALL=${SOURCE} -DFETCHCONTENT_FULLY_DISCONNECTED=ON)
endif()
if(GNU_LIKE)
  list(JOIN careful "|" options)
endif()
run(${CMAKE_COMMAND}
    -S
    ${CMAKE_CURRENT_LIST_DIR}/project
    -B
    ${WORK}/build
    -G
    ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER}
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    -DTIDEFALL_LINES=${WORK}/lines.cmake
    -DCONSUMER_OPTIONS=${options}
    ${how})
if("${output}${errors}" MATCHES "CMake [A-Za-z ]*Warning[^\n]*\n[^\n]*")
  message(FATAL_ERROR "the consumer is warned:\n${errors}")
endif()
run(${CMAKE_COMMAND} --build ${WORK}/build) # runs it too
if("${output}${errors}" MATCHES "warning")
  message(FATAL_ERROR "the consumer's build warns:\n${output}\n${errors}")
endif()

if(GNU_LIKE AND EXISTS ${WORK}/build/compile_commands.json)
  # The words of the command that compiles `source`, but for what it reads and writes.
  function(words_of source out)
    file(READ ${WORK}/build/compile_commands.json commands)
    string(JSON count LENGTH "${commands}")
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
      string(JSON file GET "${commands}" ${i} file)
      if(file MATCHES "/${source}$")
        string(JSON command GET "${commands}" ${i} command)
        string(REGEX REPLACE " -[oc] [^ ]+" "" command "${command}")
        string(REPLACE "-isystem " "-isystem" command "${command}")
        separate_arguments(words UNIX_COMMAND "${command}")
        set(${out} "${words}" PARENT_SCOPE)
        return()
      endif()
    endforeach()
    message(FATAL_ERROR "${source} is not compiled")
  endfunction()

  words_of(bystander.cpp bystander)
  words_of(main.cpp app)
  set(added ${bystander})
  list(FILTER added INCLUDE REGEX "^-(I|D|W|f|std|p|isystem)")
  if(added)
    message(FATAL_ERROR "what does not use the library is compiled with ${added}")
  endif()
  list(REMOVE_ITEM app ${bystander} ${careful})
  set(strange ${app})
  list(FILTER strange EXCLUDE REGEX "^(-I.*/include|-std=(gnu|c)[+][+]20|-pthread)$")
  if(strange)
    message(FATAL_ERROR "the library's users are compiled with ${strange}")
  endif()
  if(NOT "${app}" MATCHES "-std=" OR NOT "${app}" MATCHES "-I")
    message(FATAL_ERROR "the library's users are compiled with nothing but ${app}")
  endif()
endif()
