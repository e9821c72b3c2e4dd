# SPDX-License-Identifier: MIT
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(tidefall_config_dir ${CMAKE_INSTALL_DATADIR}/cmake/tidefall)
install(
  TARGETS tidefall
  EXPORT tidefall-targets
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILE_SET fmt_headers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  EXPORT tidefall-targets
  NAMESPACE tidefall::
  DESTINATION ${tidefall_config_dir})
configure_package_config_file(cmake/tidefall-config.cmake.in tidefall-config.cmake
                              INSTALL_DESTINATION ${tidefall_config_dir})
write_basic_package_version_file(tidefall-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/tidefall-config.cmake ${PROJECT_BINARY_DIR}/tidefall-config-version.cmake
        DESTINATION ${tidefall_config_dir})
