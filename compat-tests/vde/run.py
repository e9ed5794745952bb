#!/usr/bin/env python3
"""Real programs over this library at the load that their users make. See README.md.

run.py [--only PATTERN] [--table] [--rounds N]

SLIRP_LIBDIR holds libslirp.so.0; unset, empty or "system" means the installed upstream library.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import programs  # noqa: E402  (the path has to be set first)
from rig import library, loads, names, outer, services, waiting  # noqa: E402
from rig.agent import Silent  # noqa: E402
from rig.report import Failure, Report, truth  # noqa: E402

MIB, KB, MB = 1 << 20, 1000, 1000 * 1000
# What has not ended after so many seconds is late in the table; a check fails only where nothing moves, or after as long as says the
# same on a machine that does something else as well.
LATE, LIMIT = 15, 90
# After so many loads that did not end, a program's others count as failed without being tried.
GIVE_UP = 3

# What the guest does over TCP, all at once: kind, size, number.
TCP = {
    "echo_4M_x1": [["echo", 4 * MIB, 1]],
    "echo_4M_x2": [["echo", 4 * MIB, 2]],
    "echo_4M_x4": [["echo", 4 * MIB, 4]],
    "echo_4M_x16": [["echo", 4 * MIB, 16]],
    "echo_10k_x50": [["echo", 10 * KB, 50]],
    "echo_10k_x100": [["echo", 10 * KB, 100]],
    "echo_10k_x400": [["echo", 10 * KB, 400]],
    "down_50M": [["down", 50 * MB, 1]],
    "up_50M": [["up", 50 * MB, 1]],
    "both_50M": [["down", 50 * MB, 1], ["up", 50 * MB, 1]],
}
FLOWS = {"flows": 64, "each": 30, "size": 1000, "queries": 1000}
# So many of those datagrams and queries may be sent again, where no queue in the middle loses any.
AGAIN = 290
# What programs that differ little from another get, and all over IPv6 but two; `--table` gives everything over IPv4.
FEW = ("echo_4M_x4", "echo_10k_x400", "both_50M", "datagrams", "mixed")


class Host:
    """Servers on the host's loopback, and its name server."""

    def __init__(self):
        table = loads.NumberedNames()
        self.tcp = {"v4": services.TcpService("127.0.0.1", backlog=1024)}
        self.udp = {"v4": services.UdpEcho("127.0.0.1")}
        self.names = [names.NameServer("127.0.0.1", table)]
        servers = ["127.0.0.1"]
        self.families = ["v4"]
        try:
            self.tcp["v6"] = services.TcpService("::1", loads.socket.AF_INET6, backlog=1024)
            self.udp["v6"] = services.UdpEcho("::1", loads.socket.AF_INET6)
            self.names.append(names.NameServer("::1", table))
            self.families.append("v6")
            servers.append("::1")
        except OSError:
            pass  # a host without IPv6 still runs the IPv4 checks
        outer.resolv_conf(servers)


class Hung(Failure):
    """A load did not end."""


class Bench:
    """One program with its guests, started again after a load that did not end."""

    def __init__(self, kind, host, binaries, limit):
        self.kind, self.host, self.binaries, self.limit = kind, host, binaries, limit
        self.program = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.program is not None:
            self.program.close()
            self.program = None

    def start(self):
        """Start the program unless it runs; each guest has reached the host before this returns."""
        if self.program is not None:
            return
        self.program = self.kind(self.binaries, library.environment())
        try:
            self.program.start()
            for family in self.kind.families:
                if family in self.host.families:
                    self._reach(family)
            self.program.prove()
        except BaseException:
            self.stop()
            raise

    def _reach(self, family):
        deadline = time.monotonic() + 10
        for agent in self.program.agents:
            while True:
                found = agent.ask("streams", host=self.router(family), port=self.host.tcp[family].port,
                                  jobs=[["down", 1, 1]], limit=1)
                if found["done"]:
                    break
                self.program.alive()
                truth(time.monotonic() < deadline, f"the guest does not reach the host over {family}: {found} {self.program.said()}")

    def router(self, family):
        return "10.0.2.2" if family == "v4" else self.kind.prefix6 + "2"

    def server(self, family):
        return "10.0.2.3" if family == "v4" else self.kind.prefix6 + "3"

    def _everywhere(self, operation, **words):
        """Ask every guest at once; one result of all of them."""
        found = [None] * len(self.program.agents)

        def one(number, agent):
            try:
                found[number] = agent.ask(operation, patience=self.limit + 10, **words)
            except Failure as error:
                found[number] = {"done": 0, "total": 1, "seconds": self.limit, "still": isinstance(error, Silent), "wrong": [str(error)]}

        workers = [threading.Thread(target=one, args=(number, agent)) for number, agent in enumerate(self.program.agents)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return merged(found)

    def _streams(self, family, jobs):
        return {"host": self.router(family), "port": self.host.tcp[family].port, "jobs": jobs, "limit": self.limit}

    def _datagrams(self, family):
        return {"host": self.router(family), "port": self.host.udp[family].port, "server": self.server(family), "limit": self.limit, **FLOWS}

    def _forwards(self, family):
        """Host clients come in over forwards while the guest downloads."""
        address, inside = ("127.0.0.1", "10.0.2.15") if family == "v4" else ("::1", self.kind.prefix6 + "15")
        agent = self.program.agents[0]
        for kind, port in (("tcp", programs.GUEST_TCP), ("udp", programs.GUEST_UDP)):
            if (family, kind) not in self.program.serving:
                agent.ask(f"serve_{kind}", address=inside, port=port)
                self.program.serving.add((family, kind))
        found = []
        workers = [
            threading.Thread(target=lambda: found.append(loads.streams(
                address, programs.HOST_TCP, [["echo", MIB, 8], ["echo", 10 * KB, 50], ["down", 8 * MIB, 1], ["up", 8 * MIB, 1]],
                self.limit))),
            threading.Thread(target=lambda: found.append(loads.datagrams(
                address, programs.HOST_UDP, 8, 50, 1000, address, 0, self.limit))),
        ]
        for worker in workers:
            worker.start()
        found.append(self._everywhere("streams", **self._streams(family, [["down", 20 * MB, 1]])))
        for worker in workers:
            worker.join()
        return merged(found)

    def load(self, family, name):
        """Run one load; its result."""
        if name in TCP:
            return self._everywhere("streams", **self._streams(family, TCP[name]))
        if name == "datagrams":
            return self._everywhere("datagram_streams", **self._datagrams(family))
        if name == "mixed":
            return self._everywhere("mixed", streams=self._streams(family, TCP["echo_4M_x4"]), datagrams=self._datagrams(family))
        if name == "services":
            return self._everywhere("streams", **self._streams(family, [
                ["cat", 256 * KB, 16, "10.0.2.100", 6000], ["cat", 256 * KB, 8, "10.0.2.101", 7], ["echo", MIB, 4]]))
        return self._forwards(family)


def merged(found):
    return {
        "done": sum(one["done"] for one in found), "total": sum(one["total"] for one in found),
        "seconds": max(one["seconds"] for one in found), "still": any(one["still"] for one in found),
        "repeats": sum(one.get("repeats", 0) for one in found), "wrong": [text for one in found for text in one["wrong"]],
    }


def loads_of(kind, family, table):
    """The names of the loads that a program gets."""
    few = kind.few and not table or family == "v6" and not kind.whole6
    chosen = list(kind.loads or (FEW if few else [*TCP, "datagrams", "mixed"]))
    return [*chosen, *(["forwards"] if family in kind.forwards else []), *(["services"] if kind.services and family == "v4" else [])]


def text_of(found):
    """A cell of the table."""
    if found["done"] == found["total"]:
        again = f" ({found['repeats']} again)" if found["repeats"] else ""
        return f"{found['seconds']:.2f} s{again}"
    if any("reset" in text for text in found["wrong"]) and not found["still"]:
        return f"**resets**: {found['done']} of {found['total']}"
    what = "stops" if found["still"] else "late" if found["seconds"] >= LATE else "wrong"
    return f"**{what}** at {found['done']} of {found['total']}"


def cell_of(found):
    """The same in a word, for the table."""
    if found["done"] == found["total"]:
        return f"{max(found['seconds'], 0.1):.1f}" + ("*" if found["repeats"] else "")
    word = text_of(found).split("**")[1]
    return "**stops**" if word == "stops" else word


def judge(bench, found, show):
    """Raise `Hung` unless all of the load was done and right; `show` prints who sleeps where."""
    if found["done"] == found["total"]:
        truth(bench.kind.drops or found["repeats"] <= AGAIN, f"{found['repeats']} datagrams had to be sent again")
        return
    if show:
        for line in bench.program.diagnosis():
            print(f"#   {line}", flush=True)
    try:
        if any("has ended" in text for text in found["wrong"]):
            # Its pipe is closed before it can be waited for.
            waiting.until(bench.program.ended, 5, "the end of the program")
        bench.program.alive()
    except Failure as ended:
        # That it has ended is what is wrong, and by what.
        raise Failure(f"{text_of(found)} in {found['seconds']:.1f} s; {ended}") from ended
    raise Hung(f"{text_of(found)} in {found['seconds']:.1f} s; {'; '.join(found['wrong'])}")


def check(report, host, binaries, kind, table):
    """All loads of one program."""
    hung, missing = 0, kind.cannot_run()
    with Bench(kind, host, binaries, LIMIT if table is None else LATE) as bench:
        for family in kind.families:
            if family not in host.families:
                report.info(f"no IPv6 on this host: {kind.name} without it")
                continue
            for name in loads_of(kind, family, table is not None):
                full = f"{kind.name}.{family}.{name}"
                if not report.wanted(full):
                    continue
                if missing is not None:
                    print(f"skip {report.prefix}{full} CANNOT RUN HERE: {missing}", flush=True)
                    continue
                with report.check(full, beyond=True):
                    if hung >= GIVE_UP and table is None:
                        raise Hung(f"not tried: {hung} loads before it did not end")
                    try:
                        bench.start()
                        found = bench.load(family, name)
                        if table is not None:
                            table[(kind.name, family, name)] = cell_of(found)
                        judge(bench, found, table is None or report.verbose)
                        bench.program.alive()
                        if found["seconds"] >= 0.5 or found["repeats"]:
                            report.info(f"{full}: {text_of(found)}")
                    except Exception as error:
                        hung += 1
                        if table is not None:
                            table.setdefault((kind.name, family, name), "fails")
                        bench.stop()
                        raise


def capi(report):
    """The checks of libvdeslirp's C API with hand-made frames, which have a program and a count of their own."""
    if not report.wanted("capi"):
        return
    done = subprocess.run([os.path.join(HERE, "capi.sh")], stdout=subprocess.PIPE, text=True, check=False)
    *lines, last = done.stdout.strip().split("\n")
    print("\n".join(lines), flush=True)
    count = re.fullmatch(r"(\d+) passed, (\d+) failed", last)
    report.passed += int(count.group(1)) if count else 0
    report.failed += int(count.group(2)) if count else 1


def print_table(table, kinds):
    """Loads × programs, in Markdown: seconds, with a star where datagrams were sent again, or what became of it."""
    columns = [kind for kind in kinds if any(key[0] == kind.name for key in table)]
    print()
    print("| load | " + " | ".join(f"`{kind.name}`" for kind in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for family in ("v4", "v6"):
        for name in [*TCP, "datagrams", "mixed", "forwards", "services"]:
            cells = [table.get((kind.name, family, name), "") for kind in columns]
            if any(cells):
                print(f"| `{name}` {family} | " + " | ".join(cells) + " |")
    print()


def build(folder):
    """The test's own programs, with the library under test; None or what failed."""
    libslirp = os.path.join(library.libdir(), "libslirp.so.0") if library.libdir() else None
    if libslirp is None:
        done = subprocess.run(["cc", "-print-file-name=libslirp.so.0"], stdout=subprocess.PIPE, text=True, check=True)
        libslirp = done.stdout.strip()
    flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-I", os.path.join(ROOT, "include")]
    for name, libraries in (
        ("tap_pump", []), ("framed_slirp", [libslirp, "-Wl,--allow-shlib-undefined"]), ("tap_vdeslirp", ["-lvdeslirp", "-pthread"]),
    ):
        done = subprocess.run(["cc", *flags, "-o", os.path.join(folder, name), os.path.join(HERE, name + ".c"), *libraries],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            return f"{name}: {done.stdout}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pattern: only checks whose name (PROGRAM.FAMILY.LOAD) it finds")
    parser.add_argument("--table", action="store_true", help="run every load of every program and print loads × programs")
    parser.add_argument("--rounds", type=int, default=1, help="run everything so many times")
    parser.add_argument("--limit", type=int, help="seconds for the whole run")
    chosen = parser.parse_args()
    if not os.environ.get(outer.MARK):
        programs.install()
    outer.enter(processes=True)
    report = Report(not library.is_ours(), chosen.only)
    report.watchdog(chosen.limit or (2400 if chosen.table else 600) * chosen.rounds)
    report.prefix = "vde."
    host = Host()
    table = {} if chosen.table else None
    with tempfile.TemporaryDirectory(prefix="rig-vde-") as binaries:
        with report.check("build"):
            problem = build(binaries)
            truth(problem is None, str(problem))
        if not chosen.table:
            capi(report)
        for _ in range(chosen.rounds):
            for kind in programs.EVERY:
                if report.upstream and kind.ours:
                    continue
                check(report, host, binaries, kind, table)
    if table:
        print_table(table, programs.EVERY)
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
