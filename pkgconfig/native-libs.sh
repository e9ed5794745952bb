#!/bin/sh
# Prints the linker arguments that a program needs next to libslirp.a, from what rustc says about its standard library.
# Left out are those that a C compiler adds by itself: the C library, and libgcc_s, of which no static form exists.
set -eu
rustc=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
: > "$directory/empty.rs"
"$rustc" --crate-type staticlib --crate-name empty --print native-static-libs -o "$directory/libempty.a" \
    "$directory/empty.rs" 2>&1 |
    sed -n 's/^note: native-static-libs: //p' | tr ' ' '\n' | grep -v -x -e '-lgcc_s' -e '-lc' -e '' | sort -u | tr '\n' ' '
