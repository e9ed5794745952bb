#!/bin/bash
# The files for other distributions, as far as they can be looked at on this machine: read by the language's own parser where it
# is installed, and what they all repeat (version, interface) compared with the sources. Nothing is built.
set -u
cd "$(dirname "$0")/../.." || exit 1
. compat-tests/packaging/check.sh

# with TOOL NAME COMMAND...: a check that needs a tool.
with() {
    local tool=$1
    shift
    if command -v "$tool" >/dev/null; then
        check "$@"
    else
        echo "# left out: $1 ($tool is not installed)"
    fi
}

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
interface=$(sed -n "s/^interface_version = '\(.*\)'/\1/p" meson.build)
same_version() {
    local file
    for file in rpm/oxislirp.spec alpine/APKBUILD nix/flake.nix vcpkg/oxislirp/vcpkg.json msys2/PKGBUILD freebsd/Makefile homebrew/oxislirp.rb \
        debian/changelog; do
        grep -qF "$version" "packaging/$file" || { echo "packaging/$file does not name $version"; return 1; }
    done
}
same_interface() {
    local file
    for file in debian/control rpm/oxislirp.spec alpine/APKBUILD msys2/PKGBUILD; do
        grep -qF "$interface" "packaging/$file" || { echo "packaging/$file does not name $interface"; return 1; }
    done
}
# A shell recipe is read by the shell that its builder uses, and has the functions that the builder calls.
recipe() {
    local shell=$1 file=$2 word
    shift 2
    "$shell" -n "$file" || return
    for word; do
        MINGW_PACKAGE_PREFIX=mingw "$shell" -c '. "$1"; command -v "$2" >/dev/null || [ -n "$(eval echo \$$2)" ]' - "./$file" "$word" || {
            echo "$file has no $word"
            return 1
        }
    done
}
port() {
    mkdir -p "$work/mk"
    : >"$work/mk/bsd.port.mk"
    [ "$(bmake -r -m "$work/mk" -f packaging/freebsd/Makefile -V PORTNAME)" = oxislirp ] &&
        [ "$(bmake -r -m "$work/mk" -f packaging/freebsd/Makefile -V DISTVERSION)" = "$version" ]
}
lint_spec() {
    rpmlint packaging/rpm/oxislirp.spec >"$work/lint" 2>&1
    cat "$work/lint"
    grep -q ' 0 errors' "$work/lint"
}
check "every file names version $version" same_version
check "those that provide libslirp name $interface" same_interface
with rpmspec "RPM: rpmspec reads the spec" rpmspec -q --qf '%{name} %{version}\n' packaging/rpm/oxislirp.spec
with rpmlint "RPM: rpmlint finds no error" lint_spec
check "Alpine: the recipe" recipe sh packaging/alpine/APKBUILD pkgname pkgver source prepare build check package
check "MSYS2: the recipe" recipe bash packaging/msys2/PKGBUILD pkgbase pkgver source build package
with nix-instantiate "Nix: the flake is read" nix-instantiate --parse packaging/nix/flake.nix
with ruby "Homebrew: the formula is read" ruby -c packaging/homebrew/oxislirp.rb
check "vcpkg: the manifest is JSON" python3 -c 'import json; json.load(open("packaging/vcpkg/oxislirp/vcpkg.json"))'
with bmake "FreeBSD: the port is read" port
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
