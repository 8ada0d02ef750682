#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# arm64_libraries.sh FOLDER: PCRE2 and utf8proc for arm64 out of Debian's packages, unpacked into FOLDER/usr, with which the runtime can be
# cross-built, and cmocka for a test. Nothing is installed and the system learns of no other architecture: apt keeps its lists for arm64 in FOLDER for the time.
set -euo pipefail
packages=(libpcre2-dev libutf8proc-dev libcmocka-dev libcmocka0)
folder=$1
[ "$(cat "$folder/packages" 2>/dev/null || true)" != "${packages[*]}" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
trap 'rm -rf "$folder/apt" "$folder/unpacked"' EXIT
mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
options=(-q -o "APT::Architecture=arm64" -o "APT::Architectures::=arm64" -o "Dir::State::lists=$folder/apt/lists"
    -o "Dir::Cache=$folder/apt" -o "Dir::State::status=/dev/null" -o "APT::Sandbox::User=")
apt-get "${options[@]}" update >&2
(cd "$folder/apt" && apt-get "${options[@]}" download "${packages[@]}" >&2)
for package in "$folder"/apt/*.deb; do dpkg-deb -x "$package" "$folder/unpacked"; done
mv "$folder/unpacked/usr" "$folder/usr"
echo "${packages[*]}" >"$folder/packages"                  # whole
