#!/bin/sh
# forwards.c over Debian's unmodified libvdeslirp, with the library under test behind it. See README.md.
# SLIRP_LIBDIR holds libslirp.so.0; unset, empty or "system" means the installed upstream library.
set -u
here=$(cd "$(dirname "$0")" && pwd)
library=${SLIRP_LIBDIR:-system}
: "${CC:=cc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "$library" = system ]; then
    library=$(dirname "$("$CC" -print-file-name=libslirp.so.0)")
    export UPSTREAM=1
else
    export LD_LIBRARY_PATH="$library"
fi
LIBRARY=$(readlink -f "$library/libslirp.so.0")
export LIBRARY

# Debian's libvdeslirp.h includes <slirp/libslirp.h> without depending on it: it gets ours.
# shellcheck disable=SC2046
if ! "$CC" -std=gnu11 -g -O1 -Wall -Wextra -Wno-unused-function -I "$here/../../include" -o "$work/forwards" "$here/forwards.c" \
    $(pkg-config --cflags --libs vdeslirp) -pthread; then
    echo "0 passed, 1 failed"
    exit 1
fi
# The host is a network namespace with nothing but loopback.
unshare="unshare -r -n"
$unshare true 2>/dev/null || unshare="unshare -n"
timeout 90 $unshare sh -c 'ip link set lo up && exec "$@"' sh "$work/forwards" "$work" >"$work/log" 2>&1
status=$?
cat "$work/log"
if ! tail -1 "$work/log" | grep -qE '^[0-9]+ passed, [0-9]+ failed$'; then
    echo "not ok the program ended with status $status"
    echo "0 passed, 1 failed"
    exit 1
fi
exit $status
