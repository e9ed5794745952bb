"""The table of ways around a policy (`../lib/bypass`) against the user network of an unmodified QEMU. There is no machine: QEMU's hub
joins the network with a tap in the namespace of a guest, so that it is tried whole, with the same agent as under slirp4netns."""

import array
import os
import socket
import subprocess
import sys
import tempfile

from bypass import suite, table, witness
from machine import QEMU
from rig import library, outer, services, waiting
from rig.agent import Agent
from rig.report import Failure, truth

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
# Makes the interface in the guest's namespace and hands its descriptor out over standard input.
TAP = """
import array, fcntl, os, socket, struct
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x1002))
out = socket.socket(fileno=0)
out.sendmsg([b"tap"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap]))])
"""


class Guest:
    """A namespace with the agent in it, behind a tap. `ask` is as that of slirp4netns' guest."""

    def __init__(self):
        flags = ["-r", "-n"] if outer.user_namespaces() else ["-n"]
        self.process = subprocess.Popen(["unshare", *flags, sys.executable, os.path.join(LIB, "guest_agent.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=waiting.die_with_parent)
        self._agent = Agent(self.process.stdin.fileno(), self.process.stdout.fileno())
        self._agent.ready(10)

    def ask(self, operation, **words):
        return self._agent.ask(operation, 60, **words)

    def command(self, *words):
        done = self.ask("run", words=list(words))
        truth(done["status"] == 0, f"{' '.join(words)}: {done['output'][-300:]}")

    def tap(self):
        """The descriptor of a new interface tap0 in it."""
        ours, theirs = socket.socketpair()
        enter = ["--user", "--preserve-credentials"] if outer.user_namespaces() else []
        with ours, theirs:
            subprocess.run(["nsenter", f"--target={self.process.pid}", *enter, "--net", sys.executable, "-c", TAP], stdin=theirs, check=True,
                           stderr=subprocess.PIPE, timeout=20)
            _, [(_, _, data)], _, _ = ours.recvmsg(10, socket.CMSG_SPACE(4))
        return array.array("i", data)[0]

    def close(self):
        self.process.stdin.close()
        waiting.end(self.process)
        self.process.stdout.close()


def start(guest, folder, ports, tap):
    """QEMU with the network; TFTP has a file and a guest forward a program, which no rule allows either."""
    with open(os.path.join(folder, "secret"), "wb") as file:
        file.write(witness.SECRET)
    config = os.path.join(folder, "policy.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(suite.POLICY)
    user = (f"user,id=net0,ipv6-prefix=fd00::,ipv6-prefixlen=64,ipv6-host=fd00::2,ipv6-dns=fd00::3,tftp={folder},"
            f"guestfwd=tcp:10.0.2.101:7-cmd:cat,hostfwd=tcp:127.0.0.1:{ports[6]}-{table.frames.GUEST}:{table.INSIDE_TCP},"
            f"hostfwd=udp:127.0.0.1:{ports[17]}-{table.frames.GUEST}:{table.INSIDE_UDP}")
    with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
        return subprocess.Popen(
            [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-accel", "tcg", "-netdev", user,
             "-netdev", "hubport,id=hub0,hubid=0,netdev=net0", "-netdev", f"tap,id=tap0,fd={tap}",
             "-netdev", "hubport,id=hub1,hubid=0,netdev=tap0"],
            env=dict(library.environment(), OXISLIRP_CONFIG=config), pass_fds=(tap,), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=waiting.die_with_parent)


def run(report):
    report.prefix = "qemu.bypasses."
    if not report.wanted("bypasses") or report.upstream:
        return
    ports = {6: services.free_port(), 17: services.free_port(socket.SOCK_DGRAM)}
    witness.everything_is_local("add")
    outer.resolv_conf([witness.RESOLVER])
    seen = witness.Witness(ports)
    guest = process = None
    try:
        with report.check("start"), tempfile.TemporaryDirectory(prefix="rig-") as folder:
            guest = Guest()
            tap = guest.tap()
            process = start(guest, folder, ports, tap)
            os.close(tap)
            for words in (("link", "set", "tap0", "up"), ("addr", "add", f"{table.frames.GUEST}/24", "dev", "tap0"),
                          ("route", "add", "default", "via", table.GATEWAY),
                          ("addr", "add", f"{table.frames.GUEST6}/64", "dev", "tap0", "nodad"),
                          ("-6", "route", "replace", "default", "via", table.GATEWAY6, "dev", "tap0")):
                guest.command("ip", *words)
            try:
                waiting.until(lambda: library.mapped(process.pid), 20, "QEMU to load the library")
                library.prove(process.pid)
                suite.check(report, guest, seen)
            except Failure as failure:
                with open(os.path.join(folder, "log"), encoding="utf-8") as log:
                    raise Failure(f"{failure}; QEMU: {log.read()[-300:]}") from None
    finally:
        if process is not None:
            waiting.end(process)
        if guest is not None:
            guest.close()
        seen.close()
        witness.everything_is_local("del")
        outer.resolv_conf(["127.0.0.53", "::1"])
