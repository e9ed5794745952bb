#!/usr/bin/env python3
"""VUOS: processes under `umvu` get a network stack of their own that is joined to `slirp://`. Ping and a download over it.

Runs in the system that debian.py makes: umvu wants a root that is a mount of its own.
"""

import glob
import hashlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

from rig import library, payload, services  # noqa: E402  (the path has to be set first)
from rig.report import Failure, Report, truth  # noqa: E402

SIZE = 4 << 20
# What the processes inside do; a line from us lets them go on.
INSIDE = """
vu_insmod vunet || exit 3
mkdir -p /tmp/vunet; touch /tmp/vunet/s
vumount -t vunetvdestack slirp:// /tmp/vunet/s || exit 4
vustack /tmp/vunet/s ip link set vde0 up || exit 5
vustack /tmp/vunet/s ip addr add 10.0.2.15/24 dev vde0 || exit 6
vustack /tmp/vunet/s ip route add default via 10.0.2.2
echo standing
read line
timeout -k 2 20 vustack /tmp/vunet/s ping -c 1 10.0.2.2 && timeout -k 2 20 vustack /tmp/vunet/s ping -c 1 10.0.2.2 && echo ping: yes
timeout -k 2 40 vustack /tmp/vunet/s python3 -c 'FETCH' && echo download: yes
echo end
"""
# A program that is linked dynamically, as umvu likes them best.
FETCH = 'import urllib.request as r; open("/tmp/vunet/file", "wb").write(r.urlopen("http://10.0.2.2:PORT/SIZE").read())'


def main():
    report = Report(False)
    report.watchdog(200)
    report.prefix = "vuos."
    server = services.TcpService("127.0.0.1")
    script = INSIDE.replace("FETCH", FETCH).replace("PORT", str(server.port)).replace("SIZE", str(SIZE))
    machine = subprocess.Popen(["timeout", "-k", "5", "120", "umvu", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=dict(os.environ, POSIXLY_CORRECT="1"))
    said = []
    with report.check("network_stands"):
        for line in machine.stdout:
            said.append(line.strip())
            if line.strip() == "standing":
                break
        truth("standing" in said, " / ".join(said[-6:]))
    with report.check("library_is_mapped"):
        found = [path for path in glob.glob("/proc/[0-9]*/maps") if maps_slirp(path)]
        truth(found, "no process has a libslirp")
        for path in found:
            report.info(f"library: {library.prove(int(path.split('/')[2]))}")
    machine.stdin.write("\n")
    machine.stdin.flush()
    # Up to the last line and not up to the end of the output: umvu and what it has started may stay.
    rest = ""
    for line in machine.stdout:
        rest += line
        if line.strip() == "end":
            break
    machine.kill()
    for name in ("ping", "download"):
        with report.check(name):
            truth(f"{name}: yes" in rest, rest[-300:])
    with report.check("content"):
        with open("/tmp/vunet/file", "rb") as file:
            truth(payload.digest(SIZE) == hashlib.sha256(file.read()).hexdigest(), "the file has come in another shape")
    report.prefix = ""
    sys.stdout.flush()
    # Without waiting for what is left of umvu.
    os._exit(report.summary())


def maps_slirp(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "libslirp.so" in file.read()
    except OSError:
        return False


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        raise SystemExit(str(failure)) from None
