# SPDX-License-Identifier: Apache-2.0
# For a runtime that runs on aarch64 (-DHEDDLE_COMPILER=OFF), built on a Debian of another architecture. PCRE2 and utf8proc for arm64: below
# a folder in CMAKE_PREFIX_PATH (tests/tools/arm64_libraries.sh), or installed as libpcre2-dev:arm64 and libutf8proc-dev:arm64.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)   # runs the program where the build needs what it prints
