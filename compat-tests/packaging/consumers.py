"""The programs that depend on libslirp0, each with what is run of it, and the table of what came out.

Most are driven by the rigs in the folders beside this one, which prove the library by the program's memory map.
"""

import json
import os
import re

from rig.report import Failure
from transcript import page as transcript_page


class Consumer:
    """A package, the packages that its test needs besides, and the test: a command in the system, and what it shows."""

    def __init__(self, package, name, shows, words, needs=(), timeout=900):
        self.package = package
        self.name = name
        self.shows = shows
        self.words = words
        self.needs = needs
        self.timeout = timeout


def rig(folder, *words):
    return ["python3", f"/work/oxislirp/compat-tests/{folder}/run.py", *words]


RIG_NEEDS = ("gcc", "libc6-dev", "procps", "util-linux")
# For the first datagrams of QUIC that the rigs send.
CRYPTOGRAPHY = "python3-cryptography"
OPTIONS = ["python3", "/work/oxislirp/compat-tests/packaging/options.py"]


def start(machine):
    return [*OPTIONS, "--start", f"qemu-system-{machine}"]


CONSUMERS = [
    Consumer("slirp4netns", "slirp4netns", "a kernel's TCP and UDP both ways, ping, names, forwards, IPv6; with and without its sandbox",
             rig("slirp4netns"), (*RIG_NEEDS, CRYPTOGRAPHY, "ndisc6", "isc-dhcp-client", "tshark")),
    Consumer("qemu-system-x86", "qemu-system-x86_64, a guest", "Linux guest on virtio-net: DHCP, TCP and UDP both ways, names, forwards, IPv6; TFTP, guest "
             "forwards, restrict; network boot; instances",
             rig("qemu", "--size", "16", "--only", "virtio|services|netboot|instances|ipv6"),
             (*RIG_NEEDS, CRYPTOGRAPHY, "cpio", "kmod", "zstd", "rdnssd", "ipxe-qemu", "seabios")),
    Consumer("qemu-system-x86", "qemu-system-x86_64, options", "every option of `-netdev user` that this version names", [*OPTIONS, "qemu-system-x86_64"],
             ("samba",)),
    Consumer("vdens", "vdens (libvdeslirp)", "`vdens slirp://`: loads of TCP and UDP, names, forwards, over IPv4 and IPv6",
             rig("vde", "--only", r"vdens\.|build"), (*RIG_NEEDS, "pkg-config", "libvdeslirp-dev", "libvdeplug-slirp", "vdeplug")),
    Consumer("libvdeslirp0", "libvdeslirp's C API", "the same through a C program, one thread and two, with forwards to a socket and a command",
             rig("vde", "--only", r"libvdeslirp|build|capi"), (*RIG_NEEDS, "pkg-config", "libvdeslirp-dev")),
    Consumer("libslirp-helper", "libslirp-helper", "a datagram socket at a tap: loads of TCP and UDP",
             rig("vde", "--only", r"\bhelper\.|build"), (*RIG_NEEDS, "pkg-config", "libvdeslirp-dev")),
    Consumer("vuos-umvu", "VUOS (umvu, vunetvdestack)", "a network of its own over `slirp://`: ping, a download",
             ["python3", "/work/oxislirp/compat-tests/packaging/vuos.py"],
             ("vuos", "libpurelibc-dev", "libvdeplug-slirp", "iputils-ping", "procps")),
    *(Consumer(package, program, "starts with `-netdev user` and a forward, answers `info usernet`", start(machine))
      for package, program, machine in (
          ("qemu-system-arm", "qemu-system-aarch64", "aarch64"), ("qemu-system-mips", "qemu-system-mips", "mips"),
          ("qemu-system-misc", "qemu-system-m68k", "m68k"), ("qemu-system-ppc", "qemu-system-ppc64", "ppc64"),
          ("qemu-system-riscv", "qemu-system-riscv64", "riscv64"), ("qemu-system-s390x", "qemu-system-s390x", "s390x"),
          ("qemu-system-sparc", "qemu-system-sparc64", "sparc64"))),
]


def rows(report, system, only=None):
    """Run every consumer that the release has, or those whose name has the pattern `only`; a row for each."""
    found = []
    environment = {"SLIRP_LIBDIR": "", "RIG_CACHE": "/tmp/rig", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["SLIRP_LIBDIR"] = system.run("sh", "-c", "dirname /usr/lib/*/libslirp.so.0").strip()
    for one in CONSUMERS:
        if only and not re.search(only, one.name):
            continue
        row = {"suite": system.suite, "consumer": one.name, "package": one.package, "shows": one.shows}
        if not system.known(one.package):
            found.append(dict(row, version="", result="not in this release"))
            continue
        row["version"] = system.version(one.package)
        with report.check(f"consumer.{one.name.replace(' ', '_')}"):
            try:
                needs = [package for package in one.needs if system.known(package)]
                if needs:
                    system.install(*needs)
                text = system.run(*one.words, environment=environment, timeout=one.timeout)
            except Failure as failure:
                with open(system.log, encoding="utf-8", errors="replace") as log:
                    said = log.read()[-60000:]
                bad = re.findall(r"^not ok .*$", said.rsplit("\n$ ", 1)[-1], re.M)
                counts = re.findall(r"^(\d+) passed, (\d+) failed$", said.rsplit("\n$ ", 1)[-1], re.M)
                row["result"] = f"{counts[-1][0]} checks passed, {counts[-1][1]} failed" if counts else "did not come to its end"
                found.append(row)
                raise Failure("; ".join(bad[:6]) or str(failure)) from None
            passed = re.findall(r"^(\d+) passed, 0 failed$", text, re.M)
            row["result"] = f"{passed[-1]} checks passed" if passed else "ran"
            skipped = len(re.findall(r"^skip ", text, re.M))
            if skipped:
                row["result"] += f", {skipped} left out"
            found.append(row)
    return found


# What a row cannot say.
NOTES = """
**VUOS.** `ping -c 2` under `umvu` often has its first answer and then waits without end: with Debian's libslirp0 4.9.5 in 6 of 9 runs and with this library
in 4 of 6, in the same system of unstable (29 November 2026), so it is umvu and ping that do not get along. The check asks twice, each time with a ping of one
packet; downloads passed in every run.

**Busy machines.** Loads have deadlines. While three other builds ran on the two cores, libslirp-helper's 16 echoes of 4 MiB on Debian 12 had brought 3.5 of 4.2 MB each when their 15 s were over, and one of
slirp4netns' checks of a policy was not seen to its end; both passed when they were run again, alone (30 November 2026).
"""


def write_table(path, found, transcripts):
    """The page of consumers, and of what happened to the package; what was not run keeps the rows and the transcript it has."""
    store = path.replace(".md", ".json")
    kept = {"consumers": [], "transcripts": {}}
    if os.path.exists(store):
        with open(store, encoding="utf-8") as file:
            kept = json.load(file)
    rows_by_name = {(row["suite"], row["consumer"]): row for row in kept["consumers"] + found}
    names = [one.name for one in CONSUMERS]
    everything = [row for key, row in rows_by_name.items() if key[1] in names]
    everything.sort(key=lambda row: (row["suite"], names.index(row["consumer"])))
    transcripts = dict(sorted({**kept["transcripts"], **transcripts}.items()))
    with open(store, "w", encoding="utf-8") as file:
        json.dump({"consumers": everything, "transcripts": transcripts}, file, indent=1)
        file.write("\n")
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "# Debian's programs on the package\n\n"
            "Written by `compat-tests/packaging/debian.py --table`: each program as Debian has it, in a fresh system of that release in which "
            "`oxislirp0` was built\nwithout a network, installed over `libslirp0`, and removed again. How each is driven: "
            "[compat-tests/packaging](../compat-tests/packaging/README.md).\n\n"
            "| release | program | package | version | what was run | result |\n|---|---|---|---|---|---|\n")
        for row in everything:
            file.write(f"| {row['suite']} | {row['consumer']} | `{row['package']}` | {row['version'] or '–'} | {row['shows']} | {row['result']} |\n")
        file.write(NOTES)
        file.write("\n## What was done with the package\n\nIn each release, in this order; of what the programs say only the lines that tell something.\n")
        for suite, transcript in transcripts.items():
            file.write(f"\n### {suite}, {transcript['day']}\n\n{transcript_page(transcript['steps'])}")
