"""The running guest moves from one QEMU to another: the library's part of the saved state goes along.

The way leads over a QEMU on the installed upstream library and back, so that each reads what the other wrote.
"""

import contextlib
import os
import tempfile

from common import GATEWAY, MIB
from machine import Machine
from rig import library, payload, waiting
from rig.report import equal, truth

def move(source, target, address):
    """Move the guest, and wait until it runs at the other end."""
    source.execute("migrate", uri=f"unix:{address}")

    def over():
        state = source.execute("query-migrate").get("status")
        truth(state != "failed", "the migration failed")
        return state == "completed"

    waiting.until(over, 30, "the end of the migration")
    waiting.until(lambda: target.execute("query-status")["status"] == "running", 10, "the guest at the other end")


def check(report, machine, words, echo, chardev, tcp):
    """`words(folder)` starts the same machine; `echo(path)` serves its chardev, that `chardev` leads to."""
    installed = dict(library.environment())
    installed.pop("LD_LIBRARY_PATH", None)
    stops = [("to_the_installed_library", installed), ("back_again", library.environment())]
    if library.libdir() is None:
        stops = [("to_a_second_qemu", None)]
    with report.check("migration.open_connection"):
        # A connection of a guest forward to a chardev is the only kind that is saved.
        machine.command("mkfifo /tmp/say /tmp/hear; "
                        f"(nc {chardev} </tmp/say >/tmp/hear 2>/dev/null &) ; "
                        "(sleep 1000 >/tmp/say &) ; (sleep 1000 </tmp/hear &)")
        equal(say(machine, "before"), "before")
    with contextlib.ExitStack() as stack:
        for name, environment in stops:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-"))
            with report.check(f"migration.{name}"):
                os.mkdir(os.path.join(folder, "tftp"))
                address = os.path.join(folder, "incoming")
                target = Machine([*words(folder), "-incoming", f"unix:{address}"], folder, environment)
                stack.callback(target.close)
                path = library.mapped(target.process.pid)
                report.info(f"at the other end: {sorted(one[0] for one in path)}")
                echo(os.path.join(folder, "echo"))
                move(machine, target, address)
                machine = target
                equal(say(machine, name), name, "line through the connection that was open")
                machine.command(f"ping -c 1 -W 3 {GATEWAY}")
                machine.command(f"wget -q -O /tmp/small http://{GATEWAY}:{tcp.port}/{MIB}")
                equal(machine.command("sha256sum /tmp/small").split()[0], payload.digest(MIB), "SHA-256")
                continue
            break


def say(machine, line):
    """Send a line through the open connection and read one back."""
    return machine.command(f"echo {line} >/tmp/say; timeout 5 head -n 1 </tmp/hear", 15).strip()
