#!/bin/bash
# The plain cargo build with each linker that is installed: version nodes on every function, a symbol for each node, and
# Debian's list of the library's symbols (dpkg-gensymbols, where there is dpkg). Needs cargo, binutils and a C compiler.
#
# linkers.sh [CARGO]     another cargo, for example Debian's /usr/bin/cargo
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/symbols.sh"
cargo=${1:-cargo}
[ "$#" -gt 0 ] && [ "${cargo%/*}" != "$cargo" ] && PATH=${cargo%/*}:$PATH
. "$here/check.sh"

target=${CARGO_TARGET_DIR:-$root/target}/linkers
host=$(rustc -vV | sed -n 's/^host: //p')
variable=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_LINKER

# The library of the development build, as what the linker makes of the names does not depend on optimisation. The linker is
# chosen by a compiler driver of ours, so that only the library itself is built anew.
build() {
    env "$variable=$1" "$cargo" build --quiet --locked --manifest-path "$root/Cargo.toml" -p oxislirp-capi --lib --target-dir "$target" &&
        cp "$target/debug/libslirp.so" "$2"
}

# one NAME PROGRAM...: with the compiler driver and these arguments, if PROGRAM, the linker itself, is there. The driver takes
# the last of several -fuse-ld.
one() {
    local name=$1 linker=$2
    if [ -n "$linker" ] && ! command -v "$linker" >/dev/null; then
        echo "# $linker is not installed"
        return
    fi
    # A path of its own for each linker: cargo knows by it that the library is to be linked anew. rustc knows by the name of the
    # program what kind of linker it is.
    mkdir "$work/with-$linker"
    printf '#!/bin/sh\nexec cc "$@"%s\n' "${linker:+ -fuse-ld=${linker#ld.}}" >"$work/with-$linker/cc"
    chmod +x "$work/with-$linker/cc"
    check "$name: builds" build "$work/with-$linker/cc" "$work/libslirp.so"
    [ -e "$work/libslirp.so" ] || return
    check "$name: every function is on its node" functions_on_nodes "$work/libslirp.so" "$root/src/libslirp.map"
    check "$name: every node has its symbol" node_symbols "$work/libslirp.so" "$root/src/libslirp.map"
    if command -v dpkg-gensymbols >/dev/null; then
        check "$name: Debian's list of symbols" debian_list "$work/libslirp.so" "$root"
    fi
    rm -f "$work/libslirp.so"
}

one "$(rustc --version | cut -d' ' -f1,2), its own choice" ""
one "GNU ld" ld.bfd
one gold ld.gold
one lld ld.lld
one mold ld.mold

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
