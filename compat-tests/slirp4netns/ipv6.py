"""What a guest of slirp4netns has of IPv6 with `--enable-ipv6`: the checks of the scenarios `ipv6_on` and `ipv6_forwards`.

No slirp4netns up to 1.3.3, the newest one, takes an IPv6 address in `add_hostfwd`. `forward6.c`, preloaded into it, gives
two IPv4 addresses that meaning, and hands them to the library by `slirp_add_hostxfwd`.
"""

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import time

from rig import names, outer, payload, services, waiting
from rig.report import Failure, equal, truth

HERE = os.path.dirname(os.path.abspath(__file__))
GATEWAY = "fd00::2"
NAMESERVER = "fd00::3"
GATEWAY4 = "10.0.2.2"
# What forward6.c takes for ::1 on the host, and for :: as the guest.
HOST6 = "127.6.0.1"
GUEST6 = "6.6.6.6"
MIB = 1 << 20
# Datagrams that fit the MTU of 1500: a megabyte of them.
SIZES = [1452 - number % 700 for number in range(1000)]

# Has ISC's client ask for what is not in its address (RFC 8415 section 18.2.6), and prints what it was told.
DHCLIENT = """
folder=$(mktemp -d)
trap 'rm -rf $folder' EXIT
printf '#!/bin/sh\\nenv >>%s/told\\n' $folder >$folder/script
chmod +x $folder/script
timeout 20 dhclient -6 -S -1 -d -cf /dev/null -sf $folder/script -lf $folder/leases -pf $folder/pid tap0 >$folder/log 2>&1 ||
    cat $folder/log
cat $folder/told
"""


@functools.cache
class Host:
    """The servers of the host side, at ::1 (which the guest reaches as the gateway) and outside."""

    def __init__(self):
        self.tcp = services.TcpService("::", socket.AF_INET6)
        self.tcp4 = services.TcpService("127.0.0.1")
        self.udp = services.UdpEcho("::1", socket.AF_INET6)
        self.udp_outside = services.UdpEcho(outer.OUTSIDE6, socket.AF_INET6)
        self.names = names.NameServer("::1", {"name.test": ["192.0.2.6"]})


def global_address(guest):
    """The guest's address out of the advertised prefix, once it may be used, or None."""
    for one in json.loads(guest.command("ip", "-6", "-j", "addr", "show", "dev", "tap0"))[0]["addr_info"]:
        if one["local"].startswith("fd00:") and not one.get("tentative"):
            return one["local"]
    return None


def ping(guest, address):
    text = guest.command("busybox", "ping", "-6", "-c", "2", "-i", "0.2", "-W", "3", address)
    truth(" 0% packet loss" in text, text[-200:])


def check(report, guest):
    if not socket.has_ipv6:
        report.info("this host has no IPv6")
        return
    host = Host()
    with report.check("v6.address_and_route"):
        waiting.until(lambda: global_address(guest), 8, "an address from the router's advertisement", every=0.2)
        route = waiting.until(lambda: guest.command("ip", "-6", "route", "show", "default"), 3, "a default route")
        truth("via fe80::2 dev tap0" in route, route)
    for name, address in (("gateway", GATEWAY), ("nameserver", NAMESERVER), ("link_local", "fe80::2%tap0")):
        with report.check(f"v6.ping_{name}"):
            ping(guest, address)
    # An unprivileged ping of the host needs net.ipv4.ping_group_range, which the rig's namespace grants.
    with report.check("v6.ping_outside", beyond=True):
        ping(guest, outer.OUTSIDE6)
    for name, address, size in (("gateway", GATEWAY, 16 * MIB), ("outside", outer.OUTSIDE6, MIB)):
        with report.check(f"v6.tcp_download_{name}"):
            got = guest.ask("get", host=address, port=host.tcp.port, size=size)
            equal((got["digest"], got["size"]), (payload.digest(size), size))
            report.info(f"{size // MIB} MiB over IPv6 at {size * 8e-9 / got['seconds']:.2f} Gbit/s")
        with report.check(f"v6.tcp_upload_{name}"):
            got = guest.ask("put", host=address, port=host.tcp.port, size=size)
            equal(got["digest"], got["mine"], "SHA-256")
    with report.check("v6.tcp_refused_at_once"):
        got = guest.ask("refused", host=GATEWAY, port=1, timeout=5)
        equal(got["errno"], 111, got["text"])
    with report.check("v6.udp_gateway"):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[1, 1200]), [1, 1200])
    for name, address, service in (("gateway", GATEWAY, host.udp), ("outside", outer.OUTSIDE6, host.udp_outside)):
        with report.check(f"v6.udp_thousand_datagrams_{name}"):
            sent, back = guest.ask("udp_digests", host=address, port=service.port, sizes=SIZES)
            equal(back, sent, "SHA-256")
    with report.check("v6.udp_fragments", beyond=True):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[4000, 16385]), [4000, 16385])
    with report.check("v6.udp_outside"):
        equal(guest.ask("udp", host=outer.OUTSIDE6, port=host.udp_outside.port, sizes=[100]), [100])
    with report.check("v6.udp_refused", beyond=True):
        equal(guest.ask("udp_refused", host=GATEWAY, port=1), "refused")
    outer.resolv_conf(["::1"])
    for over in ("udp", "tcp"):
        with report.check(f"v6.dns_{over}", beyond=over == "tcp"):
            waiting.until(lambda: guest.ask("resolve", server=NAMESERVER, name="name.test", over=over,
                                            timeout=1)["addresses"] == ["192.0.2.6"], 6, "the answer")
    outer.resolv_conf(["127.0.0.53"])
    with report.check("v6.dns_by_an_ipv4_server", beyond=True):
        waiting.until(lambda: guest.ask("resolve", server=NAMESERVER, name="name.test",
                                        timeout=1)["addresses"] == ["192.0.2.1"], 6, "the answer")
    # The kernel's own errors for connect(): network unreachable, connection refused, no route to host.
    with report.check("v6.no_route_is_refused_at_once"):
        took = []
        for _ in range(10):
            got = guest.ask("refused", host="2001:db8:ffff::1", port=80, timeout=5)
            truth(got["errno"] in (101, 111, 113), got["text"])
            took.append(got["seconds"])
        report.info(f"a destination without a route is refused after {1000 * min(took):.2f} to {1000 * max(took):.2f} ms: "
                    f"{got['text']}")
        truth(max(took) < 1, f"took {max(took):.2f} s")
    # Programs that try all addresses of a name, one by one, come to the next one.
    with report.check("v6.fallback_to_ipv4"):
        started = time.monotonic()
        got = guest.ask("first_of", addresses=["2001:db8:ffff::1", "2001:db8:ffff::2", GATEWAY4], port=host.tcp4.port)
        equal(got, GATEWAY4, "address that was reached")
        report.info(f"the third address was reached after {1000 * (time.monotonic() - started):.1f} ms")
    # rdnssd itself does not run where setgroups() is forbidden, as here; the QEMU guest has it.
    with report.check("v6.rdnss", beyond=True):
        said = guest.command("rdisc6", "-1", "-r", "5", "-w", "1000", "tap0")
        found = dict(re.findall(r"^ *(\S.*?) *: *(.*?)(?: \(.*)?$", said, re.M))
        equal({key: found.get(key) for key in ("Recursive DNS server", "DNS server lifetime", "MTU", "Prefix",
                                               "Router lifetime")},
              {"Recursive DNS server": NAMESERVER, "DNS server lifetime": "1800", "MTU": "1500 bytes",
               "Prefix": "fd00::/64", "Router lifetime": "1800"}, said)
    if not shutil.which("dhclient"):
        report.info("v6.dhclient_stateless is left out: this release has no dhclient")
        return
    with report.check("v6.dhclient_stateless", beyond=True):
        said = guest.command("sh", "-ec", DHCLIENT)
        told = dict(line.split("=", 1) for line in said.split("\n") if line.startswith("new_dhcp6_"))
        equal((told.get("new_dhcp6_name_servers"), told.get("new_dhcp6_server_id")),
              (NAMESERVER, "0:3:0:1:52:56:0:0:0:2"), said[-400:])


def check_no_host_loopback(report, guest):
    if not socket.has_ipv6:
        report.info("this host has no IPv6")
        return
    host = Host()
    with report.check("address"):
        waiting.until(lambda: global_address(guest), 8, "an address from the router's advertisement", every=0.2)
    before = host.tcp.accepted
    for name, address in (("gateway", GATEWAY), ("nameserver", NAMESERVER), ("router", "fe80::2%tap0")):
        with report.check(f"{name}_is_closed", beyond=name == "router"):
            got = guest.ask("refused", host=address, port=host.tcp.port, timeout=3)
            truth(got["errno"] in (101, 111, 113), f"{got['text']}: the host's loopback is reached, or silent")
            if "%" not in address:
                equal(guest.ask("udp", host=address, port=host.udp.port, sizes=[10], timeout=0.3), [], "UDP answers")
            equal(host.tcp.accepted - before, 0, "connections at the host")
    with report.check("outside_is_open"):
        got = guest.ask("get", host=outer.OUTSIDE6, port=host.tcp.port, size=MIB)
        equal(got["digest"], payload.digest(MIB), "SHA-256")
        equal(guest.ask("udp", host=outer.OUTSIDE6, port=host.udp_outside.port, sizes=[100]), [100])
    with report.check("dns_stays_open", beyond=True):
        outer.resolv_conf(["::1"])
        waiting.until(lambda: guest.ask("resolve", server=NAMESERVER, name="name.test",
                                        timeout=1)["addresses"] == ["192.0.2.6"], 6, "the answer")
    outer.resolv_conf(["127.0.0.53"])


def preload(folder):
    """Compile forward6.c into the folder; the library's path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Failure("no C compiler for forward6.c")
    path = os.path.join(folder, "forward6.so")
    include = os.path.join(os.path.dirname(os.path.dirname(HERE)), "include")
    done = subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-I", include, "-o", path,
                           os.path.join(HERE, "forward6.c")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    truth(done.returncode == 0, f"forward6.c: {done.stdout}")
    return path


def _ask(family, address, port, data):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.connect((address, port))
        for _ in range(3):
            one.send(data)
            try:
                return one.recv(65536)
            except TimeoutError:
                continue
    raise Failure("no answer through the UDP forward")


def _streams(address, port, size):
    """Both directions at full length; the address that the guest sees."""
    with socket.create_connection((address, port), 10) as stream:
        stream.sendall(b"GET %d\n" % size)
        equal(services.read_digest(stream), (payload.digest(size), size), "what came to the host")
    with socket.create_connection((address, port), 10) as stream:
        stream.sendall(b"PUT\n")
        for block in payload.blocks(size):
            stream.sendall(block)
        stream.shutdown(socket.SHUT_WR)
        equal(stream.makefile().readline().strip(), payload.digest(size), "SHA-256 of what came to the guest")
    with socket.create_connection((address, port), 10) as stream:
        stream.sendall(b"PEER\n")
        return stream.makefile().readline().split()[0]


def check_forwards(report, guest):
    with report.check("preloaded"):
        with open(f"/proc/{guest.slirp.pid}/maps", encoding="utf-8") as maps:
            truth("forward6.so" in maps.read(), "forward6.so is not mapped")
    with report.check("address"):
        waiting.until(lambda: global_address(guest), 8, "an address from the router's advertisement", every=0.2)
        # The library learns where the guest is from what it says.
        ping(guest, GATEWAY)
    inside4, inside6 = guest.ask("serve_tcp"), guest.ask("serve_tcp", address="::")
    udp4, udp6 = guest.ask("serve_udp"), guest.ask("serve_udp", address="::")
    # What the client connects to, what add_hostfwd is told, the ports in the guest, and whom the guest sees.
    for name, family, address, told, more, tcp, udp, seen in (
            ("v6_to_v6", socket.AF_INET6, "::1", HOST6, {"guest_addr": GUEST6}, inside6, udp6, GATEWAY),
            ("v4_to_v6", socket.AF_INET, "127.0.0.1", "127.0.0.1", {"guest_addr": GUEST6}, inside6, udp6, GATEWAY),
            ("v6_to_v4", socket.AF_INET6, "::1", HOST6, {}, inside4, udp4, GATEWAY4)):
        port, udp_port = services.free_port(), services.free_port(socket.SOCK_DGRAM)
        numbers = []
        with report.check(f"{name}.tcp"):
            numbers.append(guest.forward("tcp", port, tcp, host=told, **more))
            equal(_streams(address, port, 16 * MIB), seen, "address that the guest sees")
        with report.check(f"{name}.udp"):
            numbers.append(guest.forward("udp", udp_port, udp, host=told, **more))
            for size in (0, 1, 1000, 1452):
                equal(_ask(family, address, udp_port, payload.data(size)), payload.data(size), f"{size} bytes")
            sent, back = services.echo_digests(address, udp_port, SIZES, family)
            equal(back, sent, "SHA-256 of a thousand datagrams")
            equal(_ask(family, address, udp_port, b"PEER").split()[0].decode(), seen, "address that the guest sees")
        with report.check(f"{name}.twice_is_an_error"):
            answer = guest.request("add_hostfwd", proto="tcp", host_addr=told, host_port=port, guest_port=tcp, **more)
            truth("error" in answer, f"answered {answer}")
        with report.check(f"{name}.remove"):
            for number in numbers:
                truth("return" in guest.request("remove_hostfwd", id=number), f"cannot remove {number}")
            try:
                socket.create_connection((address, port), 5).close()
                raise Failure("the port still takes connections")
            except ConnectionRefusedError:
                pass
