"""A running QEMU with the test guest in it: its monitor, and a shell in the guest over a serial port."""

import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from rig import library, waiting  # noqa: E402  (the path has to be set first)
from rig.report import Failure  # noqa: E402

QEMU = "qemu-system-x86_64"


FORWARDS = "hostfwd=tcp:127.0.0.1:0-:80,hostfwd=tcp:127.0.0.1:0-:2000,hostfwd=udp:127.0.0.1:0-:2001"


def boot_words(accelerator, kernel, initramfs, card, netdev=FORWARDS):
    """The words that boot the test guest with one network card on the user network `net0`."""
    return ["-accel", accelerator, "-m", "384", "-kernel", kernel, "-initrd", initramfs,
            "-append", f"console=ttyS0 quiet panic=-1 rig.nic={card}",
            "-serial", "chardev:console", "-serial", "chardev:shell",
            "-netdev", f"user,id=net0,{netdev}", "-device", f"{card},netdev=net0,mac=52:54:00:12:34:56,romfile="]


class Ended(Exception):
    """QEMU ended while something still waited for it."""


class Line:
    """A stream of text lines over a Unix socket, with a deadline for every read."""

    def __init__(self, path, process):
        self._socket = socket.socket(socket.AF_UNIX)
        self._rest = b""

        def connected():
            if process.poll() is not None:
                raise Ended("QEMU ended")
            self._socket.connect(path)
            return True

        try:
            waiting.until(connected, 15, f"socket {os.path.basename(path)}")
        except Ended as ended:
            raise Failure(str(ended)) from None

    def send(self, text):
        self._socket.settimeout(10)
        self._socket.sendall(text.encode() + b"\n")

    def read(self, seconds):
        """The next line without its end."""
        self._socket.settimeout(seconds)
        while b"\n" not in self._rest:
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                raise Failure(f"no line within {seconds} s, only {self._rest[-200:]!r}") from None
            if not piece:
                raise Failure("the stream ended")
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("utf-8", "replace").rstrip("\r")

    def close(self):
        self._socket.close()


class Machine:
    """QEMU with the given extra words. `folder` takes its sockets and logs. `environment` chooses the library."""

    def __init__(self, words, folder, environment=None):
        self.folder = folder
        self.log = open(os.path.join(folder, "qemu.log"), "w+", encoding="utf-8")
        monitor, shell = os.path.join(folder, "qmp"), os.path.join(folder, "shell")
        self.shell = self.monitor = None
        self._stuck = False
        self.process = subprocess.Popen(
            [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-qmp", f"unix:{monitor},server=on,wait=off",
             "-chardev", f"file,id=console,path={os.path.join(folder, 'console')}",
             "-chardev", f"socket,id=shell,path={shell},server=on,wait=off", *words],
            env=environment or library.environment(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=waiting.die_with_parent)
        try:
            self.monitor = Line(monitor, self.process)
            self.monitor.read(10)  # the greeting
            self.execute("qmp_capabilities")
            self.shell = Line(shell, self.process)
        except Failure as failure:
            self.close()
            raise Failure(f"{failure}: {self.said()}") from None

    def said(self):
        """The last words of QEMU and of the guest's console."""
        self.log.flush()
        self.log.seek(0)
        text = self.log.read()[-500:]
        console = os.path.join(self.folder, "console")
        if os.path.exists(console):
            with open(console, encoding="utf-8", errors="replace") as file:
                text += " console: " + file.read()[-500:]
        return text

    def execute(self, command, **arguments):
        """One QMP command; its return value."""
        self.monitor.send(json.dumps({"execute": command, "arguments": arguments}))
        while True:
            answer = json.loads(self.monitor.read(30))
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Failure(f"{command}: {answer['error']['desc']}")

    def human(self, line):
        """One line for the human monitor; what it prints."""
        return self.execute("human-monitor-command", **{"command-line": line}).replace("\r\n", "\n")

    def wait_up(self, seconds):
        """Wait until the guest is up; its uptime in seconds."""
        while True:
            line = self.shell.read(seconds)
            if line.startswith("@@up"):
                return float(line.split()[1])

    def run(self, line, seconds=60):
        """Let the guest's shell run a line: its status and its output. A shell that once hung stays given up."""
        if self._stuck:
            raise Failure("the guest's shell did not answer before")
        output = []
        try:
            got = self._ask(line, seconds)
            while not got.startswith("@@end "):
                output.append(got)
                got = self.shell.read(seconds)
            return int(got.split()[1]), "\n".join(output)
        except Failure:
            self._stuck = True
            raise

    def _ask(self, line, seconds):
        """Send a line until the guest has it whole: the emulated serial port may lose some. The answer's first line."""
        for _ in range(3):
            self.shell.send(f"{len(line.encode())} {line}")
            got = self.shell.read(seconds)
            if got != "@@mangled":
                return got
        raise Failure(f"the serial port lost a part of {line!r} three times")

    def command(self, line, seconds=60):
        """As `run`, but a failure of the line is a failure of the check."""
        status, output = self.run(line, seconds)
        if status != 0:
            raise Failure(f"guest: {line}: status {status}: {output[-300:]}")
        return output

    def quit(self):
        """End QEMU through its monitor; its exit status."""
        self.monitor.send(json.dumps({"execute": "quit"}))
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            raise Failure("QEMU did not end at quit") from None

    def close(self):
        for line in (self.shell, self.monitor):
            if line is not None:
                line.close()
        waiting.end(self.process)


def acceleration(kernel, initramfs, say=print):
    """`kvm` when a kernel really boots with it, else `tcg`. The variable RIG_ACCEL decides instead if it is set."""
    wanted = os.environ.get("RIG_ACCEL")
    if wanted:
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        try:
            machine = Machine(boot_words("kvm", kernel, initramfs, "e1000"), folder)
        except Failure:
            return "tcg"
        try:
            machine.wait_up(8)
            return "kvm"
        except Failure:
            say("/dev/kvm exists but boots no kernel, falling back to tcg")
            return "tcg"
        finally:
            machine.close()
