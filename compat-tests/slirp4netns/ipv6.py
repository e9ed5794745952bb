"""What a guest of slirp4netns has of IPv6 with `--enable-ipv6`: the checks of the scenario `ipv6_on`.

Host forwards are not among them: `add_hostfwd` of slirp4netns 1.2 takes no IPv6 address.
"""

import json
import socket

from rig import names, outer, payload, services, waiting
from rig.report import equal, truth

GATEWAY = "fd00::2"
NAMESERVER = "fd00::3"
MIB = 1 << 20


class Host:
    """The servers of the host side, at ::1 (which the guest reaches as the gateway) and outside."""

    def __init__(self):
        self.tcp = services.TcpService("::", socket.AF_INET6)
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
    with report.check("v6.udp_fragments", beyond=True):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[4000]), [4000])
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
    with report.check("v6.no_route_is_refused_at_once"):
        got = guest.ask("refused", host="2001:db8:ffff::1", port=80, timeout=5)
        truth(got["errno"] not in (None, 0) and got["seconds"] < 1, f"{got['text']} after {got['seconds']:.2f} s")
