#!/bin/sh
# Runs the C test programs under valgrind's memcheck: no error, no leak, no descriptor left open.
# Usage: run_valgrind.sh [DIRECTORY [PROGRAM...]]
# DIRECTORY holds libslirp.so.0, for LD_LIBRARY_PATH; without it the variable SLIRP_LIBDIR names it. The word "system"
# stands for the installed library with its own headers. HEADERS (default: this project's) is the include directory.
# The programs are names of this folder without .c: main_paths, unix_hostfwd, forward6, aliased and null_callbacks if none is named,
# without the last for the system's library, which does not bear what that one does.
set -u
here=$(cd "$(dirname "$0")" && pwd)
define=
library=${1:-${SLIRP_LIBDIR:?usage: run_valgrind.sh [DIRECTORY [PROGRAM...]]}}
[ $# -eq 0 ] || shift
programs="main_paths unix_hostfwd forward6 aliased null_callbacks"
if [ "$library" = system ]; then
    library=$(dirname "$(cc -print-file-name=libslirp.so.0)")
    HEADERS=/usr/include
    define=-DUPSTREAM
    programs="main_paths unix_hostfwd forward6 aliased"
fi
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $programs
: "${CC:=cc}" "${HEADERS:=$here/../../include}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if [ ! -e "$library/libslirp.so.0" ]; then
    echo "no libslirp.so.0 in $library"
    echo "0 passed, 1 failed"
    exit 1
fi
# Whether the log tells of a descriptor that the program itself opened and left open.
left_open() {
    awk '/Open (file descriptor|AF_)/ { line = $0; next } line != "" { if (!/inherited from parent/) { print line; found = 1 } line = "" }
        END { exit !found }' "$work/log"
}

for name in "$@"; do
    if "$CC" -std=c11 -g -Wall -Wextra -Wno-unused-function $define -I"$HEADERS" -o "$work/$name" "$here/$name.c" "$library/libslirp.so.0" &&
        LD_LIBRARY_PATH=$library valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all \
            --errors-for-leak-kinds=definite,indirect,possible --track-fds=yes --log-file="$work/log" "$work/$name" &&
        ! left_open; then
        passed=$((passed + 1))
        echo "PASS $name under memcheck"
    else
        failed=$((failed + 1))
        echo "FAIL $name under memcheck"
        tail -60 "$work/log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
