# SPDX-License-Identifier: MIT
#
# What is installed can be moved: no file holds the prefix.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(tidefall_config_dir ${CMAKE_INSTALL_DATADIR}/cmake/tidefall)
install(
  TARGETS tidefall
  EXPORT tidefall-targets
  FILE_SET HEADERS
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT tidefall
  FILE_SET fmt_headers
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT tidefall
  INCLUDES
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  EXPORT tidefall-targets
  NAMESPACE tidefall::
  DESTINATION ${tidefall_config_dir}
  COMPONENT tidefall)
configure_package_config_file(cmake/tidefall-config.cmake.in tidefall-config.cmake
                              INSTALL_DESTINATION ${tidefall_config_dir})
# Before 1.0 a minor version may change the API, so that 0.9 is asked for by 0.9 alone.
write_basic_package_version_file(tidefall-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(
  FILES ${PROJECT_BINARY_DIR}/tidefall-config.cmake ${PROJECT_BINARY_DIR}/tidefall-config-version.cmake
  DESTINATION ${tidefall_config_dir}
  COMPONENT tidefall)

# pkg-config looks for headers from where the .pc file lies.
set(tidefall_pc_dir ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig)
file(RELATIVE_PATH tidefall_pc_prefix ${tidefall_pc_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH tidefall_pc_include ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
string(REGEX REPLACE "/$" "" tidefall_pc_prefix "${tidefall_pc_prefix}")
configure_file(cmake/tidefall.pc.in tidefall.pc @ONLY)
install(
  FILES ${PROJECT_BINARY_DIR}/tidefall.pc
  DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig
  COMPONENT tidefall)

install(
  FILES LICENSE
  DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/tidefall
  COMPONENT tidefall)
