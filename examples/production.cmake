# SPDX-License-Identifier: MIT
#
# Programs that one would put into production, each with what it works with: servers that their tests start, whose label
# is e2e. The preset of that name has them all.
find_package(fmt QUIET)
find_package(PostgreSQL QUIET)

# tidefall_needs(NAME [PACKAGE FOUND]...): sets is_built to whether every variable FOUND is set to something true or found,
# and this is Linux, and says what is missing otherwise.
function(tidefall_needs name)
  set(missing "")
  while(ARGN)
    list(POP_FRONT ARGN package found)
    if("${${found}}" MATCHES "^$|-NOTFOUND$|^0$|^FALSE$")
      list(APPEND missing ${package})
    endif()
  endwhile()
  set(is_built OFF PARENT_SCOPE)
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    message(STATUS "Example ${name} is not built: it needs Linux")
  elseif(missing)
    list(JOIN missing " and " missing)
    message(STATUS "Example ${name} is not built: it needs the Debian package ${missing}")
  else()
    set(is_built ON PARENT_SCOPE)
  endif()
endfunction()

tidefall_needs(06_postgres_ingest libcli11-dev CLI11_FOUND libfmt-dev fmt_FOUND libpq-dev PostgreSQL_FOUND)
if(is_built)
  add_executable(06_postgres_ingest 06_postgres_ingest/command_line.cpp 06_postgres_ingest/ingest.cpp
                                    06_postgres_ingest/main.cpp)
  target_link_libraries(06_postgres_ingest PRIVATE tidefall::tidefall tidefall_warnings CLI11::CLI11 fmt::fmt
                                                   PostgreSQL::PostgreSQL)
  file(GLOB servers /usr/lib/postgresql/*/bin)  # Debian keeps the server out of PATH
  find_program(POSTGRES_EXECUTABLE postgres HINTS ${servers})
  mark_as_advanced(POSTGRES_EXECUTABLE)
  if(POSTGRES_EXECUTABLE)
    add_cases(
      06_postgres_ingest
      06_postgres_ingest/test.sh
      default
      postmaster_killed
      server_killed
      program_killed
      server_away
      server_hangs
      LABELS
      e2e)
  else()
    message(STATUS "Example 06_postgres_ingest is not tested: its tests need the Debian package postgresql")
  endif()
endif()

find_package(nlohmann_json QUIET)
tidefall_needs(07_statsd libcli11-dev CLI11_FOUND libsqlite3-dev SQLite3_FOUND libcpp-httplib-dev httplib pkg-config httplib
               nlohmann-json3-dev nlohmann_json_FOUND)
if(is_built)
  add_executable(07_statsd 07_statsd/command_line.cpp 07_statsd/main.cpp 07_statsd/monitor.cpp 07_statsd/web.cpp)
  target_link_libraries(07_statsd PRIVATE tidefall::tidefall tidefall_warnings CLI11::CLI11 SQLite::SQLite3 ${httplib}
                                          nlohmann_json::nlohmann_json)
  add_executable(07_statsd_load 07_statsd/load.cpp)
  target_link_libraries(07_statsd_load PRIVATE tidefall_warnings)
  target_compile_features(07_statsd_load PRIVATE cxx_std_20)
  # Debian's Python modules are in Debian's Python.
  find_program(TIDEFALL_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(TIDEFALL_PYTHON python3)
  if(BUILD_TESTING AND NOT TIDEFALL_PYTHON)
    message(STATUS "Example 07_statsd is not tested: it needs the Debian package python3")
  elseif(BUILD_TESTING)
    foreach(case IN ITEMS protocol mutex windows faults python_client node_clients graphite prometheus page)
      add_test(NAME example.07_statsd.${case}
               COMMAND ${TIDEFALL_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/07_statsd/test.py $<TARGET_FILE:07_statsd>
                       ${CMAKE_CURRENT_BINARY_DIR}/07_statsd.tests ${case})
      set_tests_properties(example.07_statsd.${case} PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77 LABELS e2e)
    endforeach()
  endif()
endif()

# spdlog brings fmt along.
find_package(spdlog QUIET)
tidefall_needs(08_logger libcli11-dev CLI11_FOUND libspdlog-dev spdlog_FOUND)
if(is_built)
  add_executable(08_logger 08_logger/command_line.cpp 08_logger/compare.cpp 08_logger/endings.cpp 08_logger/main.cpp)
  target_link_libraries(08_logger PRIVATE tidefall::tidefall tidefall_warnings CLI11::CLI11 spdlog::spdlog)
  add_cases(08_logger 08_logger/test.sh default full_queue full_disk endings compare unwritable LABELS e2e)
endif()

find_path(RDKAFKA_INCLUDE_DIR librdkafka/rdkafka.h)
find_library(RDKAFKA_LIBRARY rdkafka)
find_path(NATS_INCLUDE_DIR nats/nats.h)
find_library(NATS_LIBRARY nats)
mark_as_advanced(RDKAFKA_INCLUDE_DIR RDKAFKA_LIBRARY NATS_INCLUDE_DIR NATS_LIBRARY)

tidefall_needs(09_broker_bridge libcli11-dev CLI11_FOUND libfmt-dev fmt_FOUND nlohmann-json3-dev nlohmann_json_FOUND
               librdkafka-dev RDKAFKA_LIBRARY libnats-dev NATS_LIBRARY)
if(is_built)
  add_executable(
    09_broker_bridge 09_broker_bridge/bridge.cpp 09_broker_bridge/command_line.cpp 09_broker_bridge/kafka.cpp
                     09_broker_bridge/main.cpp 09_broker_bridge/nats.cpp)
  target_link_libraries(
    09_broker_bridge PRIVATE tidefall::tidefall tidefall_warnings CLI11::CLI11 fmt::fmt nlohmann_json::nlohmann_json
                             ${RDKAFKA_LIBRARY} ${NATS_LIBRARY})
  target_include_directories(09_broker_bridge SYSTEM PRIVATE ${RDKAFKA_INCLUDE_DIR} ${NATS_INCLUDE_DIR})

  # What the tests have beside it: a Kafka cluster that librdkafka makes up, and what reads back from either broker.
  add_executable(09_broker_bridge_cluster 09_broker_bridge/test_cluster.cpp)
  target_link_libraries(09_broker_bridge_cluster PRIVATE tidefall_warnings ${RDKAFKA_LIBRARY} ${NATS_LIBRARY})
  target_include_directories(09_broker_bridge_cluster SYSTEM PRIVATE ${RDKAFKA_INCLUDE_DIR} ${NATS_INCLUDE_DIR})
  target_compile_features(09_broker_bridge_cluster PRIVATE cxx_std_20)

  set(kafka_cases kafka kafka_errors kafka_away)
  set(nats_cases nats_killed nats_away program_killed listen)
  find_program(NATS_SERVER_EXECUTABLE nats-server HINTS /usr/sbin)
  mark_as_advanced(NATS_SERVER_EXECUTABLE)
  if(NOT NATS_SERVER_EXECUTABLE)
    set(nats_cases "")
    message(STATUS "Example 09_broker_bridge is tested without NATS: that needs the Debian package nats-server")
  endif()
  add_cases(09_broker_bridge 09_broker_bridge/test.sh ${kafka_cases} ${nats_cases} LABELS e2e)
endif()
