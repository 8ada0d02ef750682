# SPDX-License-Identifier: Apache-2.0
# cmake -D TO=page_files.c -P embed.cmake FILE..: the bytes of files as C, for page.h.
set(table "")
set(arrays "")
set(first 5)                               # behind cmake -D TO=.. -P embed.cmake
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${first} ${last})
  set(path ${CMAKE_ARGV${i}})
  get_filename_component(name ${path} NAME)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "static const unsigned char file_${i}[] = {${bytes}};\n")
  string(APPEND table "    {\"${name}\", file_${i}, sizeof file_${i}},\n")
endforeach()
file(WRITE ${TO} "#include \"passes/workbench/page.h\"\n${arrays}const WbPageFile wb_page_files[] = {\n${table}    {0},\n};\n")
