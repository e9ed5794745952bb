#!/bin/sh
# Installs the library with meson into a temporary directory and uses it as C projects do: through pkg-config,
# dynamically and statically, and as a meson subproject. Needs meson, ninja, pkg-config, binutils and a C compiler.
# Arguments are given to `meson setup`, for example -Dcargo_args=--locked,--offline.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/symbols.sh"
. "$here/check.sh"

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

setup() { meson setup "$work/build" "$root" --prefix=/usr --libdir=lib "$@"; }
install_it() { DESTDIR="$work/root" meson install -C "$work/build"; }
check "meson setup" setup "$@"
check "meson install" install_it
[ "$failed" -eq 0 ] || finish

lib=$work/root/usr/lib
export PKG_CONFIG_LIBDIR="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/root"
program=$root/compat-tests/c/layout.c
: "${CC:=cc}" "${CXX:=c++}"

is_link() { [ "$(readlink "$lib/$1")" = "$2" ]; }
check "libslirp.so.0.4.0 is a file" test -f "$lib/libslirp.so.0.4.0" -a ! -L "$lib/libslirp.so.0.4.0"
check "libslirp.so.0 is a link" is_link libslirp.so.0 libslirp.so.0.4.0
check "libslirp.so is a link" is_link libslirp.so libslirp.so.0
check "libslirp.a is a file" test -f "$lib/libslirp.a"
check "the headers are under include/slirp" \
    test -f "$work/root/usr/include/slirp/libslirp.h" -a -f "$work/root/usr/include/slirp/libslirp-version.h" \
        -a -f "$work/root/usr/include/slirp/oxislirp.h"

# FreeBSD's list of files is what is installed, but for the folder of slirp.pc, packed pages, and a part of the command that is for Linux alone.
port_list() {
    (cd "$work/root/usr" && find . ! -type d | sed -E 's,^\./,,; s,^lib/pkgconfig,libdata/pkgconfig,; s,^(share/man/.*)$,\1.gz,') |
        grep -v oxislirp-run.1 | LC_ALL=C sort > "$work/installed"
    LC_ALL=C sort "$root/packaging/freebsd/pkg-plist" | diff - "$work/installed"
}
command_runs() {
    "$work/root/usr/bin/oxislirp" --version && "$work/root/usr/bin/oxislirp" run --check /bin/sh 2>&1 | grep -F "it gets $lib/libslirp.so.0.4.0" &&
        bash -n "$work/root/usr/share/bash-completion/completions/oxislirp.bash"
}
check "the list of installed files" port_list
check "the command runs, and finds the library" command_runs

version_is() { [ "$(pkg-config --modversion slirp)" = 4.9.5 ]; }
no_glib() { ! grep -i glib "$lib/pkgconfig/slirp.pc"; }
check "pkg-config knows version 4.9.5" version_is
check "pkg-config requires no GLib" no_glib

soname_is() { objdump -p "$lib/libslirp.so.0.4.0" | grep -E '^ *SONAME +libslirp\.so\.0$'; }
needs_little() {
    ! objdump -p "$lib/libslirp.so.0.4.0" | grep NEEDED | grep -v -E ' (libc|libgcc_s|libm|libpthread|libdl|ld-linux[-a-z0-9]*|libutil|librt)\.so\.[0-9]+$'
}
library=$lib/libslirp.so.0.4.0
small() { strip -o "$work/stripped" "$lib/libslirp.so.0.4.0" && [ "$(wc -c < "$work/stripped")" -lt 3145728 ]; }
check "the soname is libslirp.so.0" soname_is
check "only system libraries are needed" needs_little
check "26 functions, and our own, are on their version nodes" functions_on_nodes "$library" "$root/src/libslirp.map"
check "every node has its symbol" node_symbols "$library" "$root/src/libslirp.map"
if command -v dpkg-gensymbols >/dev/null; then
    check "Debian's list of symbols" debian_list "$library" "$root"
fi
check "the stripped library is under 3 MiB" small
losses_are_found() {
    echo "symbol slirp_gone@@SLIRP_4.0" > "$work/earlier.txt" && "$root/packaging/abi.py" "$library" --against "$work/earlier.txt"
    [ $? = 1 ]
}
check "what is lost since a release is found" losses_are_found
check "nothing that an earlier release promised is lost" "$root/packaging/abi.py" "$library" --check

dynamic() {
    # shellcheck disable=SC2046
    "$CC" -std=c11 -Wall -Wextra -Werror -Wno-deprecated-declarations -o "$work/dynamic" "$program" $(pkg-config --cflags --libs slirp) &&
        LD_LIBRARY_PATH=$lib ldd "$work/dynamic" | grep "$lib/libslirp.so.0" &&
        LD_LIBRARY_PATH=$lib "$work/dynamic"
}
dynamic_cxx() {
    # shellcheck disable=SC2046
    "$CXX" -x c++ -std=c++11 -Wall -Wextra -Werror -Wno-deprecated-declarations -DLAYOUT_FLAT_INCLUDE -o "$work/dynamic-cxx" "$program" \
        -x none $(pkg-config --cflags --libs slirp) && LD_LIBRARY_PATH=$lib "$work/dynamic-cxx"
}
fully_static() {
    # shellcheck disable=SC2046
    "$CC" -static -o "$work/static" "$program" $(pkg-config --static --cflags --libs slirp) && "$work/static"
}
static_in_dynamic() {
    # shellcheck disable=SC2046
    "$CC" -o "$work/mixed" "$program" $(pkg-config --cflags slirp) \
        $(pkg-config --static --libs slirp | sed 's/-lslirp/-l:libslirp.a/') &&
        ! ldd "$work/mixed" | grep slirp && "$work/mixed"
}
# A plug-in that brings the library along, linked without any version map.
static_in_shared() {
    echo 'const char *slirp_version_string(void); const char *plugin(void) { return slirp_version_string(); }' \
        > "$work/plugin.c"
    # shellcheck disable=SC2046
    "$CC" -shared -fPIC -o "$work/plugin.so" "$work/plugin.c" \
        $(pkg-config --static --libs slirp | sed 's/-lslirp/-l:libslirp.a/') -Wl,-z,defs &&
        ! ldd "$work/plugin.so" | grep slirp
}
check "a C program links dynamically and runs" dynamic
check "a C++ program links dynamically and runs" dynamic_cxx
check "a C program links fully statically and runs" fully_static
check "a C program links the static library among shared ones and runs" static_in_dynamic
check "a shared object links the static library" static_in_shared

unset PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
subproject() {
    mkdir -p "$work/parent/subprojects" &&
        cp "$here/parent-meson.build" "$work/parent/meson.build" &&
        cp "$program" "$work/parent/main.c" &&
        ln -s "$root" "$work/parent/subprojects/slirp" &&
        meson setup "$work/parent/build-$1" "$work/parent" "-Ddefault_library=$1" &&
        meson test -C "$work/parent/build-$1" --print-errorlogs
}
check "a meson project uses it as a subproject" subproject static
finish
