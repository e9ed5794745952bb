"""A guest without IPv4: its address, router and name server come from router advertisements alone."""

import socket
import time

from common import MIB, scenario
from machine import boot_words
from rig import outer, payload, services
from rig.report import equal, truth

GATEWAY6 = "fec0::2"
NAMESERVER6 = "fec0::3"
# The prefix with the card's hardware address (RFC 4291 appendix A).
GUEST6 = "fec0::5054:ff:fe12:3456"
SEARCH = ["example.test", "sub.example.test"]
# Runs rdnssd until it has written a resolv.conf, and prints that. The kernel hands it what is advertised from then on, so a
# router is solicited until it has.
RDNSSD = ("mkdir -p /tmp/rd; rdnssd -f -u root -r /tmp/rd/resolv.conf -p /tmp/rd/pid -H /bin/true 2>/tmp/rd/log & "
          "for n in $(seq 50); do guestkit rdnss eth0 >/dev/null; usleep 50000; [ -s /tmp/rd/resolv.conf ] && break; done; "
          "kill $!; cat /tmp/rd/log /tmp/rd/resolv.conf")


def run(report, accelerator, kernel, initramfs, size):
    report.prefix = "qemu.ipv6."
    if not report.wanted("ipv6"):
        return
    started = time.monotonic()
    words = boot_words(accelerator, kernel, initramfs, "virtio-net-pci", "ipv4=off,ipv6=on" + "".join(f",dnssearch={one}" for one in SEARCH))
    tcp, udp = services.TcpService("::", socket.AF_INET6), services.UdpEcho("::1", socket.AF_INET6)
    with scenario(report, words) as machine:
        if machine is None:
            return
        machine.wait_up(90)
        with report.check("slaac.address"):
            machine.command(f"for n in $(seq 100); do ip -6 addr show dev eth0 | grep {GUEST6}/64 | "
                            "grep -qv tentative && exit 0; usleep 100000; done; ip -6 addr; exit 1")
        with report.check("slaac.router"):
            text = machine.command("ip -6 route")
            truth("default via fe80::2 dev eth0" in text, text)
        with report.check("slaac.mtu"):
            equal(machine.command("cat /proc/sys/net/ipv6/conf/eth0/mtu").strip(), "1500")
        with report.check("rdnss"):
            equal(machine.command("guestkit rdnss eth0").strip(), NAMESERVER6)
        # What a program of the distribution makes of it: the name server (RDNSS) and the search list (DNSSL).
        with report.check("rdnssd", beyond=True):
            found = machine.command(RDNSSD, 60)
            lines = [line.split() for line in found.split("\n") if line.strip()]
            equal([line[1:] for line in lines if line[0] == "nameserver"], [[NAMESERVER6]], found)
            equal([line[1:] for line in lines if line[0] == "search"], [SEARCH], found)
        with report.check("dns.by_what_rdnssd_wrote", beyond=True):
            machine.command("cp /tmp/rd/resolv.conf /etc/resolv.conf")
            text = machine.command("nslookup -type=a name.test")
            truth("192.0.2.1" in text, text)
        with report.check("no_ipv4"):
            machine.command("ip addr add 10.0.2.15/24 dev eth0")
            equal(machine.run("ping -c 1 -W 1 10.0.2.2")[0], 1, "status of ping")
        for name, words in (("gateway", GATEWAY6), ("nameserver", NAMESERVER6), ("router", "fe80::2%eth0"),
                            ("gateway_4000_bytes", f"-s 4000 {GATEWAY6}"), ("outside", outer.OUTSIDE6)):
            with report.check(f"ping.{name}", beyond=name in ("gateway_4000_bytes", "outside")):
                machine.command(f"ping6 -c 2 -i 0.2 -W 3 {words}")
        with report.check("dns.nslookup"):
            text = machine.command(f"nslookup -type=a name.test {NAMESERVER6}")
            truth("192.0.2.1" in text, text)
        with report.check("tcp.download"):
            machine.command(f"wget -q -O /tmp/blob http://[{GATEWAY6}]:{tcp.port}/{size}", 60)
            equal(machine.command("sha256sum /tmp/blob").split()[0], payload.digest(size), "SHA-256")
        with report.check("tcp.upload"):
            equal(machine.command(f"guestkit put {GATEWAY6} {tcp.port} /tmp/blob", 60).strip(), payload.digest(size),
                  "SHA-256")
        with report.check("tcp.outside"):
            machine.command(f"wget -q -O /tmp/small http://[{outer.OUTSIDE6}]:{tcp.port}/{MIB}")
            equal(machine.command("sha256sum /tmp/small").split()[0], payload.digest(MIB), "SHA-256")
        # A refused or unreachable host is told at once, so that programs go on with their next address.
        for name, host, numbers in (("refused", GATEWAY6, ("111",)),
                                    ("unreachable", "2001:db8:ffff::1", ("101", "111"))):
            with report.check(f"tcp.{name}_at_once", beyond=name == "unreachable"):
                found, took = machine.command(f"guestkit refused {host} {services.free_port()}", 15).split()
                truth(found in numbers, f"error number {found}")
                truth(int(took) < 1000, f"took {took} ms")
                report.info(f"{name}: connect() told it after {took} ms")
        with report.check("udp.echo"):
            equal(machine.command(f"guestkit udp {GATEWAY6} {udp.port} 1 1452 0").strip(), "1 1452 0", "sizes")
        with report.check("udp.fragments", beyond=True):
            equal(machine.command(f"guestkit udp {GATEWAY6} {udp.port} 4000 9000").strip(), "4000 9000", "sizes")
    tcp.close()
    udp.close()
    report.info(f"ipv6: {time.monotonic() - started:.1f} s")
