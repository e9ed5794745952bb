"""What the guest's kernel says of its connections (`ss -tino`) while they carry data: window scaling, selective
acknowledgments and timestamps are in use, in connections that the guest opens and in those that come through a forward."""

import os
import re
import socket
import sys

LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")
sys.path.insert(0, LIB)

from rig import payload, services  # noqa: E402  (the path has to be set first)
from rig.report import equal, truth  # noqa: E402

MIB = 1 << 20
# At three quarters of an upload as much as the kernel keeps to send, at most 4 MiB, has not gone yet.
SIZE = 16 * MIB


def seen(report, text):
    """Look at what `ss` printed of one connection."""
    lines = [line for line in text.split("\n") if "cubic" in line or "wscale" in line or "mss:" in line]
    truth(len(lines) == 1, f"ss shows {len(lines)} connections: {text[-400:]}")
    line = " ".join(lines[0].split())
    report.info(line[:300])
    words = line.split()
    scale = re.search(r"\bwscale:(\d+),(\d+)", line)
    truth(scale, "no window scaling")
    # The first is what the other end, the library, scales its windows by.
    truth(int(scale.group(1)) > 0, "the library's windows are not scaled")
    truth("sack" in words, "no selective acknowledgments")
    truth("ts" in words, "no timestamps")
    return line


def check(report, guest, host, gateway):
    for word, name in (("GET", "download"), ("PUT", "upload")):
        with report.check(f"kernel.options_in_use_{name}", beyond=True):
            got = guest.ask("inside", host=gateway, port=host.tcp.port, word=word, size=SIZE)
            line = seen(report, got["ss"])
            equal(got["digest"], payload.digest(SIZE), "SHA-256")
            counter = "bytes_received" if word == "GET" else "bytes_acked"
            found = re.search(rf"{counter}:(\d+)", line)
            truth(found and int(found.group(1)) >= MIB, f"not in a transfer: {line}")
    with report.check("kernel.options_in_use_forward", beyond=True):
        port, inside = services.free_port(), guest.ask("serve_tcp")
        number = guest.forward("tcp", port, inside)
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as stream:
                stream.settimeout(30)
                stream.sendall(b"ECHO\n")
                for _ in range(16):
                    block = payload.data(64 << 10)
                    stream.sendall(block)
                    echoed = b""
                    while len(echoed) < len(block):
                        piece = stream.recv(len(block) - len(echoed))
                        truth(piece, "the stream ended")
                        echoed += piece
                    equal(echoed, block, "what came back")
                line = seen(report, guest.command("ss", "-tinoH", "state", "established", "sport", "=", f":{inside}"))
                found = re.search(r"bytes_received:(\d+)", line)
                truth(found and int(found.group(1)) >= MIB, f"not in a transfer: {line}")
        finally:
            guest.request("remove_hostfwd", id=number)
