#!/usr/bin/env python3
"""A QEMU without a machine takes `-netdev user` and each of its options, and shows the library in its memory map.

options.py PROGRAM             every option that the program's own help names
options.py --start PROGRAM     only that it starts with a forward, and lists it
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

from rig import library  # noqa: E402  (the path has to be set first)
from rig.report import Report, truth  # noqa: E402

# Option → a value that QEMU takes, and what `info usernet` shows of it, if anything. FOLDER is one of the test's own.
VALUES = {
    "ipv4": ("on", None), "ipv6": ("off", None), "net": ("10.9.0.0/16", None), "host": ("10.0.2.9", None),
    "ipv6-net": ("fd00:1::/64", None), "ipv6-host": ("fec0::9", None), "ipv6-prefix": ("fd00:1::", None), "ipv6-prefixlen": ("64", None),
    "restrict": ("on", None), "hostname": ("guest", None), "dhcpstart": ("10.0.2.40", None), "dns": ("10.0.2.8", None),
    "ipv6-dns": ("fec0::8", None), "dnssearch": ("example.test", None), "domainname": ("example.test", None),
    "tftp": ("FOLDER", None), "tftp-server-name": ("server.test", None), "bootfile": ("boot.ipxe", None),
    "smb": ("FOLDER", None), "smbserver": ("10.0.2.5", None),
    "hostfwd": ("tcp:127.0.0.1:0-:22", r"TCP\[HOST_FORWARD\]"),
    "guestfwd": ("tcp:10.0.2.200:80-cmd:/bin/true", None),
}
# An option that means nothing without another one.
WITH = {"smbserver": ["smb=FOLDER"], "ipv6-prefixlen": ["ipv6-prefix=fd00:1::"]}


class Qemu:
    """One QEMU without a machine, with a monitor."""

    def __init__(self, program, network):
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [program, "-M", "none", "-display", "none", "-nodefaults", "-netdev", network,
                 "-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control"],
                pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.socket.settimeout(30)
        self.stream = self.socket.makefile("rw")
        try:
            if "QMP" not in self.stream.readline():
                raise OSError
            self.ask("qmp_capabilities")
        except OSError:
            self.process.kill()
            raise RuntimeError(f"{program} did not start: {self.process.communicate()[0][-300:]}") from None

    def ask(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "event" not in answer:
                return answer["return"]

    def close(self):
        """End it in an orderly way, so that the library's own end is run too."""
        self.ask("quit")
        return self.process.wait(30)


def run(report, program, name, network, shown):
    with report.check(name):
        qemu = Qemu(program, network)
        library.prove(qemu.process.pid)
        text = qemu.ask("human-monitor-command", **{"command-line": "info usernet"})
        truth(shown is None or re.search(shown, text), text)
        truth(qemu.close() == 0, "did not end in an orderly way")


def options(program):
    """The options of `-netdev user` in the program's help."""
    text = subprocess.run([program, "-help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    part = re.search(r"^-netdev user,id=str(.*?)^\s*configure a user mode", text, re.M | re.S).group(1)
    return list(dict.fromkeys(re.findall(r"\[,([\w-]+)=", part.replace("\n", "")) + re.findall(r"\[\[?,?([\w-]+)=", part)))


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(words) != 1:
        raise SystemExit(__doc__)
    program = words[0]
    report = Report(False)
    report.watchdog(600)
    report.prefix = f"{program}."
    run(report, program, "start", "user,id=n,hostfwd=tcp:127.0.0.1:0-:22", r"TCP\[HOST_FORWARD\]")
    if "--start" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            for option in options(program):
                if option not in VALUES:
                    with report.check(option):
                        raise RuntimeError("an option that this test does not know")
                    continue
                if option == "smb" and not os.path.exists("/usr/sbin/smbd"):
                    report.info("smb and smbserver are left out: no /usr/sbin/smbd here")
                if option in ("smb", "smbserver") and not os.path.exists("/usr/sbin/smbd"):
                    continue
                value, shown = VALUES[option]
                network = ",".join(["user,id=n", *WITH.get(option, []), f"{option}={value}"]).replace("FOLDER", folder)
                run(report, program, option, network, shown)
    report.prefix = ""
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
