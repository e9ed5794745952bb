"""One run of the application with the habits of one row, and the loads that it bears."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "slirp4netns"))

from guest import Guest  # noqa: E402  (the path has to be set first)
from rig import payload, services, waiting  # noqa: E402
from rig.report import Failure, equal, truth  # noqa: E402

MIB = 1 << 20
STREAMS, STREAM = 4, 4 * MIB
FORWARDED = MIB // 4
DATAGRAMS, DATAGRAM, QUERIES = 1000, 1400, 20
# Datagrams that do not end before the cleanup comes.
MANY = 100000
NAME, ADDRESS = "name.test", "192.0.2.1"
# Seconds for each load. Whatever takes longer stands still, or might as well.
LIMIT = 20
# Seconds for a step of a load of which there is little to do.
SOON = 5
# The clock goes forward by more than the longest interval between router advertisements.
ADVERTISEMENT = 700


class Stuck(Failure):
    """A load that did not end: the guest cannot be asked for anything more."""


class Service(services.TcpService):
    """The TCP service of the host, which knows how many of its connections live."""

    def __init__(self, *arguments):
        self.alive = 0
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def _one(self, connection, peer):
        with self._lock:
            self.alive += 1
        try:
            super()._one(connection, peer)
        finally:
            with self._lock:
                self.alive -= 1


class Host:
    """What the guest talks to, over both families."""

    def __init__(self):
        self.tcp = {4: Service("127.0.0.1"), 6: Service("::1", socket.AF_INET6)}
        self.udp = {4: services.UdpEcho("127.0.0.1"), 6: services.UdpEcho("::1", socket.AF_INET6)}


class Row:
    """A line of `habits --list`."""

    def __init__(self, line):
        self.name, self.kind, families, self.timers, mtu, self.loads, direct, self.text = line.split("\t")
        self.families, self.mtu, self.direct = [int(one) for one in families], int(mtu), bool(direct)


class Application:
    """The C program with one row's habits."""

    def __init__(self, program, row, library, guest, forwards, direct):
        env = dict(os.environ)
        env.pop("LD_PRELOAD", None)
        env.pop("OXISLIRP_POLL", None)
        preload = os.path.join(os.path.dirname(library), "preload.so")
        if os.path.exists(preload):
            env["LD_PRELOAD"] = preload
        if direct:
            env["OXISLIRP_POLL"] = "direct"
        self.violations, self.remarks = [], []
        self._starved = 0.0
        self._lines = queue.Queue()
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [*program, row.name, library, str(guest), *forwards], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, env=env, preexec_fn=waiting.die_with_parent)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "violation":
                self.violations.append(rest)
            elif word == "remark":
                self.remarks.append(rest)
            else:
                self._lines.put(line.strip())
        self._lines.put(None)

    def ending(self):
        """How the program has ended badly, or "" when it has not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.1)
        if self.process.poll() is None:
            return ""
        code = self.process.returncode
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        self._errors.seek(0)
        return f"ended with status {code} {self._errors.read()[-300:].strip()}" if code else ""

    def clock(self):
        """Seconds, without those in which the application waited for a processor: what a busy machine takes from it is no
        reason to call it stuck."""
        starved = waiting.starved(self.process.pid)
        self._starved = max(starved, self._starved)
        return time.monotonic() - self._starved

    def receive(self, stream, size, seconds):
        """What comes first from a socket of the host, within so many seconds of the application's clock."""
        deadline = self.clock() + seconds
        while True:
            stream.settimeout(max(0.1, deadline - self.clock()))
            try:
                return stream.recv(size)
            except TimeoutError:
                if self.clock() >= deadline:
                    raise

    def hear(self, word, seconds=None):
        """Wait for a line that begins with this word."""
        deadline = self.clock() + (LIMIT if seconds is None else seconds)
        while True:
            try:
                line = self._lines.get(timeout=max(0.1, deadline - self.clock()))
            except queue.Empty:
                if self.clock() < deadline:
                    continue
                where = "" if word == "status" else self.where()
                raise Stuck(f"no word of \"{word}\" {where}".strip()) from None
            if line is None:
                self.process.wait()
                raise Stuck(self.ending() or "the program ended")
            if line.startswith("failed "):
                raise Stuck(line)
            if line.startswith(word):
                return line

    def tell(self, words):
        try:
            self.process.stdin.write(words + "\n")
            self.process.stdin.flush()
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            raise Stuck(self.ending() or "the application does not listen") from None

    def where(self):
        """Whether it is inside send_packet."""
        try:
            self.tell("status")
            return "(inside send_packet)" if "inside" in self.hear("status", 1) else ""
        except Stuck as error:
            return f"({error})"

    def close(self):
        """End it the regular way."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            waiting.end(self.process, 0.5)
        self.process.stdout.close()
        self._errors.close()


class Run:
    """The loads, in order. `results` gets "" or what went wrong for each."""

    def __init__(self, program, row, library, host, direct=False):
        self.program, self.row, self.library, self.host, self.direct = program, row, library, host, direct
        self.results, self.seconds = {}, {}
        self.violations, self.remarks = [], []
        self.stuck, self.longest = False, 0

    def outcome(self):
        """What there is to tell of it, for another process."""
        return {name: getattr(self, name) for name in ("results", "seconds", "violations", "remarks", "longest")}

    def load(self, name, work, *arguments):
        """Do one load; after one that never ended there are no others."""
        if self.stuck:
            self.results[name] = "not tried"
            return
        started = time.monotonic()
        try:
            work(*arguments)
            self.results[name] = ""
        except Stuck as error:
            self.results[name] = str(error)
            self.stuck = True
        except Exception as error:  # every failure is a result
            ending = "" if self.app is None else self.app.ending()
            self.results[name] = ending or str(error) or type(error).__name__
            self.stuck = bool(ending)
        self.seconds[name] = time.monotonic() - started

    def ask(self, operation, **arguments):
        """Have the guest do something within the limit."""
        try:
            return self.guest.ask(operation, within=LIMIT, **arguments)
        except Failure as error:
            if "waited" in str(error) or "ended" in str(error):
                ending = self.app.ending()
                raise Stuck(ending or f"stands still {self.app.where()}".strip()) from None
            raise

    def all(self):
        """Everything; an exception here means that the test itself could not be set up."""
        with tempfile.TemporaryDirectory(prefix="rig-") as folder:
            self.guest = Guest([], folder, attach=False)
            self.app = None
            try:
                self.ports = [("t", services.free_port(), self.guest.ask("serve_tcp")),
                              ("u", services.free_port(socket.SOCK_DGRAM), self.guest.ask("serve_udp"))]
                if 6 in self.row.families:
                    self.ports.append(("6", services.free_port(), self.guest.ask("serve_tcp", address="::")))
                self.guest.command("sh", "-c", "cd /proc/sys/net/ipv6/conf/default && echo 0 >accept_dad && "
                                   "echo 0 >router_solicitations")
                self.app = Application(self.program, self.row, self.library, self.guest.agent.pid,
                                       [f"{kind}:{ours}:{theirs}" for kind, ours, theirs in self.ports], self.direct)
                self.loads()
            finally:
                if self.app is not None:
                    self.app.close()
                    self.violations, self.remarks = self.app.violations, self.app.remarks
                waiting.end(self.guest.agent, 0.5) if self.stuck else None
                self.guest.close()

    def loads(self):
        row = self.row
        if row.loads == "new":
            self.load("new", self.app.hear, "cleaned")
            return
        self.load("start", self.start)
        if row.loads == "mute":
            self.load("cleanup", self.cleanup_alone)
            return
        if row.timers != "never":
            self.load("timer", self.timer)
        for family in row.families:
            gateway, server = ("10.0.2.2", "10.0.2.3") if family == 4 else ("fec0::2", "fec0::3")
            end = "" if family == 4 else " IPv6"
            self.load("DNS" + end, self.names, server)
            self.load("UDP" + end, self.datagrams, gateway, self.host.udp[family].port)
            self.load("refusal" + end, self.refused, gateway)
            self.load("forward" + end, self.forward, family)
            port = self.host.tcp[family].port
            self.load("down" + end, self.streams, "get", gateway, port)
            self.load("up" + end, self.streams, "put", gateway, port)
            self.load("echo" + end, self.echoes, gateway, port)
        self.load("cleanup", self.cleanup)

    def start(self):
        self.app.hear("ready")
        self.guest.command(
            "sh", "-c", f"ip link set tap0 mtu {self.row.mtu} up && ip addr add 10.0.2.15/24 dev tap0 && "
            "ip route add default via 10.0.2.2 && ip -6 addr add fec0::15/64 dev tap0 nodad")
        self.app.tell("forward")
        self.app.hear("forwarded")

    def advertisements(self):
        text = self.guest.ask("read", path="/proc/net/snmp6")
        return next(int(line.split()[1]) for line in text.splitlines() if "InRouterAdvertisements" in line)

    def timer(self):
        """The timer fires when its time has come, and again unless the application forgets that."""
        for _ in range(1 if self.row.timers == "once" else 2):
            seen = self.advertisements()
            self.app.tell(f"clock {ADVERTISEMENT}")
            self.app.hear("clock")
            waiting.until(lambda: self.advertisements() > seen, SOON, "a router advertisement", 0.01, self.app.clock)

    def names(self, server):
        found = self.ask("parallel", each="resolve", count=QUERIES, server=server, name=NAME, tries=4, timeout=1)
        right = sum(one.get("addresses") == [ADDRESS] for one in found)
        truth(right == QUERIES, f"{right} of {QUERIES} answered")
        equal(self.ask("resolve", server=server, name=NAME, over="tcp")["addresses"], [ADDRESS], "over TCP")

    def datagrams(self, gateway, port):
        found = self.ask("datagrams", host=gateway, port=port, number=DATAGRAMS, largest=DATAGRAM)
        truth(found["back"] == DATAGRAMS, f"{found['back']} of {DATAGRAMS} came back")
        if self.row.loads == "all" and found["again"]:
            raise Failure(f"{found['again']} of {DATAGRAMS} were lost")

    def refused(self, gateway):
        found = self.ask("refused", host=gateway, port=1, timeout=SOON)
        truth(found["errno"] == 111, f"no refusal: {found['text']}")

    def streams(self, operation, gateway, port):
        found = self.ask("parallel", each=operation, count=STREAMS, host=gateway, port=port, size=STREAM)
        wanted = payload.digest(STREAM)
        right = sum(one.get("digest") == wanted for one in found)
        truth(right == STREAMS, f"{right} of {STREAMS} right")

    def echoes(self, gateway, port):
        right = self.ask("many", host=gateway, port=port, count=STREAMS, size=STREAM)
        equal(right, STREAMS, "right ones")

    def forward(self, family):
        """Both directions of a stream, and datagrams, from the host to the guest."""
        wanted = payload.digest(FORWARDED)
        for kind, ours, _ in self.ports:
            if (kind == "6") != (family == 6):
                continue
            if kind == "u":
                sent, back = services.echo_digests("127.0.0.1", ours, [1, 100, 1400])
                equal(back, sent, "datagrams")
                continue
            where = ("::1" if family == 6 else "127.0.0.1", ours)
            try:
                with socket.create_connection(where, SOON) as stream:
                    stream.settimeout(LIMIT)
                    stream.sendall(b"GET %d\n" % FORWARDED)
                    truth(services.read_digest(stream)[0] == wanted, "other bytes from the guest")
                with socket.create_connection(where, SOON) as stream:
                    stream.settimeout(LIMIT)
                    stream.sendall(b"PUT\n")
                    for block in payload.blocks(FORWARDED):
                        stream.sendall(block)
                    stream.shutdown(socket.SHUT_WR)
                    truth(stream.makefile().readline().strip() == wanted, "other bytes to the guest")
            except TimeoutError:
                raise Stuck(self.app.ending() or f"stands still {self.app.where()}".strip()) from None

    def cleanup(self):
        """Cleanup among live connections: every one of them ends, and nothing is left."""
        tcp = self.host.tcp[4]
        waiting.until(lambda: tcp.alive == 0, SOON, "the connections of the other loads to end", 0.01, self.app.clock)
        arguments = {"host": "10.0.2.2", "port": tcp.port, "size": 4096 * MIB}
        self.ask("start", each="get", count=4, **arguments)
        self.ask("start", each="put", count=2, **arguments)
        echo = self.host.udp[4]
        before = echo.served
        self.ask("start", each="datagrams", count=1, host="10.0.2.2", port=echo.port, number=MANY)
        waiting.until(lambda: tcp.alive == 6 and echo.served > before, SOON, "connections and datagrams to clean up", 0.01,
                      self.app.clock)
        _, ours, _ = self.ports[0]
        with socket.create_connection(("127.0.0.1", ours), SOON) as stream:
            stream.sendall(b"GET %d\n" % (4096 * MIB))
            try:
                truth(self.app.receive(stream, 1, SOON), "no byte through the forward")
            except TimeoutError:
                raise Failure("the forward's client waits for its first byte") from None
            self.app.tell("cleanup")
            self.longest = int(self.app.hear("cleaned", 2 * SOON).rpartition("=")[2])
            stream.settimeout(SOON)
            try:
                with contextlib.suppress(ConnectionResetError):
                    while stream.recv(MIB):
                        pass
            except TimeoutError:
                raise Failure("the forward's client sees no end after the cleanup") from None
        waiting.until(lambda: tcp.alive == 0, SOON, "the host to see its connections end", 0.01)
        self.ends()

    def cleanup_alone(self):
        """Of an instance that says nothing: the guest sends, a client of a forward waits."""
        self.guest.command("ip", "neigh", "replace", "10.0.2.2", "lladdr", "52:55:0a:00:02:02", "dev", "tap0")
        self.ask("start", each="get", count=2, host="10.0.2.2", port=self.host.tcp[4].port, size=1)
        self.ask("start", each="datagrams", count=4, host="10.0.2.2", port=self.host.udp[4].port, number=MANY)
        _, ours, _ = self.ports[0]
        with socket.create_connection(("127.0.0.1", ours), SOON) as stream:
            stream.settimeout(SOON)
            time.sleep(0.3)  # nothing tells that something has happened
            self.app.tell("cleanup")
            self.app.hear("cleaned", 2 * SOON)
            with contextlib.suppress(ConnectionResetError):
                equal(stream.recv(1), b"", "an end")
        self.ends()

    def ends(self):
        self.app.process.stdin.close()
        self.app.process.wait(SOON)
        truth(self.app.process.returncode == 0, self.app.ending())
