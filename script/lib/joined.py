"""A guest namespace that slirp4netns or pasta joins to ours, and iperf3 between both, with the CPU time of the joint."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "compat-tests", "lib"))
sys.path.insert(0, os.path.join(ROOT, "compat-tests", "slirp4netns"))

from guest import Guest  # noqa: E402  (the path has to be set first)
from rig import library, waiting  # noqa: E402

PORT = 5201
LOOPBACK = "127.0.0.1"
# Words of iperf3, whose client is the guest; by way of a forward it is the host, and the guest's end the server.
LOADS = {
    "up": [], "down": ["--reverse"], "8 up": ["--parallel", "8"], "8 down": ["--parallel", "8", "--reverse"],
    "UDP up": ["--udp", "--bitrate", "0"], "forward down": [], "forward up": ["--reverse"],
}
DIRECTIONS = ("up", "down")
# Where the server of a forward listens in the guest, and the forward on the host.
GUEST_PORT, FORWARD_PORT = 5202, 5203
# pasta copies addresses and routes of an interface of the host; its gateway's address then means the host itself.
UPLINK, UPLINK_ADDRESS, UPLINK_GATEWAY = "uplink0", "192.0.2.10/24", "192.0.2.1"


def cpu_seconds(pid):
    """User and system time of all threads of a process."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_forward(load):
    """Whether the host is the client."""
    return load.startswith("forward")


def iperf(address, load, control, seconds, mtu):
    """Words of an iperf3 client; `control` is a congestion control or None for the system's default."""
    chosen = ["--congestion", control] if control else []
    if load.startswith("UDP"):
        # A datagram that fills a packet, as far as iperf3 makes them.
        chosen = ["--length", str(min(mtu or 65520, 65507 + 28) - 28)]
    where = [LOOPBACK, "--port", str(FORWARD_PORT)] if is_forward(load) else [address, "--port", str(PORT)]
    return ["iperf3", "--client", *where, "--time", str(seconds), "--json", *chosen, *LOADS[load]]


def figures(text):
    """Bits per second, octets that arrived and seconds."""
    report = json.loads(text[text.index("{"):])
    if "error" in report:
        raise RuntimeError(report["error"])
    end = report["end"].get("sum_received", {})
    if not end.get("bytes"):
        # Of datagrams older versions only say what was sent, and which part of it was lost.
        end = report["end"]["sum"]
        arrived = 1 - end.get("lost_percent", 0) / 100
        return end["bits_per_second"] * arrived, end["bytes"] * arrived, end["seconds"]
    return end["bits_per_second"], end["bytes"], end["seconds"]


def measured(command, words, pid=None):
    """Gbit/s, CPU seconds per GB of process `pid` and the share of the time in which it ran; `command` runs `words`."""
    for trial in range(10):
        before = cpu_seconds(pid) if pid else 0.0
        try:
            rate, octets, seconds = figures(command(*words))
            break
        except Exception as error:
            # The server takes a moment to end the test before, and another one, in which it does not listen, to begin anew.
            if trial == 9 or not any(word in str(error) for word in ("busy", "refused")):
                raise
            time.sleep(0.2)
    cpu = cpu_seconds(pid) - before if pid else None
    return {"rate": rate / 1e9, "cpu": cpu / (octets / 1e9) if pid and octets else None,
            "busy": cpu / seconds if pid else None}


class Slirp4netns:
    """A guest behind slirp4netns on the library in `folder` ("system": the installed one)."""

    address = "10.0.2.2"

    def __init__(self, folder, mtu):
        os.environ["SLIRP_LIBDIR"] = folder
        self._place = tempfile.TemporaryDirectory()
        self.guest = Guest(["--configure", f"--mtu={mtu}"], self._place.name)
        self.pid = self.guest.slirp.pid
        library.prove(self.pid)
        self._server = None

    def serve(self):
        """A server in the guest behind a forward."""
        if self._server is None:
            noted = os.path.join(self._place.name, "pid")
            self.guest.command("iperf3", "--server", "--daemon", "--port", str(GUEST_PORT), "--pidfile", noted)
            self.guest.forward("tcp", FORWARD_PORT, GUEST_PORT)
            waiting.until(lambda: os.path.exists(noted) and open(noted, encoding="ascii").read().strip("\0\n"), 5,
                          "the guest's iperf3")
            with open(noted, encoding="ascii") as file:
                self._server = int(file.read().strip("\0\n"))

    def close(self):
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._server, signal.SIGTERM)
        self.guest.close()
        self._place.cleanup()


class Pasta:
    """The same guest behind this pasta."""

    address = UPLINK_GATEWAY

    def __init__(self, program, mtu):
        self._place = tempfile.TemporaryDirectory()
        self.guest = Guest([], self._place.name, attach=False)
        self._pasta = subprocess.Popen(
            [program, "--foreground", "--config-net", "--ipv4-only", "--runas", "0", "--mtu", str(mtu),
             "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
             str(self.guest.agent.pid)],
            stdin=subprocess.DEVNULL, stdout=self.guest.log, stderr=self.guest.log,
            preexec_fn=waiting.die_with_parent)
        self.pid = self._pasta.pid
        try:
            waiting.until(lambda: f"default via {UPLINK_GATEWAY}" in self.guest.command("ip", "route"), 5,
                          "pasta's route")
        except Exception as error:
            said = self.guest.said()
            self.close()
            raise RuntimeError(f"{error}: {said}") from error

    def close(self):
        waiting.end(self._pasta)
        self.guest.close()
        self._place.cleanup()


class Loopback:
    """No guest at all: both ends in the host's namespace."""

    address, pid = "127.0.0.1", None

    def close(self):
        pass


def runner(way, load, seconds):
    """What runs a program's words at the client's end of this way, and returns what it said; None where there is no such way."""
    if is_forward(load):
        if not isinstance(way, Slirp4netns):
            return None
        way.serve()
    if isinstance(way, Loopback) or is_forward(load):
        return lambda *words: subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True).stdout
    return lambda *words: way.guest.command(*words, seconds=seconds + 30)


def span(values):
    """Median (least–most) of what there is."""
    values = [one for one in values if one is not None]
    if not values:
        return "–"
    digits = 3 if statistics.median(values) < 1 else 2
    middle, least, most = (f"{one:.{digits}f}" for one in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least}–{most})"
