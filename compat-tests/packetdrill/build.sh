#!/bin/sh
# Builds the plug-in, and the small program that tries it without packetdrill: build.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
flags="-std=gnu11 -g -O1 -Wall -Wextra -Werror -Wno-deprecated-declarations -I$here/../../include"
# shellcheck disable=SC2086
"${CC:-cc}" $flags -fPIC -shared -fvisibility=hidden -o "$1/plugin.so" \
    "$here/plugin.c" "$here/sockets.c" "$here/wire.c" "$here/segments.c" "$here/library.c" -ldl -pthread
# shellcheck disable=SC2086
"${CC:-cc}" $flags -o "$1/smoke" "$here/smoke.c" -ldl
