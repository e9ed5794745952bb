#!/bin/bash
# Compiles the library for other systems, and runs its tests for other processors on this machine.
#
# compat-tests/platforms/run.sh [TARGET...]    without one: all of the table below
#
# `check`: the C library and the engine are compiled as far as that goes without the system's linker, and any warning is a
# failure. `run`: the engine's unit tests and the in-process tests through the C interface, natively (i686) or under
# qemu-user (s390x). What an emulator cannot do is left out by name and said. For Windows the DLL is built by mingw's linker, and
# wine runs the unit tests and C programs that load it (compat-tests/c). Ends with "N passed, N failed".
#
# std is built from source: Debian's rustc-web and rust-web-src, which this installs, where no other compiler has it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. script/lib/setup.sh

TARGETS="x86_64-unknown-freebsd x86_64-unknown-netbsd x86_64-unknown-openbsd x86_64-unknown-illumos aarch64-apple-darwin
aarch64-linux-android x86_64-unknown-linux-musl aarch64-unknown-linux-gnu riscv64gc-unknown-linux-gnu
i686-unknown-linux-gnu s390x-unknown-linux-gnu x86_64-pc-windows-gnu"
IN_PROCESS="api dns forward hostfwd icmp ipv6 smoltcp state tcp udp"
# The first needs upstream's library of the same processor.
NOT_I686="state_moves_between_upstream_and_this_library_and_back state_job"
# The emulator passes control messages on as they are, in the guest's byte order, and does not know SIOCOUTQNSD; simulations take
# an hour in it.
NOT_S390X="sim:: datagrams_that_the_kernel_put_together_come_apart_again runs_leave_from_the_address_that_was_asked
datagrams_of_all_sizes_arrive_whole_and_in_order_with_and_without_segmenting what_a_peer_has_not_got_is_told"

# They are about what stands for all sockets, where there are such pollers.
NOT_WINDOWS="sim:: bytes_from_elsewhere_do_not_wait_for_a_loop_that_sleeps a_stack_at_rest_sleeps_until_something_is_due
a_segment_that_is_refused_is_not_acknowledged_and_comes_through_the_next_time rounds_that_pass_leave_behind_what_looking_at_them_does"

passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target_root="${CARGO_TARGET_DIR:-$PWD/target}/platforms"

# verdict NAME STATUS [LOG]
verdict() {
    if [ "$2" = 0 ]; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "not ok $1"
        [ -n "${3:-}" ] && grep -E '^(error|warning)|^test .* FAILED$|panicked at' -A 3 "$3" | cut -c1-200 | head -40
        failed=$((failed + 1))
    fi
}

packages="rustc-web cargo-web rust-web-src"
wanted="${*:-$TARGETS}"
case "$wanted" in *i686*) packages="$packages gcc-i686-linux-gnu libc6-dev-i386-cross" ;; esac
case "$wanted" in *windows*) packages="$packages gcc-mingw-w64-x86-64 wine64" ;; esac
case "$wanted" in *s390x*) packages="$packages gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user-static" ;; esac
SETUP_PACKAGES="$packages" setup_packages

export RUSTC_BOOTSTRAP=1
export PATH="/usr/bin:$PATH"
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    echo "not ok platforms: no source of std beside $(command -v rustc) ($(rustc --version))"
    echo "0 passed, 1 failed"
    exit 1
fi
echo "# $(rustc --version)"

# with TARGET COMMAND...: cargo for a target, std included.
with() {
    local target=$1
    shift
    CARGO_TARGET_DIR="$target_root/$target" cargo "$1" -Zbuild-std=std,panic_unwind,test --target "$target" "${@:2}"
}

# tests TARGET NAME LEFT-OUT ARGUMENTS...
tests() {
    local target=$1 name=$2 skip=() one
    for one in $3; do skip+=(--skip "$one"); done
    [ -z "$3" ] || echo "# $target, $name: left out: $(echo $3)"
    shift 3
    with "$target" test --no-fail-fast "$@" -- "${skip[@]}" >"$work/log" 2>&1
    # Taken here: what counts the tests has a status of its own.
    local status=$?
    verdict "$target.$name ($(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$work/log" | paste -sd+ | sed 's/^$/0/' | bc) tests)" $status "$work/log"
}

in_process() {
    for one in $IN_PROCESS; do echo "--test inproc_$one"; done
}

# windows TARGET: the DLL, and what wine shows of it.
windows() {
    local target=$1 folder="$work/windows" built status cc=x86_64-w64-mingw32-gcc
    local wine="timeout 900 /usr/lib/wine/wine64"
    mkdir -p "$folder/served/boot"
    export WINEPREFIX="$work/wine" WINEDEBUG=-all
    RUSTFLAGS="-D warnings" with "$target" build --release --lib >"$work/log" 2>&1
    verdict "$target.build" $? "$work/log"
    built="$target_root/$target/$target/release"
    [ -f "$built/slirp.dll" ] || return
    # The name that meson gives upstream's, and that programs ask for.
    x86_64-w64-mingw32-strip -o "$folder/libslirp-0.dll" "$built/slirp.dll"
    # std asks a DLL for random numbers that this wine does not have yet.
    printf '%s\n' '#include <windows.h>' '#include <ntsecapi.h>' \
        '__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return RtlGenRandom(p, (ULONG)n); }' >"$work/prng.c"
    $cc -shared -o "$folder/bcryptprimitives.dll" "$work/prng.c" -ladvapi32 >"$work/log" 2>&1
    verdict "$target.random_numbers" $? "$work/log"
    # An import library by that name, made of the list of functions.
    (cd "$folder" && sh "$OLDPWD/pkgconfig/functions.sh" "$OLDPWD/src/libslirp.map" libslirp-0.dll >libslirp-0.def &&
        x86_64-w64-mingw32-dlltool -d libslirp-0.def -l libslirp.dll.a) >"$work/log" 2>&1
    status=$?
    verdict "$target.import_library ($(grep -c slirp_ "$folder/libslirp-0.def") functions, $(stat -c %s "$folder/libslirp-0.dll") bytes stripped)" $status "$work/log"
    for one in main_paths services; do
        $cc -std=gnu11 -O1 -Wall -Wextra -Werror -Wno-deprecated-declarations -Iinclude -o "$folder/$one.exe" \
            "compat-tests/c/$one.c" "$folder/libslirp.dll.a" -lws2_32 >"$work/log" 2>&1 &&
            $cc -o "$folder/answer.exe" compat-tests/c/answer.c >>"$work/log" 2>&1 &&
            (cd "$folder" && $wine "./$one.exe" served answer.exe) >"$work/log" 2>&1
        status=$?
        verdict "$target.$one ($(tail -1 "$work/log" | tr -d '\r'))" $status "$work/log"
    done
    # The simulations know no system and take long in a slow build.
    local skip=() one
    for one in $NOT_WINDOWS; do skip+=(--skip "$one"); done
    echo "# $target, unit: left out: $(echo $NOT_WINDOWS)"
    with "$target" test --no-run -p oxislirp --features policy,capture,control --lib >"$work/log" 2>&1
    local program
    program=$(sed -nE 's/.*Executable .*\((.*)\)$/\1/p' "$work/log")
    cp "$program" "$folder/unit.exe" && (cd "$folder" && $wine ./unit.exe "${skip[@]}") >"$work/log" 2>&1
    status=$?
    verdict "$target.unit ($(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$work/log") tests)" $status "$work/log"
}

for target in $wanted; do
    case $target in
        x86_64-pc-windows-gnu) windows "$target" ;;
        i686-unknown-linux-gnu)
            export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
            loader=/usr/i686-linux-gnu/lib
            export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=-Wl,--dynamic-linker=$loader/ld-linux.so.2,-rpath,$loader"
            tests "$target" unit "" -p oxislirp --lib
            tests "$target" in_process "$NOT_I686" $(in_process)
            ;;
        s390x-unknown-linux-gnu)
            export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc
            export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER="qemu-s390x-static -L /usr/s390x-linux-gnu"
            tests "$target" unit "$NOT_S390X" -p oxislirp --lib
            ;;
        *)
            RUSTFLAGS="-D warnings" with "$target" check --lib >"$work/log" 2>&1
            verdict "$target.check" $? "$work/log"
            ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
