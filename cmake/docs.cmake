# SPDX-License-Identifier: MIT
#
# Target docs: the guide's pages, those of examples and benchmarks, and the public headers as a site, in html of the
# build folder. A warning of Doxygen is an error. It wears doxygen-awesome-css where that is found (TIDEFALL_DOXYGEN_CSS
# is its folder).
find_package(Doxygen 1.9.2)
if(NOT DOXYGEN_FOUND)
  message(FATAL_ERROR "TIDEFALL_BUILD_DOCS needs Doxygen: `apt-get install doxygen doxygen-awesome-css`")
endif()
find_path(TIDEFALL_DOXYGEN_CSS doxygen-awesome.css PATHS /usr/share/doxygen-awesome-css
          DOC "Folder of doxygen-awesome-css")

file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/*.hpp)
file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/guide/*.md)
file(GLOB programs CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*/README.md)
set(front ${PROJECT_SOURCE_DIR}/examples/guide/README.md)
list(REMOVE_ITEM pages ${front})
list(REMOVE_ITEM programs ${front})
list(APPEND pages ${PROJECT_SOURCE_DIR}/examples/README.md ${programs} ${PROJECT_SOURCE_DIR}/bench/README.md)

set(DOXYGEN_PROJECT_NAME tidefall)
set(DOXYGEN_PROJECT_NUMBER ${PROJECT_VERSION})
set(DOXYGEN_PROJECT_BRIEF "${PROJECT_DESCRIPTION}")
set(DOXYGEN_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/examples ${PROJECT_SOURCE_DIR})
set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${front})
file(GLOB pictures CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/*/*.svg ${PROJECT_SOURCE_DIR}/bench/plots/*.svg)
set(DOXYGEN_IMAGE_PATH ${pictures})

set(DOXYGEN_INPUT_FILTER "awk -f '${PROJECT_SOURCE_DIR}/cmake/docs.awk'")
set(DOXYGEN_EXCLUDE_SYMBOLS tidefall::detail tidefall::detail::*)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_BUILTIN_STL_SUPPORT YES)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_SHOW_USED_FILES NO)
set(DOXYGEN_VERBATIM_HEADERS NO)
set(DOXYGEN_SHOW_INCLUDE_FILES NO)
set(DOXYGEN_SHOW_HEADERFILE NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
# Members whose name says all have no comment, and stand in the site by that name.
set(DOXYGEN_WARN_IF_UNDOCUMENTED NO)

set(DOXYGEN_GENERATE_TREEVIEW YES)
if(TIDEFALL_DOXYGEN_CSS)
  set(DOXYGEN_HTML_EXTRA_STYLESHEET ${TIDEFALL_DOXYGEN_CSS}/doxygen-awesome.css
                                    ${TIDEFALL_DOXYGEN_CSS}/doxygen-awesome-sidebar-only.css)
  if(DOXYGEN_VERSION VERSION_GREATER_EQUAL 1.9.5)
    set(DOXYGEN_HTML_COLORSTYLE LIGHT)  # what the style sheet builds on
  endif()
endif()

doxygen_add_docs(docs ${front} ${pages} ${PROJECT_SOURCE_DIR}/cmake/namespaces.dox ${headers})
