# SPDX-License-Identifier: MIT
#
# cmake -DBY=… -DSOURCE=… -DWORK=… -DCOMPILER=… -DGENERATOR=… -P consume.cmake: builds and runs the consumer project.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
set(common -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Debug)
if(BY STREQUAL "find_package")
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/library ${common} -DTIDEFALL_BUILD_TESTS=OFF -DTIDEFALL_BUILD_EXAMPLES=OFF
      -DTIDEFALL_BUILD_BENCH=OFF -DCMAKE_INSTALL_PREFIX=${WORK}/installed)
  run(${CMAKE_COMMAND} --install ${WORK}/library)
  set(how -DCMAKE_PREFIX_PATH=${WORK}/installed)
else()
  set(how -DFETCHCONTENT_SOURCE_DIR_TIDEFALL=${SOURCE} -DFETCHCONTENT_FULLY_DISCONNECTED=ON)
endif()
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer/project -B ${WORK}/build ${common} -DTIDEFALL_BY=${BY} ${how})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)
