# shellcheck shell=sh disable=SC2154
# Sourced by the scripts of this folder: what a library's dynamic symbols have to be. $work is a folder for files.

# functions_on_nodes LIBRARY MAP: the functions and nodes of the library are those of the map, no more and no less.
functions_on_nodes() {
    objdump -T "$1" | awk '$4 == ".text" { print $(NF - 1), $NF }' | sort >"$work/found"
    awk '/ {$/ { node = $1 } /^ +(oxi)?slirp_.*;$/ { sub(";", "", $1); print node, $1 }' "$2" | sort >"$work/wanted"
    [ "$(grep -c '^SLIRP_.* slirp_' "$work/wanted")" -eq 26 ] && diff "$work/wanted" "$work/found"
}

# node_symbols LIBRARY MAP: each node has an absolute symbol of its name, as GNU ld makes it.
node_symbols() {
    objdump -T "$1" | awk '$4 == "*ABS*" && $NF == $(NF - 1) { print $NF }' | sort >"$work/found"
    awk '/ {$/ { print $1 }' "$2" | sort >"$work/wanted"
    diff "$work/wanted" "$work/found"
}

# debian_list LIBRARY ROOT: dpkg-gensymbols compares the library with the package's list, which is that of Debian's libslirp0.
debian_list() {
    rm -rf "$work/package"
    mkdir -p "$work/package/root/usr/lib" "$work/package/root/DEBIAN" "$work/package/debian"
    cp "$1" "$work/package/root/usr/lib/libslirp.so.0"
    cp "$2/packaging/debian/control" "$2/packaging/debian/changelog" "$work/package/debian/"
    (cd "$work/package" && dpkg-gensymbols -c4 -poxislirp0 -v4.9.5 -Proot -e"root/usr/lib/libslirp.so.0" \
        -I"$2/packaging/debian/oxislirp0.symbols" -O"$work/package/list")
}
