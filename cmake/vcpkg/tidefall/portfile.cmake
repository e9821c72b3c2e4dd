# SPDX-License-Identifier: MIT
#
# The version is that of vcpkg.json. SHA512 is the hash of the tag's archive, which exists once the tag does: with 0 vcpkg
# stops and prints the hash that belongs here. `vcpkg install --head` needs none.
set(VCPKG_BUILD_TYPE release) # header-only

vcpkg_from_github(
  OUT_SOURCE_PATH SOURCE_PATH
  REPO OWNER/tidefall
  REF "v${VERSION}"
  SHA512 0
  HEAD_REF main)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DTIDEFALL_BUILD_TESTS=OFF
    -DTIDEFALL_BUILD_EXAMPLES=OFF
    -DTIDEFALL_BUILD_BENCH=OFF
    -DTIDEFALL_INSTALL=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/tidefall)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/licenses")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
