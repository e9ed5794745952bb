"""What the scenarios share: one QEMU with its first and last checks, `info usernet`, and clients of forwards."""

import contextlib
import os
import re
import socket
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from machine import Machine  # noqa: E402  (the path has to be set first)
from rig import library  # noqa: E402
from rig.report import Failure, equal, truth  # noqa: E402

GATEWAY = "10.0.2.2"
NAMESERVER = "10.0.2.3"
MIB = 1 << 20
HEADER = "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ"
ROW = re.compile(r"  (TCP|UDP|ICMP)\[([^]]*)\] *$")
FORWARD = re.compile(r"^  (TCP|UDP)\[HOST_FORWARD\] +\d+ +(\*|[\d.]+) +(\d+) +([\d.]+) +(\d+) +\d+ +\d+$")


def usernet(machine):
    """`info usernet` by columns: a list of (protocol, state, fd, source, port, destination, port, recvq, sendq)."""
    lines = machine.human("info usernet").rstrip("\n").split("\n")
    truth(re.fullmatch(r"Hub -1 \(net0\):", lines[0]), f"first line {lines[0]!r}")
    equal(lines[1], HEADER, "second line")
    rows = []
    for line in lines[2:]:
        tag = ROW.match(line[:19])
        cells = [line[20:23], line[24:39], line[40:45], line[46:61], line[62:67], line[68:73], line[74:79]]
        truth(tag and len(line) == 79 and all(line[gap] == " " for gap in (19, 23, 39, 45, 61, 67, 73)),
              f"columns of {line!r}")
        rows.append((tag.group(1), tag.group(2), *(cell.strip() for cell in cells)))
    return rows


def forwards(machine):
    """Host ports of the forwards: {(protocol, guest port): host port}, found as scripts do."""
    found = {}
    for line in machine.human("info usernet").split("\n"):
        match = FORWARD.match(line)
        if match:
            found[match.group(1).lower(), int(match.group(5))] = int(match.group(3))
    return found


def client(port):
    """Connect to a forward of the guest's TCP server: the stream and the address that the guest saw."""
    stream = socket.create_connection(("127.0.0.1", port), 10)
    stream.settimeout(10)
    return stream, stream.makefile("rb").readline().strip()


def udp_ask(port, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(3)
        one.connect(("127.0.0.1", port))
        for _ in range(3):
            one.send(data)
            try:
                return one.recv(65536)
            except TimeoutError:
                continue
    raise Failure("no answer through the UDP forward")


@contextlib.contextmanager
def scenario(report, words, before=None):
    """One QEMU. `words` may be a function of its folder, which `before` furnishes. What goes wrong outside a check is a failed check of its own."""
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        machine = None
        if before is not None:
            before(folder)
        try:
            with report.check("start.qemu"):
                machine = Machine(words(folder) if callable(words) else words, folder)
            if machine is None:
                yield None
                return
            with report.check("start.library_is_mapped"):
                report.info(f"library: {library.prove(machine.process.pid)}")
            yield machine
            with report.check("process.quits_cleanly"):
                equal(machine.quit(), 0, "exit status: " + machine.said())
        except Exception as error:  # a step outside any check
            with report.check("scenario"):
                raise error
        finally:
            if machine is not None:
                machine.close()
