#!/bin/bash
# Builds the packages of packaging/rpm/oxislirp.spec from the two tarballs that a release has, and looks at what came out: which packages, what they
# provide and require, that they install into an empty root and leave nothing when they are erased. Needs rpmbuild and what the spec's build needs;
# the latter is not asked of rpm's own database, which on Debian knows of nothing.
set -u
cd "$(dirname "$0")/../.." || exit 1
. compat-tests/packaging/check.sh

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

if ! command -v rpmbuild >/dev/null; then
    failed=1
    echo "FAIL rpmbuild is not installed (apt-get install rpm debugedit)"
    finish
fi
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
interface=$(sed -n "s/^interface_version = '\(.*\)'/\1/p" meson.build)
top=$work/rpm
mkdir -p "$top/SOURCES"

sources() { RELEASE_XZ=0 script/release --source "$version" "$top/SOURCES"; }
build() { env -u CARGO_TARGET_DIR rpmbuild -ba --nodeps --define "_topdir $top" packaging/rpm/oxislirp.spec; }
check "the tarballs" sources
check "rpmbuild, with the test of what was built" build
[ "$failed" -eq 0 ] || finish

# query PACKAGE OPTION...: what the package file of this name says.
query() {
    local name=$1
    shift
    rpm -qp "$@" "$top"/RPMS/*/"$name-$version-"*.rpm
}
packages() {
    (cd "$top/RPMS" && printf '%s\n' */*.rpm | sed -E "s,.*/,,; s,-$version-.*,," | grep -v debug | sort | tr '\n' ' ') >"$work/found"
    cat "$work/found"
    [ "$(cat "$work/found")" = "oxislirp oxislirp-devel oxislirp-static oxislirp-tools " ]
}
says() {
    query "$1" "$2" >"$work/said"
    cat "$work/said"
    grep -qxF -- "$3" "$work/said"
}
library_alone() { ! query oxislirp --requires | grep -vE '^(lib(c|gcc_s|m)\.so\.|ld-linux|rtld\(|rpmlib\(|libc\.so)'; }
everything() { query oxislirp -l && query oxislirp-devel -l && query oxislirp-static -l && query oxislirp-tools -l; }
check "four packages" packages
check "the library is there in place of libslirp" says oxislirp --provides "libslirp = $interface"
check "the library is there for programs by its soname and nodes" says oxislirp --provides "libslirp.so.0(SLIRP_4.0)(64bit)"
check "it conflicts with libslirp" says oxislirp --conflicts libslirp
check "it requires the C library and libgcc_s alone" library_alone
check "the headers are there in place of libslirp-devel" says oxislirp-devel --provides "libslirp-devel = $interface"
tools_alone() { ! query oxislirp-tools --requires | grep -i slirp; }
check "the command requires no libslirp" tools_alone

# Without the database of the machine, and without what rpm there would ask for.
root=$work/root
install_them() { mkdir -p "$root" && rpm --root "$root" --initdb && rpm --root "$root" --nodeps -i "$top"/RPMS/*/oxislirp*-"$version"-*.rpm; }
runs() { "$root/usr/bin/oxislirp" --version && "$root/usr/bin/oxislirp" run --check /bin/sh 2>&1 | grep -F "it gets $root$(rpm --eval '%{_libdir}')/libslirp.so.0.4.0"; }
erase() {
    rpm --root "$root" --nodeps -e oxislirp oxislirp-devel oxislirp-static oxislirp-tools || return
    find "$root" -name '*slirp*' -not -path '*/rpm/*' -not -path '*/debug/*' >"$work/left"
    cat "$work/left"
    [ ! -s "$work/left" ]
}
check "they install into an empty root" install_them
check "the command runs there, and finds the library" runs
check "erased, they leave nothing" erase
everything >/dev/null 2>&1 && echo "# files: $(everything | wc -l)"
finish
