#!/usr/bin/env python3
"""The engine's examples in namespaces of their own. See README.md in this folder."""

import argparse
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(os.path.dirname(HERE), "lib")
sys.path.insert(0, LIB)

from rig import names, outer, payload, services, waiting  # noqa: E402  (the path has to be set first)
from rig.agent import Agent  # noqa: E402
from rig.report import Failure, Report, equal, truth  # noqa: E402

TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(HERE, "..", "..", "target")
EXAMPLES = os.path.join(TARGET, "debug", "examples")
AGENT = [sys.executable, os.path.join(LIB, "guest_agent.py")]
# A user without any privilege: not root, and no capability.
PLAIN = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "setpriv", "--no-new-privs"]
GATEWAY, NAMESERVER, GUEST = "10.0.2.2", "10.0.2.3", "10.0.2.15"
GATEWAY6, GUEST6 = "fec0::2", "fec0::15"
MIB = 1 << 20


def example(name):
    return os.path.join(EXAMPLES, name)


class Host:
    """The servers that all scenarios use."""

    def __init__(self):
        self.tcp = services.TcpService("0.0.0.0")
        self.tcp6 = services.TcpService("::1", socket.AF_INET6)
        self.udp = services.UdpEcho("127.0.0.1")
        self.udp6 = services.UdpEcho("::1", socket.AF_INET6)
        self.udp_outside = services.UdpEcho(outer.OUTSIDE)
        self.names = names.NameServer("127.0.0.53", {"name.test": ["192.0.2.1"]})
        outer.resolv_conf(["127.0.0.53"])


class Program:
    """The agent in a network of its own, started by `words`."""

    def __init__(self, words):
        self.process = subprocess.Popen([*words, *AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=waiting.die_with_parent)
        self.agent = Agent(self.process.stdin.fileno(), self.process.stdout.fileno())
        self.agent.ready(20)

    def ask(self, operation, **words):
        return self.agent.ask(operation, 90, **words)

    def command(self, *words):
        done = self.ask("run", words=list(words))
        truth(done["status"] == 0, f"{' '.join(words)}: status {done['status']}: {done['output'][-300:]}")
        return done["output"]

    def close(self):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        status = waiting.end(self.process)
        self.process.stdout.close()
        return status


class Attached:
    """`netns` with these arguments, from when it says that it is ready."""

    def __init__(self, arguments):
        self.process = subprocess.Popen([example("netns"), *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, preexec_fn=waiting.die_with_parent)
        waiting.readable(self.process.stdout, 20, "netns to be ready")
        line = self.process.stdout.readline()
        if line != b"ready\n":
            self.close()
            raise Failure(f"netns said {line!r}")

    def close(self):
        status = waiting.end(self.process)
        self.process.stdout.close()
        return status


def ping(guest, address):
    words = ["ping6"] if ":" in address else ["ping"]
    text = guest.command("busybox", *words, "-c", "2", "-i", "0.2", "-W", "3", address)
    found = re.search(r"(\d+) packets received", text)
    truth(found and int(found.group(1)) >= 1, text[-200:])


def check_tcp(report, guest, name, host, port, size):
    with report.check(f"{name}.download"):
        got = guest.ask("get", host=host, port=port, size=size)
        equal((got["size"], got["digest"]), (size, payload.digest(size)), "length and SHA-256")
        report.info(f"{report.prefix}{name}: to the guest at {size * 8e-9 / got['seconds']:.2f} Gbit/s")
    with report.check(f"{name}.upload"):
        got = guest.ask("put", host=host, port=port, size=size)
        equal(got["digest"], got["mine"], "SHA-256")
        report.info(f"{report.prefix}{name}: from the guest at {size * 8e-9 / got['seconds']:.2f} Gbit/s")


def check_network(report, guest, host, size):
    """What every namespace has."""
    for name, address in (("gateway", GATEWAY), ("outside", outer.OUTSIDE), ("gateway6", GATEWAY6)):
        with report.check(f"ping.{name}"):
            ping(guest, address)
    check_tcp(report, guest, "tcp", GATEWAY, host.tcp.port, size)
    check_tcp(report, guest, "tcp_outside", outer.OUTSIDE, host.tcp.port, MIB)
    check_tcp(report, guest, "tcp6", GATEWAY6, host.tcp6.port, size)
    for name, address, port in (("udp", GATEWAY, host.udp.port), ("udp6", GATEWAY6, host.udp6.port)):
        with report.check(name):
            equal(guest.ask("udp", host=address, port=port, sizes=[1, 1400, 4000]), [1, 1400, 4000])
    with report.check("dns"):
        equal(guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3)["addresses"], ["192.0.2.1"])
    with report.check("tcp.refused"):
        equal(guest.ask("refused", host=GATEWAY, port=services.free_port(), timeout=5)["errno"], 111)


@contextlib.contextmanager
def scenario(report, name, start):
    """What `start` gives, for checks with that name; that it starts is a check as well."""
    report.prefix = f"{name}."
    if not report.wanted(name):
        yield None
        return
    with contextlib.ExitStack() as stack:
        started = None
        with report.check("start"):
            started = start(stack)
        yield started


def opened(stack, one):
    stack.callback(one.close)
    return one


def check_tap(report, host):
    with scenario(report, "tap", lambda stack: opened(stack, Program([*PLAIN, example("tap")]))) as guest:
        if guest is None:
            return
        check_network(report, guest, host, 32 * MIB)
        with report.check("resolver_of_the_system"):
            text = guest.command("busybox", "nslookup", "-type=a", "name.test")
            truth("192.0.2.1" in text, text)
    if report.wanted("tap"):
        with report.check("no_privilege"):
            done = subprocess.run([*PLAIN, "grep", "CapEff", "/proc/self/status"], stdout=subprocess.PIPE, check=False)
            equal(int(done.stdout.split()[1], 16), 0, "capabilities")
        with report.check("status_of_the_program"):
            done = subprocess.run([*PLAIN, example("tap"), "sh", "-c", "exit 7"], timeout=20, check=False)
            equal(done.returncode, 7)
        with report.check("unknown_program"):
            done = subprocess.run([*PLAIN, example("tap"), "no-such-program"], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=20, check=False)
            truth(done.returncode != 0 and "no-such-program" in done.stderr, done.stderr)


def namespace(stack):
    """The agent in namespaces that nobody is joined to yet."""
    flags = ["-r", "-n"] if outer.user_namespaces() else ["-n"]
    return opened(stack, Program(["unshare", *flags]))


def one_exchange(port, words, kind=socket.SOCK_STREAM):
    """One question to a service behind a forward, and its answer."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(10)
        one.connect(("127.0.0.1", port))
        one.sendall(words)
        if kind == socket.SOCK_STREAM:
            one.shutdown(socket.SHUT_WR)
        return one.recv(65536)


def check_netns(report, host, device):
    ports = {"tcp": services.free_port(), "udp": services.free_port(socket.SOCK_DGRAM)}

    def start(stack):
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        opened(stack, services.RawEcho(f"{folder}/echo"))
        guest = namespace(stack)
        opened(stack, Attached([
            "--pid", str(guest.process.pid), "--ipv6", *device,
            "-L", f"127.0.0.1:{ports['tcp']}={GUEST}:8000", "-L", f"udp:127.0.0.1:{ports['udp']}={GUEST}:8001",
            "-R", f"10.0.2.10:7=unix:{folder}/echo", "-R", "10.0.2.11:7=exec:cat",
            "-R", f"10.0.2.12:7=tcp:127.0.0.1:{host.tcp.port}", "-R", f"10.0.2.12:8=tcp:127.0.0.1:{services.free_port()}",
        ]))
        return guest

    with scenario(report, "netns_tun" if device else "netns_tap", start) as guest:
        if guest is None:
            return
        check_network(report, guest, host, 32 * MIB)
        with report.check("local_forward.tcp"):
            guest.ask("serve_tcp", port=8000)
            equal(one_exchange(ports["tcp"], b"PEER\n").split()[0], GATEWAY.encode())
            truth(len(one_exchange(ports["tcp"], b"GET 1000\n")) == 1000, "not the whole answer")
        with report.check("local_forward.udp"):
            guest.ask("serve_udp", port=8001)
            equal(one_exchange(ports["udp"], b"some words", socket.SOCK_DGRAM), b"some words")
        for name, address in (("unix", "10.0.2.10"), ("command", "10.0.2.11")):
            with report.check(f"remote_forward.{name}"):
                text = guest.command("sh", "-c", f"echo there and back | busybox nc {address} 7 -w 3")
                equal(text, "there and back\n")
        check_tcp(report, guest, "remote_forward.tcp", "10.0.2.12", 7, 8 * MIB)
        with report.check("remote_forward.tcp_refused"):
            # The handshake is the stack's own: the end comes behind it.
            text = guest.command("sh", "-c", "echo nobody | busybox nc 10.0.2.12 8 -w 3; echo over")
            equal(text, "over\n")


def check_ranges(report, host):
    def start(stack):
        guest = namespace(stack)
        path = f"/proc/{guest.process.pid}/ns"
        # As `ip netns` makes them: a name in the file system.
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with open(f"{folder}/net", "w", encoding="ascii"):
            pass
        subprocess.run(["mount", "--bind", f"{path}/net", f"{folder}/net"], check=True)
        stack.callback(subprocess.run, ["umount", f"{folder}/net"], check=True)
        opened(stack, Attached([
            "--netns", f"{folder}/net", "--userns", f"{path}/user", "--ipv6",
            "--allow", "198.51.100.0/24", "--deny", f"{outer.OUTSIDE_SECOND}/32",
            # A part of the virtual network, and a range with all of it, which stays.
            "--deny", f"{NAMESERVER}/32", "--deny", "10.0.0.0/8", "--outbound", outer.OUTSIDE_SECOND,
        ]))
        return guest

    with scenario(report, "netns_path", start) as guest:
        if guest is None:
            return
        with report.check("gateway"):
            ping(guest, GATEWAY)
        with report.check("allowed"):
            got = guest.ask("get", host=outer.OUTSIDE, port=host.tcp.port, size=MIB)
            equal(got["digest"], payload.digest(MIB), "SHA-256")
        with report.check("source_kept.tcp"):
            equal(guest.ask("peer", host=outer.OUTSIDE, port=host.tcp.port)[0], outer.OUTSIDE_SECOND)
        with report.check("source_kept.udp"):
            equal(guest.ask("udp_peer", host=outer.OUTSIDE, port=host.udp_outside.port)[0], outer.OUTSIDE_SECOND)
        for name, address in (("denied", outer.OUTSIDE_SECOND), ("denied_inside", NAMESERVER), ("not_allowed", "203.0.113.1"),
                              ("not_allowed6", outer.OUTSIDE6)):
            with report.check(name):
                got = guest.ask("refused", host=address, port=host.tcp.port, timeout=1)
                equal(got["text"], "timed out")


def check_programs(report):
    """Those that check themselves."""
    for name in ("vmm", "own_loop", "task"):
        report.prefix = ""
        if not report.wanted(name):
            continue
        with report.check(name):
            done = subprocess.run([example(name)], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
            for line in done.stdout.splitlines():
                report.info(line)
            truth(done.returncode == 0 and done.stdout.endswith("Everything works.\n"), f"status {done.returncode}")


def check_complaints(report):
    """What cannot work ends with a message, and at once."""
    report.prefix = "netns."
    if not report.wanted("netns"):
        return
    for name, words in {
        "no_namespace": [], "no_such_process": ["--pid", "4194305"], "no_such_file": ["--netns", "/nowhere"],
        "no_such_option": ["--pid", "1", "--bogus"], "no_range": ["--pid", "1", "--deny", "10.0.0.0/33"],
        "no_forward": ["--pid", "1", "-L", "80"], "no_server": ["--pid", "1", "-R", "10.0.2.12:7=tcp:nowhere"],
        "no_guest": ["--pid", str(os.getpid()), "-L", "127.0.0.1:0=10.0.3.1:80"],
    }.items():
        with report.check(name):
            done = subprocess.run([example("netns"), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=20, check=False)
            truth(done.returncode == 1 and "Error" in done.stderr, f"status {done.returncode}: {done.stderr}")
            truth("panicked" not in done.stderr, done.stderr)
            if name in ("no_such_process", "no_such_file"):
                path = "/proc/4194305/ns/net" if name == "no_such_process" else "/nowhere"
                truth(path in done.stderr, f"the path is not named: {done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pattern: only scenarios whose name it finds")
    parser.add_argument("--limit", type=int, default=300, help="seconds for the whole run")
    chosen = parser.parse_args()
    outer.enter()
    report = Report(False, chosen.only)
    report.watchdog(chosen.limit)
    host = Host()
    check_tap(report, host)
    check_netns(report, host, [])
    check_netns(report, host, ["--tun", "--device", "tun0"])
    check_ranges(report, host)
    check_complaints(report)
    check_programs(report)
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
