# SPDX-License-Identifier: Apache-2.0
# What a pass of one's own includes (docs/WRITING_A_PASS.md): HEDDLE_PASS_HEADERS, installed as they are below include/heddle. A pass lives in the compiler's
# structures, so it fits these headers and no others: HEDDLE_PASS_ABI is a digest of all that they say, comments left out.
set(HEDDLE_PASS_HEADERS runtime/base/core.h runtime/base/status.def ir/graph.h ir/target.h ir/dtypes.def ir/layouts.def ir/attrs.def ir/ops.def ir/targets.def
  passes/pass.h passes/passes.def passes/missed.def)
set(said "${PROJECT_VERSION}")
foreach(header IN LISTS HEDDLE_PASS_HEADERS ITEMS cmake/pass.h.in)
  file(READ ${CMAKE_SOURCE_DIR}/${header} text)
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  string(APPEND said "${text}")
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
endforeach()
string(SHA256 said "${said}")
string(SUBSTRING ${said} 0 16 HEDDLE_PASS_ABI)
configure_file(${CMAKE_SOURCE_DIR}/cmake/pass.h.in ${CMAKE_BINARY_DIR}/pass.h @ONLY)
