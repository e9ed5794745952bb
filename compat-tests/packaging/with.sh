#!/bin/sh
# script/with: programs of every kind that the loader treats differently. Needs a C compiler and busybox-static; the library
# is the release build, or what OXISLIRP_LIBRARY names.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$here/check.sh"
# Readable for the user that one of the checks becomes.
chmod 755 "$work"
: "${CC:=cc}"

# A program that uses the library and tells which file it has; it waits for its input to end, as the report is of a running
# program.
cat > "$work/program.c" <<'PROGRAM'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    Dl_info info;
    if (!dladdr(dlsym(RTLD_DEFAULT, "slirp_version_string"), &info))
        return 9;
    printf("%s %s\n", slirp_version_string(), realpath(info.dli_fname, NULL));
    for (int i = 1; i < count; i++)
        printf("<%s>\n", arguments[i]);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 7;
}
PROGRAM
library=${OXISLIRP_LIBRARY:-${CARGO_TARGET_DIR:-$root/target}/release/libslirp.so}
if [ ! -e "$library" ]; then
    echo "FAIL there is no $library: cargo build --release"
    echo "0 passed, 1 failed"
    exit 1
fi
library=$(realpath "$library")
mkdir "$work/old"
cp "$library" "$work/old/libslirp.so.0"
compile() { "$CC" -o "$1" "$work/program.c" -I"$root/include" -rdynamic "$library" -ldl $2; }
check "the programs compile" eval '
    compile "$work/dynamic" "" &&
    compile "$work/named" "-Wl,--disable-new-dtags,-rpath,$work/old" &&
    printf "#!/bin/sh\nexec \"%s/dynamic\" script\n" "$work" > "$work/script" && chmod +x "$work/script" &&
    printf "#include <unistd.h>\nint main(void) { return getpid() < 0; }\n" > "$work/static.c" && "$CC" -static -o "$work/static" "$work/static.c"'

with() { "$root/script/with" "$@"; }
runs_on_ours() { with "$work/dynamic" 'a b' '*' </dev/null > "$work/out"; [ $? = 7 ] && grep -qxF "4.9.5 $library" "$work/out" && grep -qxF '<a b>' "$work/out" && grep -qxF '<*>' "$work/out"; }
# The report comes while the program runs; its input ends when the report is there.
reports() {
    mkfifo "$work/input"
    with "$1" < "$work/input" 2> "$work/said" > "$work/out" &
    exec 8> "$work/input"
    tries=0
    until grep -q "runs on\|ANOTHER\|no libslirp" "$work/said" || [ "$tries" = 200 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    exec 8>&-
    wait $!
    rm "$work/input"
    cat "$work/said"
    grep -qF "runs on $library" "$work/said"
}
refuses() { words=$1; shift; with "$@" </dev/null 2> "$work/said"; [ $? = 126 ] && cat "$work/said" && grep -q "$words" "$work/said"; }
missing() { with "$work/nothing" 2> "$work/said"; [ $? = 127 ] && grep -q 'no such program' "$work/said"; }
only_checks() { with --check "$work/dynamic" 2> "$work/said" > "$work/out" && [ ! -s "$work/out" ] && grep -qF "would run on $library" "$work/said"; }
check "a linked program runs on it, with its arguments and its status" runs_on_ours
check "which library it has is said" reports "$work/dynamic"
check "so it is for what a script starts" reports "$work/script"
check "a static program is refused" refuses 'linked statically' "$work/static"
check "a program that names its library's folder is refused" refuses 'names the folder of its own' "$work/named"
check "a program that is not there" missing
check "--check runs nothing" only_checks
if [ "$(id -u)" = 0 ]; then
    cp "$work/dynamic" "$work/setuid" && chown nobody "$work/setuid" && chmod u+s "$work/setuid"
    cp "$work/dynamic" "$work/setgid" && chgrp nogroup "$work/setgid" && chmod g+s "$work/setgid"
    check "a setuid program is refused" refuses 'it is setuid, runs as nobody' "$work/setuid"
    check "a setgid program is refused" refuses 'it is setgid' "$work/setgid"
else
    echo "# not root: setuid programs are not tried"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
