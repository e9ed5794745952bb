# Installs what the tests and the demonstration use and what is missing. Sourced by script/test and script/demo.
# It only acts on systems with apt; elsewhere it says what it would have installed.

SETUP_PACKAGES="slirp4netns libslirp0 busybox-static iproute2 util-linux kmod cpio zstd python3 python3-cryptography linux-image-amd64
qemu-system-x86 gcc g++ libc6-dev binutils pkg-config meson ninja-build valgrind libvdeslirp-dev rdnssd ndisc6
isc-dhcp-client libcap2-bin tshark dante-server tinyproxy openssl"

setup_as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup: not root and no sudo, cannot run: $*" >&2
        return 1
    fi
}

# No service of a package is started: the tests start what they want, with files of their own.
setup_install() {
    setup_quiet=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        setup_quiet=1
        printf '#!/bin/sh\nexit 101\n' | setup_as_root tee /usr/sbin/policy-rc.d >/dev/null
        setup_as_root chmod 755 /usr/sbin/policy-rc.d
    fi
    setup_status=0
    setup_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || setup_status=$?
    [ -z "$setup_quiet" ] || setup_as_root rm -f /usr/sbin/policy-rc.d
    return "$setup_status"
}

setup_has() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

# setup_suite FOLDER SUITE: print a source entry for another suite, derived from the machine's own entry for its release,
# so that no server is named here. FOLDER is the folder of apt's configuration.
setup_suite() {
    python3 - "$1" "$2" <<'PYTHON'
import glob
import re
import sys

with open("/etc/os-release", encoding="utf-8") as file:
    release = re.search(r"^VERSION_CODENAME=(\w+)", file.read(), re.M).group(1)
for path in sorted(glob.glob(sys.argv[1] + "/sources.list.d/*.sources")):
    with open(path, encoding="utf-8") as file:
        entries = re.split(r"\n\s*\n", file.read())
    for entry in entries:
        lines = [line for line in entry.split("\n") if line and not line.startswith("#")]
        fields = dict(line.split(":", 1) for line in lines if re.match(r"[\w-]+:", line))
        if release in fields.get("Suites", "").split():
            fields["Suites"] = f" {sys.argv[2]}"
            fields["Components"] = " main"
            print("\n".join(f"{key}:{value}" for key, value in fields.items()))
            raise SystemExit
for path in [sys.argv[1] + "/sources.list", *sorted(glob.glob(sys.argv[1] + "/sources.list.d/*.list"))]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        continue
    for line in lines:
        found = re.match(rf"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+{release}\s", line)
        if found:
            signed = re.search(r"signed-by=(\S+)", found.group(1) or "")
            print(f"Types: deb\nURIs: {found.group(2)}\nSuites: {sys.argv[2]}\nComponents: main")
            if signed:
                print(f"Signed-By: {signed.group(1)}")
            raise SystemExit
raise SystemExit(f"setup: found no entry for this release to derive one for {sys.argv[2]} from")
PYTHON
}

# setup_backports FOLDER: as setup_suite, for this release's backports.
setup_backports() {
    setup_suite "$1" "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)-backports"
}

# Where qemu-utils came from backports, QEMU has to come from there as well.
setup_qemu_from_backports() {
    echo "setup: installing qemu-system-x86 from backports, the release's own does not fit the installed packages"
    setup_backports /etc/apt >"${TMPDIR:-/tmp}/backports.$$" || return 1
    setup_as_root cp "${TMPDIR:-/tmp}/backports.$$" /etc/apt/sources.list.d/oxislirp-backports.sources
    rm -f "${TMPDIR:-/tmp}/backports.$$"
    setup_as_root apt-get update -q || return 1
    suite="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)-backports"
    setup_install -t "$suite" qemu-system-x86
}

# setup_packages: install what is missing. A package that cannot be installed is named; the tests that need it fail.
setup_packages() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        echo "setup: no apt here; the tests use: $(echo $SETUP_PACKAGES)"
        return 0
    fi
    setup_missing=
    for package in $SETUP_PACKAGES; do
        setup_has "$package" || setup_missing="$setup_missing $package"
    done
    [ -n "$setup_missing" ] || return 0
    echo "setup: installing$setup_missing"
    # Of rdnssd the program is wanted, not the service, which would have this machine's resolv.conf changed.
    case "$setup_missing" in
        *rdnssd*) [ ! -d /run/systemd/system ] || setup_as_root systemctl mask rdnssd ;;
    esac
    # Nor of the proxies.
    case "$setup_missing" in
        *dante-server*|*tinyproxy*) [ ! -d /run/systemd/system ] || setup_as_root systemctl mask danted tinyproxy ;;
    esac
    setup_as_root apt-get update -q || echo "setup: apt-get update failed" >&2
    # One at a time after a common failure, so that one package that does not fit keeps no other away.
    if ! setup_install $setup_missing; then
        for package in $setup_missing; do
            setup_has "$package" && continue
            setup_install "$package" && continue
            [ "$package" = qemu-system-x86 ] && setup_qemu_from_backports && continue
            echo "setup: could not install $package" >&2
        done
    fi
    return 0
}

# setup_rust: cargo has to be there already; its formatter and linter are added when rustup can do that.
setup_rust() {
    if ! command -v cargo >/dev/null; then
        echo "setup: no cargo; install Rust (see README.md) first" >&2
        return 1
    fi
    if command -v rustup >/dev/null; then
        cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
        cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
    fi
    return 0
}
