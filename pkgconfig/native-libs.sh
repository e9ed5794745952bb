#!/bin/sh
# Prints the linker arguments that a program needs next to libslirp.a, from what rustc says about its standard library.
# Left out are those that a C compiler adds by itself: the C library, and libgcc_s, of which no static form exists.
# Arguments: rustc, what it is built for (empty for this machine).
set -eu
rustc=$1 machine=${2:-}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
: > "$directory/empty.rs"
if "$rustc" ${machine:+--target "$machine"} --crate-type staticlib --crate-name empty --print native-static-libs \
    -o "$directory/libempty.a" "$directory/empty.rs" >"$directory/said" 2>&1; then
    needed=$(sed -n 's/^note: native-static-libs: //p' "$directory/said")
else
    # It has no standard library for that machine, which cargo is about to build.
    case $machine in
        *windows*) needed="-lkernel32 -lntdll -luserenv -lws2_32 -ldbghelp" ;;
        *linux*) needed="-lpthread -lm -ldl" ;;
        *) cat "$directory/said" >&2; exit 1 ;;
    esac
fi
case $machine in *windows*) needed="$needed -liphlpapi -lmsvcrt" ;; esac
echo "$needed" | tr ' ' '\n' | grep -v -x -e '-lgcc_s' -e '-lc' -e '' | sort -u | tr '\n' ' '
