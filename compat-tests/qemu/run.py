#!/usr/bin/env python3
"""Debian's unmodified QEMU on the library under test, with a Linux guest on three network cards. See README.md."""

import argparse
import os
import re
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import bypasses  # noqa: E402  (the path has to be set first)
import control  # noqa: E402
import image  # noqa: E402
import ipv6  # noqa: E402
import mtu  # noqa: E402
import netboot  # noqa: E402
import netservices  # noqa: E402
from common import GATEWAY, MIB, NAMESERVER, client, forwards, scenario, udp_ask, usernet  # noqa: E402
from machine import acceleration, boot_words  # noqa: E402
from rig import library, names, outer, payload, services  # noqa: E402
from rig.report import Failure, Report, equal, truth  # noqa: E402


def check_address(report, machine):
    with report.check("dhcp.lease"):
        machine.command("LEASE_FILE=/tmp/lease udhcpc -i eth0 -n -q -f -t 5 -T 1 -s /udhcpc.sh")
        lease = dict(line.split("=", 1) for line in machine.command("cat /tmp/lease").split("\n"))
        equal({key: lease[key] for key in ("ip", "router", "dns", "serverid", "lease")},
              {"ip": "10.0.2.15", "router": GATEWAY, "dns": NAMESERVER, "serverid": GATEWAY, "lease": "86400"})
    for name, words in (("gateway", GATEWAY), ("nameserver", NAMESERVER), ("gateway_4000_bytes", f"-s 4000 {GATEWAY}"),
                        ("outside", outer.OUTSIDE)):
        with report.check(f"ping.{name}"):
            machine.command(f"ping -c 2 -i 0.2 -W 3 {words}")
    with report.check("dns.nslookup"):
        text = machine.command(f"nslookup -type=a name.test {NAMESERVER}")
        truth("192.0.2.1" in text, text)


def check_tcp(report, machine, tcp, size):
    with report.check("tcp.download"):
        started = time.monotonic()
        machine.command(f"wget -q -O /tmp/blob http://{GATEWAY}:{tcp.port}/{size}", 180)
        report.info(f"{size / MIB:.0f} MiB to the guest at {size * 8e-6 / (time.monotonic() - started):.0f} Mbit/s")
        equal(machine.command("sha256sum /tmp/blob", 120).split()[0], payload.digest(size), "SHA-256")
    with report.check("tcp.upload"):
        started = time.monotonic()
        seen = machine.command(f"guestkit put {GATEWAY} {tcp.port} /tmp/blob", 180)
        report.info(f"{size / MIB:.0f} MiB from the guest at {size * 8e-6 / (time.monotonic() - started):.0f} Mbit/s")
        equal(seen.strip(), payload.digest(size), "SHA-256")
    machine.run("rm -f /tmp/blob")
    with report.check("tcp.50_parallel"):
        equal(machine.command(f"guestkit many {GATEWAY} {tcp.port} 50 65536", 70).strip(), "50", "good connections")
    with report.check("tcp.refused_at_once"):
        number, took = machine.command(f"guestkit refused {GATEWAY} {services.free_port()}", 15).split()
        equal(number, "111", "error number")
        truth(int(took) < 1000, f"took {took} ms")
    with report.check("tcp.outside"):
        machine.command(f"wget -q -O /tmp/small http://{outer.OUTSIDE}:{tcp.port}/{MIB}")
        equal(machine.command("sha256sum /tmp/small").split()[0], payload.digest(MIB), "SHA-256")


def check_udp(report, machine, udp):
    sizes = "1 1472 4000 0"
    with report.check("udp.echo"):
        equal(machine.command(f"guestkit udp {GATEWAY} {udp.port} {sizes}").strip(), sizes, "sizes that came back")


def check_forward(report, machine):
    ports = {}
    with report.check("forward.port_0_is_listed"):
        ports = forwards(machine)
        equal(sorted(ports), [("tcp", 80), ("tcp", 2000), ("udp", 2001)])
        truth(all(port > 0 for port in ports.values()), f"ports {ports}")
    with report.check("forward.servers_start"):
        machine.command("mkdir -p /tmp/www && head -c 4000000 /dev/urandom >/tmp/www/file && "
                        "httpd -p 80 -h /tmp/www && guestkit serve-tcp 2000 && guestkit serve-udp 2001 && "
                        "guestkit serve-udp 2002")
    with report.check("forward.tcp_httpd"):
        with socket.create_connection(("127.0.0.1", ports["tcp", 80]), 10) as stream:
            stream.sendall(b"GET /file HTTP/1.0\r\n\r\n")
            reader = stream.makefile("rb")
            truth(b"200" in reader.readline(), "no good answer")
            while reader.readline().strip():
                pass
            found = services.read_digest(_Reader(reader))
        equal(found, (machine.command("sha256sum /tmp/www/file").split()[0], 4000000))
    with report.check("forward.tcp"):
        stream, seen = client(ports["tcp", 2000])
        with stream:
            equal(seen, b"10.0.2.2", "address that the guest sees")
            stream.sendall(b"hello")
            equal(stream.recv(100), b"hello")
    with report.check("forward.udp"):
        equal(udp_ask(ports["udp", 2001], b"x" * 1000), b"x" * 1000)
        equal(udp_ask(ports["udp", 2001], b"PEER"), b"10.0.2.2", "address that the guest sees")
    return ports


class _Reader:
    """Lets `read_digest` read from a buffered file."""

    def __init__(self, file):
        self.recv = file.read1


def check_monitor(report, machine, ports):
    with report.check("monitor.usernet_columns"):
        stream, _ = client(ports["tcp", 2000])
        with stream:
            rows = usernet(machine)
            established = [row for row in rows if row[:2] == ("TCP", "ESTABLISHED") and row[6] == "2000"]
            equal([row[3:6] for row in established], [("127.0.0.1", str(ports["tcp", 2000]), "10.0.2.15")])
            equal(sum(row[1] == "HOST_FORWARD" for row in rows), 3, "forwards")
            truth(any(row[0] == "UDP" and re.fullmatch(r"\d+ sec", row[1]) for row in rows), f"no UDP flow: {rows}")
    with report.check("monitor.info_network"):
        text = machine.human("info network")
        truth("net0" in text and "type=user,net=10.0.2.0,restrict=off" in text, text)
    port = services.free_port()
    rule = f"tcp:127.0.0.1:{port}"
    with report.check("monitor.hostfwd_add"):
        equal(machine.human(f"hostfwd_add net0 {rule}-:2000"), "")
        equal(sum(row[1] == "HOST_FORWARD" and row[4] == str(port) for row in usernet(machine)), 1, "rows of the rule")
        stream, seen = client(port)
        stream.close()
        equal(seen, b"10.0.2.2", "address that the guest sees")
    with report.check("monitor.hostfwd_add_twice_fails"):
        text = machine.human(f"hostfwd_add net0 {rule}-:2000")
        truth("ould not set up host forwarding rule" in text, f"said {text!r}")
    with report.check("monitor.hostfwd_remove"):
        truth("removed" in machine.human(f"hostfwd_remove net0 {rule}"), "not removed")
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            raise Failure("the port still takes connections")
        except ConnectionRefusedError:
            pass
    with report.check("monitor.hostfwd_remove_again_fails"):
        truth("not found" in machine.human(f"hostfwd_remove net0 {rule}"), "no error")
    with report.check("monitor.hostfwd_udp"):
        port = services.free_port(socket.SOCK_DGRAM)
        equal(machine.human(f"hostfwd_add net0 udp:127.0.0.1:{port}-:2002"), "")
        equal(udp_ask(port, b"again"), b"again")
        truth("removed" in machine.human(f"hostfwd_remove net0 udp:127.0.0.1:{port}"), "not removed")
    with report.check("monitor.hostfwd_two_udp_ports_to_one", beyond=True):
        port = services.free_port(socket.SOCK_DGRAM)
        equal(machine.human(f"hostfwd_add net0 udp:127.0.0.1:{port}-:2001"), "")
        for one in (port, ports["udp", 2001], port):
            equal(udp_ask(one, b"%d" % one), b"%d" % one)


def card(report, name, words, host, size):
    report.prefix = f"qemu.{name}."
    if not report.wanted(name):
        return
    started = time.monotonic()
    with scenario(report, words) as machine:
        if machine is None:
            return
        up = False
        with report.check("start.guest_is_up"):
            report.info(f"guest is up after {machine.wait_up(90):.1f} s of its own clock")
            up = True
        if not up:
            report.info(machine.said())
            return
        tcp, udp = host
        check_address(report, machine)
        check_tcp(report, machine, tcp, size)
        check_udp(report, machine, udp)
        check_monitor(report, machine, check_forward(report, machine))
    report.info(f"{name}: {time.monotonic() - started:.1f} s")


def instances(report):
    """Many instances in one process, without a guest: nothing may be left of them."""
    report.prefix = "qemu.instances."
    if not report.wanted("instances"):
        return
    with scenario(report, ["-machine", "none", "-netdev", "user,id=keep"]) as machine:
        if machine is None:
            return

        def descriptors():
            return len(os.listdir(f"/proc/{machine.process.pid}/fd"))

        with report.check("20_times_netdev_add_and_del"):
            before = None
            for turn in range(20):
                machine.execute("netdev_add", type="user", id=f"n{turn}",
                                hostfwd=[{"str": "tcp:127.0.0.1:0-:22"}, {"str": "udp:127.0.0.1:0-:53"}])
                truth("HOST_FORWARD" in machine.human("info usernet"), "no forward is listed")
                machine.execute("netdev_del", id=f"n{turn}")
                if turn == 0:
                    before = descriptors()
            equal(descriptors(), before, "descriptors")
        with report.check("refused_forward_fails_the_netdev"):
            taken = services.TcpService("127.0.0.1")
            try:
                machine.execute("netdev_add", type="user", id="bad",
                                hostfwd=[{"str": f"tcp:127.0.0.1:{taken.port}-:22"}])
                raise AssertionError("the netdev was made")
            except Failure:
                pass
            finally:
                taken.close()
            equal(descriptors(), before, "descriptors")
        with report.check("8_at_once"):
            for turn in range(8):
                machine.execute("netdev_add", type="user", id=f"m{turn}", net=f"10.0.{10 + turn}.0/24",
                                hostfwd=[{"str": "tcp:127.0.0.1:0-:22"}])
            equal(machine.human("info usernet").count("TCP[HOST_FORWARD]"), 8, "forwards")
            for turn in range(8):
                machine.execute("netdev_del", id=f"m{turn}")
            equal(descriptors(), before, "descriptors")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="MiB each way")
    parser.add_argument("--only", help="pattern: only the cards whose name it finds")
    parser.add_argument("--limit", type=int, default=420, help="seconds for the whole run")
    chosen = parser.parse_args()
    outer.enter()
    report = Report(library.libdir() is None, chosen.only)
    report.prefix = "qemu."
    report.watchdog(chosen.limit)
    cache = os.environ.get("RIG_CACHE") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "target", "rig")
    try:
        kernel, initramfs = image.build(cache, image.PROGRAMS)
    except Exception as error:  # without a guest there is one failed check
        with report.check("image"):
            raise error
        sys.exit(report.summary())
    host = services.TcpService("0.0.0.0"), services.UdpEcho("127.0.0.1")
    for address in ("127.0.0.53", "::1"):
        names.NameServer(address, {"name.test": ["192.0.2.1"]})
    outer.resolv_conf(["127.0.0.53", "::1"])
    accelerator = acceleration(kernel, initramfs, report.info)
    report.info(f"accelerator: {accelerator}")
    instances(report)
    netservices.run(report, accelerator, kernel, initramfs, host[0])
    netboot.run(report, accelerator)
    control.run(report)
    bypasses.run(report)
    for name in image.CARDS:
        card(report, name, boot_words(accelerator, kernel, initramfs, name), host, chosen.size * MIB)
    mtu.run(report, accelerator, kernel, initramfs, host[0])
    ipv6.run(report, accelerator, kernel, initramfs, min(chosen.size, 16) * MIB)
    report.prefix = "qemu."
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
