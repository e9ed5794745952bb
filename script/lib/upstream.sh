#!/bin/sh
# What the benchmarks compare with, without installing it:
#
# script/lib/upstream.sh library [NAME]   print the path of a libslirp.so.0 of upstream. NAME is 4.9.5 (the default), another
#                                         version, `system` for the installed one, or a path. A version that cannot be had is
#                                         named with the reason, and the installed library is taken in its place.
# script/lib/upstream.sh headers [VERSION] print the folder of upstream's headers of a version, 4.9.5 by default, or nothing but the reason.
# script/lib/upstream.sh pasta            print the path of Debian unstable's pasta, or nothing but the reason.
#
# Packages are downloaded from Debian unstable by an apt with folders of its own below target/upstream; they are unpacked
# there and never installed. A library that needs functions which the machine's GLib lacks has `preload.so` beside it,
# which the benchmarks load first.

set -eu
cd "$(dirname "$0")/../.."
. script/lib/setup.sh

store="${CARGO_TARGET_DIR:-$PWD/target}/upstream"

say() {
    echo "upstream: $*" >&2
}

# private APT-PROGRAM ARGUMENTS...: apt with sources, lists and cache of our own.
private() {
    private_program=$1
    shift
    "$private_program" -q -o Dir::Etc::sourcelist="$store/apt/sid.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$store/apt/lists" -o Dir::Cache="$store/apt/cache" -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User="$(id -un)" \
        -o Debug::NoLocking=1 "$@"
}

# refresh: fetch unstable's package list, once a day.
refresh() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        say "no apt and dpkg on this machine, so nothing can be downloaded"
        return 1
    fi
    [ -z "$(find "$store/apt/fresh" -mtime -1 2>/dev/null)" ] || return 0
    mkdir -p "$store/apt/lists/partial" "$store/apt/cache/archives/partial"
    setup_suite /etc/apt sid >"$store/apt/sid.sources" || return 1
    # Without the option apt calls it a success when a list could not be fetched.
    if ! private apt-get -o APT::Update::Error-Mode=any update >"$store/apt/log" 2>&1; then
        say "the package list of unstable cannot be fetched: $(grep -m 1 '^[EW]: ' "$store/apt/log")"
        return 1
    fi
    touch "$store/apt/fresh"
}

# candidate PACKAGE: its version in unstable.
candidate() {
    private apt-cache madison "$1" 2>/dev/null | awk -F'|' 'NR == 1 { gsub(/ /, "", $2); print $2 }'
}

# unpack PACKAGE VERSION FOLDER: download and unpack into FOLDER.
unpack() {
    rm -rf "$3"
    mkdir -p "$3"
    if ! (cd "$3" && private apt-get download "$1=$2" >"$store/apt/log" 2>&1); then
        say "$1 $2 cannot be downloaded: $(grep -m 1 '^[EW]: ' "$store/apt/log")"
        rm -rf "$3"
        return 1
    fi
    dpkg-deb -x "$3"/*.deb "$3" && rm -f "$3"/*.deb
}

# missing LIBRARY [PRELOAD]: the functions that the library needs and nothing provides, in one line.
missing() {
    LD_PRELOAD="${2:-}" ldd -r "$1" 2>&1 | sed -nE 's/.*(undefined symbol: |version .)([A-Za-z_0-9.]+).*/\2/p' | tr '\n' ' '
}

# The one function of GLib 2.76 that Debian's libslirp 4.9.5 needs and Debian 12's GLib 2.74 has not.
preload_source='
#include <stddef.h>
/* Of GLib: the string that frees its frame and keeps or frees its text. */
struct GString;
char *g_string_free(struct GString *string, int free_segment);
char *g_string_free_and_steal(struct GString *string);
char *g_string_free_and_steal(struct GString *string)
{
    return g_string_free(string, 0);
}
'

# headers VERSION: the folder that <slirp/libslirp.h> of that version is in.
headers() {
    headers_folder="$store/libslirp-dev-$1"
    if [ ! -e "$headers_folder/usr/include/slirp/libslirp.h" ]; then
        refresh || return 1
        headers_version=$(candidate libslirp-dev)
        case $headers_version in
            "$1"-* | "$1"+* | "$1") ;;
            *)
                say "unstable has libslirp-dev ${headers_version:-nothing}, not $1"
                return 1
                ;;
        esac
        unpack libslirp-dev "$headers_version" "$headers_folder" || return 1
    fi
    echo "$headers_folder/usr/include"
}

# downloaded VERSION: make $store/libslirp-VERSION; its library's path.
downloaded() {
    downloaded_folder="$store/libslirp-$1"
    if [ ! -e "$downloaded_folder/libslirp.so.0" ]; then
        refresh || return 1
        downloaded_version=$(candidate libslirp0)
        case $downloaded_version in
            "$1"-* | "$1"+* | "$1") ;;
            *)
                say "unstable has libslirp0 ${downloaded_version:-nothing}, not $1"
                return 1
                ;;
        esac
        unpack libslirp0 "$downloaded_version" "$downloaded_folder.new" || return 1
        cp -L "$downloaded_folder.new"/usr/lib/*/libslirp.so.0 "$downloaded_folder.new/library"
        downloaded_missing=$(missing "$downloaded_folder.new/library")
        if [ -n "$downloaded_missing" ]; then
            compiler=$(command -v cc || command -v gcc || true)
            if [ -z "$compiler" ]; then
                say "libslirp $1 needs ${downloaded_missing% }, and there is no C compiler to make it"
                return 1
            fi
            printf '%s' "$preload_source" >"$downloaded_folder.new/preload.c"
            "$compiler" -O2 -shared -fPIC -o "$downloaded_folder.new/preload.so" "$downloaded_folder.new/preload.c" -l:libglib-2.0.so.0 >&2 || return 1
            downloaded_missing=$(missing "$downloaded_folder.new/library" "$downloaded_folder.new/preload.so")
            if [ -n "$downloaded_missing" ]; then
                say "libslirp $1 does not run on this machine; it needs ${downloaded_missing% }"
                return 1
            fi
        fi
        mv "$downloaded_folder.new/library" "$downloaded_folder.new/libslirp.so.0"
        rm -rf "$downloaded_folder"
        mv "$downloaded_folder.new" "$downloaded_folder"
    fi
    echo "$downloaded_folder/libslirp.so.0"
}

# installed: the path of the distribution's library, which is installed where it is missing.
installed() {
    for installed_trial in 1 2; do
        for installed_path in /usr/lib/*/libslirp.so.0 /usr/lib64/libslirp.so.0 /usr/lib/libslirp.so.0; do
            if [ -e "$installed_path" ]; then
                echo "$installed_path"
                return 0
            fi
        done
        [ "$installed_trial" = 1 ] && command -v apt-get >/dev/null || break
        setup_install libslirp0 >&2 || break
    done
    say "no libslirp.so.0 is installed"
    return 1
}

library() {
    case $1 in
        */*)
            [ -e "$1" ] || { say "$1 does not exist"; return 1; }
            echo "$1"
            return 0
            ;;
        system) installed; return ;;
    esac
    if command -v dpkg-query >/dev/null; then
        case $(dpkg-query -W -f '${Version}' libslirp0 2>/dev/null) in
            "$1"-* | "$1"+*) installed; return ;;
        esac
    fi
    downloaded "$1" && return 0
    say "libslirp $1 cannot be had; the installed library is taken in its place"
    installed
}

# pasta: a program that runs unstable's pasta on unstable's C library, both unpacked only.
pasta() {
    if ! refresh; then
        # What was unpacked another day will do.
        for pasta_folder in "$store"/passt-*; do
            "$pasta_folder/pasta" --version >/dev/null 2>&1 && echo "$pasta_folder/pasta" && return 0
        done
        return 1
    fi
    pasta_version=$(candidate passt)
    if [ -z "$pasta_version" ]; then
        say "unstable has no package passt for this machine"
        return 1
    fi
    pasta_folder="$store/passt-$pasta_version"
    if [ ! -e "$pasta_folder/pasta" ]; then
        unpack passt "$pasta_version" "$pasta_folder.new" || return 1
        unpack libc6 "$(candidate libc6)" "$pasta_folder.new/libc" || return 1
        pasta_loader=$(find "$pasta_folder.new/libc/usr/lib" -name 'ld-linux*' -path '*-linux-*' | head -n 1)
        # Its own search for the build with wide vectors goes by /proc/self/exe, which is the loader here.
        pasta_program=usr/bin/pasta
        if grep -q ' avx2 ' /proc/cpuinfo && [ -e "$pasta_folder.new/usr/bin/pasta.avx2" ]; then
            pasta_program=usr/bin/pasta.avx2
        fi
        pasta_loader=${pasta_loader#"$pasta_folder.new/"}
        cat >"$pasta_folder.new/pasta" <<SCRIPT
#!/bin/sh
exec '$pasta_folder/$pasta_loader' --library-path '$pasta_folder/$(dirname "$pasta_loader")' --argv0 pasta '$pasta_folder/$pasta_program' "\$@"
SCRIPT
        chmod +x "$pasta_folder.new/pasta"
        rm -rf "$pasta_folder"
        mv "$pasta_folder.new" "$pasta_folder"
    fi
    if ! "$pasta_folder/pasta" --version >/dev/null 2>&1; then
        say "unstable's pasta $pasta_version does not run on this machine"
        return 1
    fi
    echo "$pasta_folder/pasta"
}

case ${1:-} in
    library) library "${2:-4.9.5}" ;;
    headers) headers "${2:-4.9.5}" ;;
    pasta) pasta ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
