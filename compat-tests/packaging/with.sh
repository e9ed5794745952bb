#!/bin/sh
# `script/with` and `oxislirp run`: programs of every kind that the loader treats differently. Needs a C compiler, setcap and setpriv; the
# library is the release build, or what OXISLIRP_LIBRARY names, and the command is built beside it, or is what OXISLIRP_COMMAND names.
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


# Asks the library's own function whether there is a policy: a file of OXISLIRP_CONFIG without sense makes no instance.
cat > "$work/instance.c" <<'PROGRAM'
#include <slirp/libslirp.h>
#include <stdio.h>

static slirp_ssize_t send_packet(const void *frame, size_t size, void *opaque)
{
    (void)frame, (void)opaque;
    return (slirp_ssize_t)size;
}

static int64_t now(void *opaque)
{
    (void)opaque;
    return 0;
}

int main(void)
{
    SlirpConfig config = { .version = 1, .in_enabled = true };
    SlirpCb callbacks = { .send_packet = send_packet, .clock_get_ns = now };
    config.vnetwork.s_addr = inet_addr("10.0.2.0");
    config.vnetmask.s_addr = inet_addr("255.255.255.0");
    config.vhost.s_addr = inet_addr("10.0.2.2");
    config.vdhcp_start.s_addr = inet_addr("10.0.2.15");
    config.vnameserver.s_addr = inet_addr("10.0.2.3");
    Slirp *slirp = slirp_new(&config, &callbacks, NULL);
    if (!slirp)
        return 1;
    slirp_cleanup(slirp);
    return 0;
}
PROGRAM

command=${OXISLIRP_COMMAND:-}
if [ -z "$command" ]; then
    "${CARGO:-cargo}" build --quiet --release --manifest-path "$root/Cargo.toml" -p oxislirp-tools || { echo "0 passed, 1 failed"; exit 1; }
    command=${CARGO_TARGET_DIR:-$root/target}/release/oxislirp
fi

# tool ARGUMENT...: the one of the two that is looked at.
tool() {
    case $tool in
        script/with) "$root/script/with" "$@" ;;
        *) "$command" run "$@" ;;
    esac
}
runs_on_ours() { tool "$work/dynamic" 'a b' '*' --library </dev/null > "$work/out"; [ $? = 7 ] && grep -qxF "4.9.5 $library" "$work/out" && grep -qxF '<a b>' "$work/out" && grep -qxF '<*>' "$work/out" && grep -qxF '<--library>' "$work/out"; }
# The report comes while the program runs; its input ends when the report is there.
reports() {
    mkfifo "$work/input"
    tool "$1" < "$work/input" 2> "$work/said" > "$work/out" &
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
refuses() { words=$1; shift; tool "$@" </dev/null 2> "$work/said"; [ $? = 126 ] && cat "$work/said" && grep -q "$words" "$work/said"; }
missing() { tool "$work/nothing" 2> "$work/said"; [ $? = 127 ] && grep -q 'no such program' "$work/said"; }
only_checks() { tool --check "$work/dynamic" 2> "$work/said" > "$work/out" && [ ! -s "$work/out" ] && grep -qF "would run on $library" "$work/said"; }
# As somebody else, as the rights of root do not grow by a file's capabilities.
nobody_refuses() {
    words=$1
    shift
    case $tool in
        script/with) setpriv --reuid=65534 --regid=65534 --clear-groups env OXISLIRP_LIBRARY="$library" CARGO_TARGET_DIR="$work/nobody" "$root/script/with" "$@" ;;
        *) setpriv --reuid=65534 --regid=65534 --clear-groups "$command" run "$@" ;;
    esac </dev/null 2> "$work/said"
    [ $? = 126 ] && cat "$work/said" && grep -q "$words" "$work/said"
}
if [ "$(id -u)" = 0 ]; then
    cp "$work/dynamic" "$work/setuid" && chown nobody "$work/setuid" && chmod u+s "$work/setuid"
    cp "$work/dynamic" "$work/setgid" && chgrp nogroup "$work/setgid" && chmod g+s "$work/setgid"
    cp "$work/dynamic" "$work/capable" && setcap cap_net_bind_service+ep "$work/capable"
    mkdir -m 777 "$work/nobody"
fi
for tool in script/with "oxislirp run"; do
    check "$tool: a linked program runs on it, with its arguments and its status" runs_on_ours
    check "$tool: which library it has is said" reports "$work/dynamic"
    check "$tool: so it is for what a script starts" reports "$work/script"
    check "$tool: a static program is refused" refuses 'linked statically' "$work/static"
    check "$tool: a program that names its library's folder is refused" refuses 'names the folder of its own' "$work/named"
    check "$tool: a program that is not there" missing
    check "$tool: --check runs nothing" only_checks
    if [ "$(id -u)" = 0 ]; then
        check "$tool: a setuid program is refused" refuses 'it is setuid, runs as ' "$work/setuid"
        check "$tool: a setgid program is refused" refuses 'it is setgid' "$work/setgid"
        # The folder of the build may be closed to everybody else.
        if setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$command" -a -r "$root/script/with"; then
            check "$tool: a program with capabilities of its own is refused" nobody_refuses 'has capabilities of its own' "$work/capable"
        else
            echo "# $tool: $command is not for everybody, so a program with capabilities is not tried"
        fi
    else
        echo "# $tool: not root: setuid programs are not tried"
    fi
done

# What only the script has: it is run from wherever it is found, and builds.
with() { "$root/script/with" "$@"; }
# The first one goes on to find its library when another run has had another one.
two_at_once() {
    cp "$library" "$work/other.so"
    printf '#!/bin/sh\n"%s/dynamic" </dev/null >/dev/null\nread -r line\nexec "%s/dynamic" </dev/null\n' "$work" "$work" > "$work/twice" && chmod +x "$work/twice"
    mkfifo "$work/go"
    with "$work/twice" < "$work/go" > "$work/first" &
    exec 8> "$work/go"
    OXISLIRP_LIBRARY=$work/other.so with "$work/dynamic" </dev/null > "$work/second"
    echo go >&8
    exec 8>&-
    wait $!
    grep -qxF "4.9.5 $library" "$work/first" && grep -qxF "4.9.5 $(realpath "$work/other.so")" "$work/second"
}
in_spaces() {
    mkdir -p "$work/a folder" && cp "$library" "$work/a folder/lib slirp.so" && cp "$work/dynamic" "$work/a folder/a program" || return
    (cd "$work/a folder" && OXISLIRP_LIBRARY="lib slirp.so" CARGO_TARGET_DIR="built here" with "./a program" </dev/null > "$work/out")
    [ $? = 7 ] && grep -qxF "4.9.5 $(realpath "$work/a folder/lib slirp.so")" "$work/out"
}
by_link() {
    ln -s "$root/script/with" "$work/linked"
    (cd / && OXISLIRP_LIBRARY=$library "$work/linked" "$work/dynamic" </dev/null > "$work/out")
    [ $? = 7 ] && grep -qxF "4.9.5 $library" "$work/out"
}
built_in() { (cd "$work" && with true); }
garbage() { OXISLIRP_LIBRARY=$work/program.c with "$work/dynamic" </dev/null 2> "$work/said"; [ $? = 126 ] && grep -q 'is no library' "$work/said"; }
check "script/with: two libraries at a time" two_at_once
check "script/with: spaces in names, and a relative folder to build in" in_spaces
check "script/with: through a link" by_link
check "script/with: a program that the shell has built in" built_in
check "script/with: a file that is no library" garbage

# What only the command has.
run() { "$command" run --quiet "$@" </dev/null; }
printf '[policy]\npreset = "internet-only"\n' > "$work/good.toml"
printf '[policy]\npreset = "nonsense"\n' > "$work/bad.toml"
check "a program that makes an instance compiles" "$CC" -o "$work/instance" "$work/instance.c" -I"$root/include" "$library"
# The program goes elsewhere first, so a relative path would lead nowhere.
printf '#!/bin/sh\ncd / && test -f "$OXISLIRP_CONFIG" && exec "%s/instance"\n' "$work" > "$work/elsewhere" && chmod +x "$work/elsewhere"
relative() (cd "$work" && run --config good.toml ./elsewhere)
wrong() { tool=; refuses "bad.toml:2: " --config "$work/bad.toml" "$work/instance"; }
named() { run --library "$library" "$work/dynamic" > "$work/out"; [ $? = 7 ] && grep -qxF "4.9.5 $library" "$work/out"; }
by_variable() { OXISLIRP_LIBRARY=$work/old/libslirp.so.0 run "$work/dynamic" > "$work/out"; [ $? = 7 ] && grep -qxF "4.9.5 $(realpath "$work/old/libslirp.so.0")" "$work/out"; }
none() { cp "$command" "$work/lonely" && env -u OXISLIRP_LIBRARY "$work/lonely" run "$work/dynamic" </dev/null 2> "$work/said"; [ $? = 126 ] && grep -q 'there is no library of oxislirp in' "$work/said"; }
# As a package has it: beside another library, in a folder of its own. Then that folder is the only one that the loader is told.
installed() {
    mkdir -p "$work/usr/bin" "$work/usr/lib/oxislirp" && cp "$command" "$work/usr/bin/oxislirp" && cp "$library" "$work/usr/lib/oxislirp/libslirp.so.0" || return
    env -u OXISLIRP_LIBRARY "$work/usr/bin/oxislirp" run --quiet "$work/dynamic" </dev/null > "$work/out"
    [ $? = 7 ] && grep -qxF "4.9.5 $(realpath "$work/usr/lib/oxislirp/libslirp.so.0")" "$work/out"
}
no_library() { tool=; refuses 'is no library' --library "$work/program.c" "$work/dynamic"; }
check "oxislirp run --config: the program reads it, wherever it goes" relative
check "oxislirp run --config: what is wrong with the file is said, and nothing runs" wrong
check "oxislirp run --library" named
check "oxislirp run with OXISLIRP_LIBRARY" by_variable
check "oxislirp run where there is no library" none
check "oxislirp run with a file that is none" no_library
check "oxislirp run, installed with a library in a folder of its own" installed
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
