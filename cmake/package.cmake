# SPDX-License-Identifier: Apache-2.0
# Installation in three components, and a .deb of each (`cpack -G DEB` in the build folder): runtime is what runs modules, compiler
# what makes them (with LLVM), development what programs that use libheddle are built with.
include(CMakePackageConfigHelpers)
set(components runtime)
set(package_of_runtime heddle)
set(package_of_compiler heddle-compiler)
set(package_of_development heddle-dev)

install(TARGETS heddle RUNTIME COMPONENT runtime)
install(FILES ${CMAKE_BINARY_DIR}/man/heddle.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
install(FILES ${CMAKE_BINARY_DIR}/completion/heddle DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT runtime)
install(TARGETS libheddle EXPORT heddle COMPONENT runtime
  LIBRARY COMPONENT runtime NAMELINK_COMPONENT development
  PUBLIC_HEADER DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/heddle COMPONENT development)
if(HEDDLE_COMPILER)
  list(APPEND components compiler)
  install(TARGETS libheddle-compiler EXPORT heddlePass LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT compiler)
endif()
list(APPEND components development)

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/heddle)
install(EXPORT heddle NAMESPACE heddle:: FILE heddleTargets.cmake DESTINATION ${cmake_dir} COMPONENT development)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/heddleConfig.cmake DESTINATION ${cmake_dir} COMPONENT development)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/heddleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/heddleConfigVersion.cmake DESTINATION ${cmake_dir} COMPONENT development)

# Relative to where the .pc file lies, so that a tree can be installed anywhere.
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
set(pc_files heddle)
if(HEDDLE_COMPILER)   # what passes of one's own are built with
  list(APPEND pc_files heddle-pass)
  install(EXPORT heddlePass NAMESPACE heddle:: DESTINATION ${cmake_dir} COMPONENT development)
  install(FILES ${CMAKE_BINARY_DIR}/pass.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/heddle COMPONENT development)
  foreach(header IN LISTS HEDDLE_PASS_HEADERS)
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${CMAKE_SOURCE_DIR}/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/heddle/${folder} COMPONENT development)
  endforeach()
endif()
foreach(name IN LISTS pc_files)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endforeach()

foreach(component IN LISTS components)
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/NOTICE 
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package_of_${component}} COMPONENT ${component})
endforeach()

# ---- Debian packages -------------------------------------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME heddle)
set(CPACK_PACKAGE_CONTACT "Heddle developers <heddle@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL ${components})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(version "${PROJECT_VERSION}")

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${package_of_runtime})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "heddle-compiler (= ${version})")
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "Runs compiled Qwen3.5 models
 The heddle program and libheddle, which run modules over the weights of a GGUF
 file. To compile models on this machine, install heddle-compiler as well.")

set(CPACK_DEBIAN_COMPILER_PACKAGE_NAME ${package_of_compiler})
set(CPACK_DEBIAN_COMPILER_PACKAGE_DEPENDS "heddle (= ${version}), lld-22")
set(CPACK_COMPONENT_COMPILER_DESCRIPTION "Compiles Qwen3.5 models ahead of time
 The library that the heddle program opens for commands that compile: model
 definitions, graph passes and code generation through MLIR and LLVM.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME ${package_of_development})
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "heddle (= ${version})")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "heddle-compiler (= ${version})")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers of Heddle's libraries
 Headers, pkg-config files and CMake package for programs that use libheddle, and
 for passes that heddle-compiler loads.")
include(CPack)
