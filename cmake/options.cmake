# SPDX-License-Identifier: Apache-2.0
# Warnings are errors; the sanitiser is chosen by the preset.
set(HEDDLE_WARNINGS -Wall -Wextra -Wshadow -Wvla -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Werror
  -Wno-format-truncation)   # snprintf truncates on purpose; what GCC guesses about it changes with the optimisation level
set(HEDDLE_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined or thread)")
if(HEDDLE_SANITIZE)
  list(APPEND HEDDLE_WARNINGS -Wno-error -Wno-maybe-uninitialized)   # instrumentation makes GCC see what cannot be
  add_compile_options(-fsanitize=${HEDDLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${HEDDLE_SANITIZE})
endif()
# No contraction: the interpreter and the runtime compute the same bits with every compiler. A char is signed everywhere.
add_compile_options(-ffp-contract=off -fsigned-char)
option(HEDDLE_FUZZ "Build the fuzzers (clang only); set HEDDLE_SANITIZE as well" OFF)
if(HEDDLE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
