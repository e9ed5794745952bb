#!/usr/bin/env python3
"""Debian's unmodified slirp4netns on the library under test. See README.md in this folder."""

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(os.path.dirname(HERE), "lib")
sys.path.insert(0, LIB)

import bypasses  # noqa: E402  (the path has to be set first)
import capture  # noqa: E402
import control  # noqa: E402
import ipv6  # noqa: E402
import kernel  # noqa: E402
import policy  # noqa: E402
import proxies  # noqa: E402
from guest import Guest  # noqa: E402
from rig import library, names, outer, payload, services, waiting  # noqa: E402
from rig.report import Failure, Report, equal, truth  # noqa: E402

GATEWAY = "10.0.2.2"
NAMESERVER = "10.0.2.3"
MIB = 1 << 20
FIRST_NAMES = {"name.test": ["192.0.2.1"], "many.test": [f"192.0.2.{n}" for n in range(1, 26)]}
SECOND_NAMES = {"name.test": ["192.0.2.2"]}
LOCKED = ["--enable-sandbox", "--enable-seccomp"]


class Host:
    """The servers that all scenarios use."""

    def __init__(self):
        self.tcp = services.TcpService("0.0.0.0")
        self.udp = services.UdpEcho("127.0.0.1")
        self.udp_outside = services.UdpEcho(outer.OUTSIDE)
        self.first = names.NameServer("127.0.0.53", FIRST_NAMES)
        self.second = names.NameServer("127.0.0.54", SECOND_NAMES)
        self.silent = names.NameServer("127.0.0.55", {}, silent=True)
        outer.resolv_conf(["127.0.0.53"])


def check_start(report, guest):
    with report.check("start.library_is_mapped"):
        path = library.prove(guest.slirp.pid)
        report.info(f"library: {path}")


def check_static(report, guest, mtu):
    with report.check("static.address_and_route"):
        link = json.loads(guest.command("ip", "-j", "addr", "show", "dev", "tap0"))[0]
        equal(link["mtu"], mtu, "MTU")
        truth(any(one["local"] == "10.0.2.100" and one["prefixlen"] == 24 for one in link["addr_info"]),
              f"addresses {link['addr_info']}")
        truth("default via 10.0.2.2 dev tap0" in guest.command("ip", "route"), "no default route")


def ping(guest, address, *options):
    text = guest.command("busybox", "ping", "-c", "2", "-i", "0.2", "-W", "3", *options, address)
    found = re.search(r"(\d+) packets received", text)
    truth(found and int(found.group(1)) >= 1, text[-200:])


def check_ping(report, guest):
    with report.check("ping.gateway"):
        ping(guest, GATEWAY)
    with report.check("ping.nameserver"):
        ping(guest, NAMESERVER)
    with report.check("ping.gateway_4000_bytes"):
        ping(guest, GATEWAY, "-s", "4000")
    with report.check("ping.outside"):
        ping(guest, outer.OUTSIDE)


def check_dns(report, guest, host):
    def lookup(**arguments):
        return guest.ask("resolve", server=NAMESERVER, name="name.test", **arguments)["addresses"]

    outer.resolv_conf(["127.0.0.53"])
    with report.check("dns.udp"):
        # The scenario before may have left another list behind, whose cache lives for a second.
        waiting.until(lambda: lookup() == ["192.0.2.1"], 5, "the first server's answer")
    with report.check("dns.tcp"):
        equal(lookup(over="tcp"), ["192.0.2.1"])
    with report.check("dns.25_addresses"):
        equal(guest.ask("resolve", server=NAMESERVER, name="many.test")["addresses"], FIRST_NAMES["many.test"])
    with report.check("dns.unknown_name"):
        equal(guest.ask("resolve", server=NAMESERVER, name="nothing.test")["addresses"], [])
    with report.check("dns.system_resolver"):
        text = guest.command("busybox", "nslookup", "-type=a", "name.test", NAMESERVER)
        truth("192.0.2.1" in text, text)
    with report.check("dns.changed_file_renamed"):
        outer.resolv_conf(["127.0.0.54"])
        waiting.until(lambda: lookup() == ["192.0.2.2"], 5, "the second server's answer")
    with report.check("dns.changed_file_in_place"):
        outer.resolv_conf(["# changed in place", "127.0.0.53"], rename=False)
        waiting.until(lambda: lookup() == ["192.0.2.1"], 5, "the first server's answer")
    with report.check("dns.retry_after_silent_server", beyond=True):
        outer.resolv_conf(["127.0.0.55", "127.0.0.54"])
        before = host.silent.asked
        waiting.until(lambda: lookup(timeout=0.2) != ["192.0.2.1"], 5, "the new list")
        found = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=6, timeout=1.5)
        equal(found["addresses"], ["192.0.2.2"])
        truth(host.silent.asked > before, "the first server was never asked")
        report.info(f"answered at try {found['tries']}")
    with report.check("dns.retry_after_closed_server", beyond=True):
        outer.resolv_conf(["127.0.0.53"])
        waiting.until(lambda: lookup() == ["192.0.2.1"], 5, "the first server's answer")
        outer.resolv_conf(["127.0.0.56", "127.0.0.54"])
        waiting.until(lambda: lookup(timeout=0.2) != ["192.0.2.1"], 5, "the new list")
        found = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=6, timeout=1.5, same_socket=False)
        equal(found["addresses"], ["192.0.2.2"])
    with report.check("dns.tcp_retry_after_closed_server", beyond=True):
        found = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=4, timeout=2, over="tcp")
        equal(found["addresses"], ["192.0.2.2"])
    outer.resolv_conf(["127.0.0.53"])


def check_bulk(report, guest, host, size, label):
    with report.check("tcp.download"):
        got = guest.ask("get", host=GATEWAY, port=host.tcp.port, size=size, within=240)
        equal(got["size"], size, "length")
        equal(got["digest"], payload.digest(size), "SHA-256")
        report.info(f"{label}: {size / MIB:.0f} MiB to the guest at {size * 8e-9 / got['seconds']:.2f} Gbit/s")
    with report.check("tcp.upload"):
        got = guest.ask("put", host=GATEWAY, port=host.tcp.port, size=size, within=240)
        equal(got["digest"], got["mine"], "SHA-256")
        report.info(f"{label}: {size / MIB:.0f} MiB from the guest at {size * 8e-9 / got['seconds']:.2f} Gbit/s")


def check_tcp(report, guest, host):
    port = host.tcp.port
    with report.check("tcp.50_parallel"):
        equal(guest.ask("many", host=GATEWAY, port=port, count=50, size=64 << 10), 50, "good connections")
    with report.check("tcp.200_in_sequence"):
        equal(guest.ask("sequence", host=GATEWAY, port=port, count=200), 200, "good connections")
    with report.check("tcp.guest_half_closes"):
        got = guest.ask("tail", host=GATEWAY, port=port, size=3 * MIB)
        equal(got, {"digest": payload.digest(3 * MIB), "size": 3 * MIB})
    with report.check("tcp.host_half_closes"):
        got = guest.ask("first", host=GATEWAY, port=port, size=3 * MIB)
        equal(got["heard"], "bye\n")
        equal(host.tcp.records.get(timeout=10), ("FIRST", got["digest"], 3 * MIB))
    with report.check("tcp.slow_reader"):
        host.tcp.gate.clear()
        guest.post("put", host=GATEWAY, port=port, size=16 * MIB, word="SLOW")
        time.sleep(0.5)  # long enough for every window on the way to fill
        host.tcp.gate.set()
        got = guest.answer()
        equal(got["digest"], got["mine"], "SHA-256")
    with report.check("tcp.refused_at_once"):
        got = guest.ask("refused", host=GATEWAY, port=services.free_port(), timeout=5)
        equal(got["errno"], 111, got["text"])
        truth(got["seconds"] < 1, f"took {got['seconds']:.2f} s")
    with report.check("tcp.host_resets"):
        equal(guest.ask("reset", host=GATEWAY, port=port)["saw"], "reset")
    for how, beyond in (("end", False), ("reset", True)):
        with report.check(f"tcp.guest_{how}s", beyond):
            guest.ask("watch", host=GATEWAY, port=port, how=how)
            equal(host.tcp.records.get(timeout=5), ("WATCH", how))
    with report.check("tcp.outside"):
        got = guest.ask("get", host=outer.OUTSIDE, port=port, size=MIB)
        equal(got["digest"], payload.digest(MIB), "SHA-256")


def check_udp(report, guest, host):
    sizes = [1, 1472, 4000, 0, 16000]
    for size in sizes:
        with report.check(f"udp.echo_{size}_bytes"):
            equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[size]), [size])
    with report.check("udp.outside"):
        equal(guest.ask("udp", host=outer.OUTSIDE, port=host.udp_outside.port, sizes=[100]), [100])
    with report.check("udp.refused", beyond=True):
        equal(guest.ask("udp_refused", host=GATEWAY, port=services.free_port(socket.SOCK_DGRAM)), "refused")


def host_ask(port, words, host="127.0.0.1", source=None):
    """One exchange with a service in the guest, through a forward."""
    with socket.create_connection((host, port), 10, (source, 0) if source else None) as stream:
        stream.sendall(words)
        stream.shutdown(socket.SHUT_WR)
        with stream.makefile("rb") as reader:
            return reader.read()


def udp_ask(port, data, host="127.0.0.1", source=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        if source:
            one.bind((source, 0))
        one.settimeout(2)
        one.connect((host, port))
        for _ in range(3):
            one.send(data)
            try:
                return one.recv(65536)
            except TimeoutError:
                continue
    raise Failure("no answer through the UDP forward")


def check_forward(report, guest):
    with report.check("forward.list_is_empty"):
        equal(guest.forwards(), [])
    tcp_port, udp_port = services.free_port(), services.free_port(socket.SOCK_DGRAM)
    inside, inside_udp = guest.ask("serve_tcp"), guest.ask("serve_udp")
    numbers = {}
    with report.check("forward.tcp"):
        numbers["tcp"] = guest.forward("tcp", tcp_port, inside)
        seen = host_ask(tcp_port, b"PEER\n").split()
        equal(seen[0], b"10.0.2.2", "address that the guest sees")
    with report.check("forward.udp"):
        numbers["udp"] = guest.forward("udp", udp_port, inside_udp)
        equal(udp_ask(udp_port, b"x" * 1000), b"x" * 1000)
        equal(udp_ask(udp_port, b"PEER").split()[0], b"10.0.2.2", "address that the guest sees")
    with report.check("forward.list"):
        entries = guest.forwards()
        seen = {(one["proto"], one["host_port"], one["guest_port"]) for one in entries}
        equal(seen, {("tcp", tcp_port, inside), ("udp", udp_port, inside_udp)})
    with report.check("forward.twice_is_an_error"):
        answer = guest.request("add_hostfwd", proto="tcp", host_addr="127.0.0.1", host_port=tcp_port,
                               guest_port=inside)
        truth("error" in answer, f"answered {answer}")
        equal(len(guest.forwards()), 2, "entries")
    with report.check("forward.foreign_address_is_an_error"):
        answer = guest.request("add_hostfwd", proto="tcp", host_addr="203.0.113.9", host_port=services.free_port(),
                               guest_port=inside)
        truth("error" in answer, f"answered {answer}")
    with report.check("forward.bulk"):
        size = 16 * MIB
        with socket.create_connection(("127.0.0.1", tcp_port), 10) as stream:
            stream.sendall(b"GET %d\n" % size)
            equal(services.read_digest(stream), (payload.digest(size), size))
        with socket.create_connection(("127.0.0.1", tcp_port), 10) as stream:
            stream.sendall(b"PUT\n")
            for block in payload.blocks(size):
                stream.sendall(block)
            stream.shutdown(socket.SHUT_WR)
            equal(stream.makefile().readline().strip(), payload.digest(size), "SHA-256")
    with report.check("forward.30_parallel"):
        started = time.monotonic()
        streams = [socket.create_connection(("127.0.0.1", tcp_port), 10) for _ in range(30)]
        took = time.monotonic() - started
        for number, stream in enumerate(streams):
            stream.sendall(b"ECHO\nhello %02d" % number)
        for number, stream in enumerate(streams):
            equal(stream.recv(100), b"hello %02d" % number)
            stream.close()
    with report.check("forward.30_at_once_do_not_wait", beyond=True):
        truth(took < 1, f"connecting took {took:.1f} s: the backlog is too short")
    with report.check("forward.two_ports_to_one", beyond=True):
        other = services.free_port(socket.SOCK_DGRAM)
        number = guest.forward("udp", other, inside_udp)
        for port in (udp_port, other, udp_port):
            equal(udp_ask(port, b"port %d" % port), b"port %d" % port)
        guest.request("remove_hostfwd", id=number)
    with report.check("forward.keeps_the_source_address"):
        port = services.free_port()
        number = guest.forward("tcp", port, inside, host="0.0.0.0")
        seen = host_ask(port, b"PEER\n", host=outer.OUTSIDE, source=outer.OUTSIDE_SECOND).split()
        equal(seen[0].decode(), outer.OUTSIDE_SECOND, "address that the guest sees")
        guest.request("remove_hostfwd", id=number)
    with report.check("forward.guest_refuses", beyond=True):
        port = services.free_port()
        number = guest.forward("tcp", port, guest.ask("free_port"))
        # The reset may be there before the client has looked whether it is connected.
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as stream:
                stream.settimeout(5)
                raise Failure(f"saw {stream.recv(10)!r} instead of a reset")
        except ConnectionResetError:
            pass
        guest.request("remove_hostfwd", id=number)
    with report.check("forward.remove"):
        with socket.create_connection(("127.0.0.1", tcp_port), 10) as stream:
            stream.settimeout(5)
            stream.sendall(b"ECHO\n")
            stream.sendall(b"before")
            equal(stream.recv(100), b"before")
            for one in numbers.values():
                truth("return" in guest.request("remove_hostfwd", id=one), f"cannot remove {one}")
            entries = guest.forwards()
            truth(not any(one["id"] in numbers.values() for one in entries), f"entries {entries}")
            stream.sendall(b"after")
            equal(stream.recv(100), b"after")
        try:
            socket.create_connection(("127.0.0.1", tcp_port), 5).close()
            raise Failure("the port still takes connections")
        except ConnectionRefusedError:
            pass
    with report.check("forward.remove_unknown_is_an_error"):
        answer = guest.request("remove_hostfwd", id=4711)
        truth("error" in answer, f"answered {answer}")
    with report.check("forward.add_again_after_removal"):
        guest.forward("tcp", tcp_port, inside)
        equal(host_ask(tcp_port, b"PEER\n").split()[0], b"10.0.2.2")


def check_end(report, guest, locked):
    with report.check("process.one_thread"):
        equal(waiting.threads_of(guest.slirp.pid), 1, "threads")
    if locked:
        with report.check("process.is_locked_down"):
            with open(f"/proc/{guest.slirp.pid}/status", encoding="ascii") as file:
                truth("Seccomp:\t2" in file.read(), "no seccomp filter is active")
            equal(sorted(set(os.listdir(f"/proc/{guest.slirp.pid}/root")) - {"tmp"}), ["etc", "run"], "its root")
    report.info(f"slirp4netns: {waiting.footprint(guest.slirp.pid)}")
    with report.check("process.ends_cleanly"):
        equal(guest.stop(), 0, "exit status: " + guest.said())


@contextlib.contextmanager
def scenario(report, name, options, preload=None, config=None):
    """One slirp4netns with the library under test. What cannot start is one failed check. `preload` makes a library in a
    folder to be loaded before it, and gives its path. `config` is the text of a file for OXISLIRP_CONFIG."""
    report.prefix = f"slirp4netns.{name}."
    if not report.wanted(name):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        guest = None
        try:
            with report.check("start.ready"):
                guest = Guest(options, folder, preload=preload(folder) if preload else None,
                              config=policy.write(folder, config) if config else None)
            if guest is None:
                yield None
                return
            check_start(report, guest)
            yield guest
            if guest.slirp is not None:
                locked = "--enable-seccomp" in options
                check_end(report, guest, locked)
        except Exception as error:  # a step outside any check
            with report.check("scenario"):
                raise error
        finally:
            if guest is not None:
                guest.close()


def static(report, host, name, mtu, size, locked):
    options = ["--configure", f"--mtu={mtu}", *(LOCKED if locked else [])]
    with scenario(report, name, options) as guest:
        if guest is None:
            return
        check_static(report, guest, mtu)
        check_ping(report, guest)
        check_dns(report, guest, host)
        check_bulk(report, guest, host, size, f"MTU {mtu}")
        check_tcp(report, guest, host)
        kernel.check(report, guest, host, GATEWAY)
        check_udp(report, guest, host)
        check_forward(report, guest)


def dhcp(report, host, mtu):
    with scenario(report, f"dhcp_{mtu}", [f"--mtu={mtu}", *LOCKED]) as guest:
        if guest is None:
            return
        with tempfile.NamedTemporaryFile(prefix="rig-lease-") as file:
            with report.check("lease"):
                guest.command("ip", "link", "set", "tap0", "mtu", str(mtu), "up")
                done = guest.ask("run", words=["busybox", "udhcpc", "-i", "tap0", "-n", "-q", "-f", "-t", "5", "-T",
                                               "1", "-s", os.path.join(LIB, "udhcpc.sh")],
                                 env={"LEASE_FILE": file.name})
                equal(done["status"], 0, done["output"])
                with open(file.name, encoding="ascii") as lines:
                    lease = dict(line.strip().split("=", 1) for line in lines)
                equal({key: lease[key] for key in ("ip", "router", "dns", "serverid")},
                      {"ip": "10.0.2.15", "router": GATEWAY, "dns": NAMESERVER, "serverid": GATEWAY})
        check_ping(report, guest)
        with report.check("dns.udp"):
            got = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3)
            equal(got["addresses"], ["192.0.2.1"])
        check_bulk(report, guest, host, 8 * MIB, f"MTU {mtu} by DHCP")
        with report.check("forward.default_guest_address"):
            # The default guest of slirp4netns is its own static address, which this guest also takes.
            guest.command("ip", "addr", "add", "10.0.2.100/24", "dev", "tap0")
            port = services.free_port()
            guest.forward("tcp", port, guest.ask("serve_tcp"))
            equal(host_ask(port, b"PEER\n").split()[0], b"10.0.2.2")


def options(report, host):
    """Options of slirp4netns that reach the library's configuration."""
    with scenario(report, "no_host_loopback", ["--configure", "--disable-host-loopback", *LOCKED]) as guest:
        if guest is not None:
            with report.check("gateway_is_closed"):
                got = guest.ask("refused", host=GATEWAY, port=host.tcp.port, timeout=3)
                truth(got["errno"] != 0, "connected to the host's loopback")
            with report.check("outside_is_open"):
                equal(guest.ask("get", host=outer.OUTSIDE, port=host.tcp.port, size=MIB)["digest"],
                      payload.digest(MIB), "SHA-256")
            with report.check("ping_gateway"):
                ping(guest, GATEWAY)
            with report.check("dns_stays_open"):
                got = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3)
                equal(got["addresses"], ["192.0.2.1"])
    with scenario(report, "no_dns", ["--configure", "--disable-dns", *LOCKED]) as guest:
        if guest is not None:
            with report.check("no_answer"):
                got = guest.ask("resolve", server=NAMESERVER, name="name.test", timeout=1)
                equal(got["addresses"], [])
            with report.check("tcp"):
                equal(guest.ask("get", host=GATEWAY, port=host.tcp.port, size=MIB)["digest"], payload.digest(MIB))
    with scenario(report, "outbound", ["--configure", f"--outbound-addr={outer.OUTSIDE_SECOND}", *LOCKED]) as guest:
        if guest is not None:
            with report.check("tcp_source"):
                equal(guest.ask("peer", host=outer.OUTSIDE, port=host.tcp.port)[0], outer.OUTSIDE_SECOND)
            with report.check("udp_source"):
                equal(guest.ask("udp_peer", host=outer.OUTSIDE, port=host.udp_outside.port)[0],
                      outer.OUTSIDE_SECOND)
    with scenario(report, "cidr", ["--configure", "--cidr=10.77.8.0/23", *LOCKED]) as guest:
        if guest is not None:
            with report.check("ping"):
                ping(guest, "10.77.8.2")
            with report.check("tcp"):
                equal(guest.ask("get", host="10.77.8.2", port=host.tcp.port, size=MIB)["digest"],
                      payload.digest(MIB))
            with report.check("dns"):
                got = guest.ask("resolve", server="10.77.8.3", name="name.test", tries=3)
                equal(got["addresses"], ["192.0.2.1"])
    with scenario(report, "ipv6_on", ["--configure", "--enable-ipv6", "--mtu=1500", *LOCKED]) as guest:
        if guest is not None:
            check_ping(report, guest)
            check_bulk(report, guest, host, 8 * MIB, "with IPv6 on")
            check_udp(report, guest, host)
            with report.check("dns"):
                got = guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3)
                equal(got["addresses"], ["192.0.2.1"])
            ipv6.check(report, guest)
    with scenario(report, "no_host_loopback6", ["--configure", "--enable-ipv6", "--disable-host-loopback", *LOCKED]) as guest:
        if guest is not None:
            ipv6.check_no_host_loopback(report, guest)
    if socket.has_ipv6 and not report.upstream:
        words = ["--configure", "--enable-ipv6", "--mtu=1500", *LOCKED]
        with scenario(report, "ipv6_forwards", words, preload=ipv6.preload) as guest:
            if guest is not None:
                ipv6.check_forwards(report, guest)


def policies(report, host):
    """Under a file that says which hosts the guest may reach."""
    inside = services.free_port()
    words = ["--configure", "--mtu=1500", *LOCKED]
    with scenario(report, "policy", words, config=policy.sandbox(host, inside)) as guest:
        if guest is not None:
            policy.check_sandbox(report, guest, host)
            with report.check("forward"):
                port = services.free_port()
                guest.forward("tcp", port, guest.ask("serve_tcp", port=inside))
                equal(host_ask(port, b"PEER\n").split()[0], b"10.0.2.2")
            with report.check("forward_to_another_port"):
                port = services.free_port()
                guest.forward("tcp", port, guest.ask("serve_tcp"))
                try:
                    equal(host_ask(port, b"PEER\n"), b"", "what came through")
                except ConnectionError:
                    pass
    with scenario(report, "policy_internet_only", words, config=policy.INTERNET_ONLY) as guest:
        if guest is not None:
            policy.check_internet_only(report, guest, host)
    with scenario(report, "bypasses", [*bypasses.OPTIONS, *LOCKED], config=bypasses.POLICY) as guest:
        if guest is not None:
            bypasses.check(report, guest)
    report.prefix = "slirp4netns.policy_fault."
    if report.wanted("policy_fault"):
        policy.check_fault(report, words)


def through_proxies(report):
    """Rules that lead through proxies that others have made."""
    report.prefix = "slirp4netns.proxies."
    if not report.wanted("proxies"):
        return
    with tempfile.TemporaryDirectory(prefix="rig-") as folder, contextlib.ExitStack() as stack:
        both = None
        with report.check("they_are_there"):
            away = proxies.Away()
            both = stack.enter_context(contextlib.closing(proxies.Proxies(folder, away.tcp.port)))
        if both is None:
            return
        log = os.path.join(folder, "log.jsonl")
        with scenario(report, "proxies", ["--configure", "--mtu=1500", *LOCKED], config=proxies.rules(both, log)) as guest:
            if guest is not None:
                proxies.check(report, guest, away, log, both)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="MiB each way in the two full scenarios")
    parser.add_argument("--only", help="pattern: only scenarios whose name it finds")
    parser.add_argument("--limit", type=int, default=480, help="seconds for the whole run")
    chosen = parser.parse_args()
    outer.enter()
    report = Report(library.libdir() is None, chosen.only)
    report.watchdog(chosen.limit)
    version = subprocess.run(["slirp4netns", "--version"], env=library.environment(), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False).stdout
    report.info("; ".join(version.strip().split("\n")[:3]))
    host = Host()
    static(report, host, "mtu_1500", 1500, chosen.size * MIB, True)
    static(report, host, "mtu_65520", 65520, chosen.size * MIB, True)
    static(report, host, "unlocked", 1500, 8 * MIB, False)
    dhcp(report, host, 1500)
    dhcp(report, host, 65520)
    options(report, host)
    if not report.upstream:
        policies(report, host)
        through_proxies(report)
        report.prefix = "slirp4netns.capture."
        if report.wanted("capture"):
            capture.check(report, ["--configure", "--mtu=1500", *LOCKED], host)
        report.prefix = "slirp4netns.control."
        if report.wanted("control"):
            control.check(report, ["--configure", "--mtu=1500", *LOCKED], host)
    report.prefix = "slirp4netns."
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
