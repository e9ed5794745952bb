"""What an unmodified slirp4netns writes down under a file of OXISLIRP_CONFIG, in its sandbox: docs/capture.md. Wireshark's `tshark`
is asked what it reads."""

import json
import os
import subprocess
import tempfile

from guest import Guest
from rig import payload, waiting
from rig.report import equal, truth

GATEWAY = "10.0.2.2"
MIB = 1 << 20
SIZE = 16 * MIB

FILE = """
[capture]
file = "{folder}/frames-%i.pcapng"
max-bytes = 4194304
files = 3

[log]
file = "{folder}/flows-%i.jsonl"
"""

# One connection by its port, and what stands beside its first frame.
FILTERED = """
[capture]
file = "{folder}/some.pcapng"
files = 1
protocol = "tcp"
remote = "10.0.2.2"
remote-port = {port}

[policy]
rule = [
    {{ action = "deny", host-port = 1 }},
    {{ action = "allow", protocol = "tcp", host-port = {port} }},
]
"""


def tshark(path, *words):
    """The lines that it prints of a capture; it must not complain."""
    done = subprocess.run(["tshark", "-n", "-r", path, *words], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    equal((done.returncode, said), (0, []), "what tshark says")
    return done.stdout.splitlines()


def check(report, options, host):
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        path = os.path.join(folder, "config.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(FILE.format(folder=folder))
        guest = None
        with report.check("start.ready"):
            guest = Guest(options, folder, attach=False)
            guest.config = path
            guest.start(options)
        if guest is None:
            return
        with report.check("transfer"):
            got = guest.ask("get", host=GATEWAY, port=host.tcp.port, size=SIZE)
            equal(got["digest"], payload.digest(SIZE), "SHA-256")
        with report.check("log"):
            # It is in its file while slirp4netns runs: that one ends without a word to the library.
            def ended():
                with open(os.path.join(folder, "flows-1.jsonl"), encoding="utf-8") as file:
                    lines = [json.loads(line) for line in file]
                remote = f"{GATEWAY}:{host.tcp.port}"
                return [line for line in lines if line["event"] == "ended" and line["remote"] == remote]
            lines = waiting.until(ended, 70, "the end of the connection in the log")
            equal(lines[0]["host"], f"127.0.0.1:{host.tcp.port}")
            truth(lines[0]["to_guest"] >= SIZE, lines)
        guest.close()
        with report.check("goes_round_in_the_sandbox"):
            names = sorted(name for name in os.listdir(folder) if name.startswith("frames"))
            equal(names, ["frames-1.pcapng", "frames-1.pcapng.1", "frames-1.pcapng.2"])
            sizes = [os.path.getsize(os.path.join(folder, name)) for name in names]
            # What came through is more than all of them hold.
            truth(max(sizes) <= 4 * MIB and sum(sizes) > 8 * MIB, sizes)
        with report.check("tshark"):
            ways = set()
            for name in names:
                lines = tshark(os.path.join(folder, name), "-T", "fields", "-e", "frame.packet_flags_direction",
                               "-e", "frame.protocols", "-e", "_ws.malformed")
                truth(len(lines) > 100, f"{name}: {len(lines)} frames")
                for line in lines:
                    way, protocols, malformed = line.split("\t")
                    ways.add(way)
                    truth(not malformed and protocols.startswith("eth:"), line)
            truth(len(ways) == 2, ways)
    filtered(report, options, host)


def filtered(report, options, host):
    """A capture with a filter, which has its comment."""
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        path = os.path.join(folder, "config.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(FILTERED.format(folder=folder, port=host.tcp.port))
        with report.check("filtered"):
            guest = Guest(options, folder, attach=False)
            guest.config = path
            guest.start(options)
            got = guest.ask("get", host=GATEWAY, port=host.tcp.port, size=MIB)
            equal(got["digest"], payload.digest(MIB), "SHA-256")
            some = os.path.join(folder, "some.pcapng")
            # What waits is written after 250 ms.
            waiting.until(lambda: os.path.getsize(some) > MIB, 10, "the frames in the capture")
            guest.close()
            lines = tshark(some, "-T", "fields", "-e", "tcp.port", "-e", "frame.comment")
            truth(len(lines) > 100, len(lines))
            ports = [line.split("\t")[0].split(",") for line in lines]
            truth(all(str(host.tcp.port) in pair for pair in ports), "another port is there")
            comments = [line.split("\t")[1] for line in lines]
            truth(comments[0].startswith("flow ") and comments[0].endswith(", rule 2"), comments[0])
            equal([comment for comment in comments[1:] if comment], [], "comments of other frames")
