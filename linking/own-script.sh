#!/bin/sh
# A linker that leaves out the version script that rustc writes, so that ours is the only one. `build.rs` puts it in front of
# the real linker, which is the next program of the same name in the compiler driver's own search path (gcc tells it in
# COMPILER_PATH) or in PATH.
set -u
own=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$0")

real=
old_ifs=$IFS
IFS=:
for folder in ${COMPILER_PATH:-} $PATH; do
    [ -x "${folder:-.}/$name" ] && [ ! -d "${folder:-.}/$name" ] || continue
    [ "$(cd "${folder:-.}" && pwd)" != "$own" ] || continue
    real=${folder:-.}/$name
    break
done
IFS=$old_ifs
if [ -z "$real" ]; then
    echo "$0: found no other $name in the compiler's search path" >&2
    exit 1
fi

left=$#
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    case $argument in
        # Ours is in the folder above this program, where rustc may have its own as well.
        --version-script="${own%/*}"/libslirp*.map) ;;
        --version-script=*) continue ;;
    esac
    set -- "$@" "$argument"
done
exec "$real" "$@"
