# SPDX-License-Identifier: MIT
#
# cases_of(PROGRAM OUT [SPEC]): the names of its test cases, or of those that SPEC selects. Brackets, which a list of
# CMake's does not take apart, stand as parentheses. CATCH2 is the major version of the library.
function(cases_of program out)
  if(CATCH2 LESS 3)
    set(how --list-test-names-only)
  else()
    set(how --list-tests --verbosity quiet)
  endif()
  # Catch2 2 exits with the number of cases.
  execute_process(COMMAND "${program}" ${ARGN} ${how} OUTPUT_VARIABLE text ERROR_VARIABLE errors RESULT_VARIABLE status)
  if(errors OR NOT status MATCHES "^[0-9]+$")
    message(FATAL_ERROR "${program} lists no cases: ${status}\n${errors}")
  endif()
  if(text MATCHES "\n?([^\n]*;[^\n]*)")
    message(FATAL_ERROR "Catch2 2 cuts a name at a semicolon, so that this case is never run: ${CMAKE_MATCH_1}")
  endif()
  string(STRIP "${text}" text)
  string(REPLACE "[" "(" text "${text}")
  string(REPLACE "]" ")" text "${text}")
  string(REPLACE "\n" ";" names "${text}")
  set(${out} "${names}" PARENT_SCOPE)
endfunction()

# groups_in(OUT CASE...): what stands before the colon of each, once.
function(groups_in out)
  set(groups "")
  foreach(case IN LISTS ARGN)
    if(NOT case MATCHES "^([a-z_ ]+): ")
      message(FATAL_ERROR "The name of a case begins with its subject and a colon: ${case}")
    endif()
    list(APPEND groups "${CMAKE_MATCH_1}")
  endforeach()
  list(REMOVE_DUPLICATES groups)
  set(${out} "${groups}" PARENT_SCOPE)
endfunction()
