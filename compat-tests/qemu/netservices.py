"""A guest that uses what a user network offers besides the way out: TFTP, guest forwards, a restricted second network.

At the end the running guest moves to another QEMU and back.
"""

import hashlib
import os
import select
import socket
import threading

import migration
from common import GATEWAY, MIB, client, forwards, scenario, udp_ask
from machine import boot_words
from rig import outer, payload, services
from rig.report import equal, truth

CHARDEV = "10.0.2.100 1234"
COMMANDS = "10.0.2.101"
RESTRICTED = "10.0.3.2"
# As a user would write them for a shell; QEMU wants a comma doubled.
QUOTED = "sh -c 'read word; printf \"%s|\" \"two words\" \"it is $word\" a,,b'"
# Sizes around the default block of 512 bytes and the largest one on a network with an MTU of 1500.
TFTP_SIZES = (0, 1, 511, 512, 513, 4 * 1428, MIB)


class ChardevEcho:
    """The other end of a socket chardev: sends everything back, and reads on while its own direction is full."""

    def __init__(self, path):
        self._stream = socket.socket(socket.AF_UNIX)
        self._stream.connect(path)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        waiting = bytearray()
        try:
            while True:
                readable, writable, _ = select.select([self._stream], [self._stream] if waiting else [], [])
                if readable:
                    piece = self._stream.recv(1 << 16)
                    if not piece:
                        return
                    waiting += piece
                if writable:
                    del waiting[:self._stream.send(waiting[:1 << 16])]
        except OSError:
            return


def netdevs(folder):
    """The words for the two networks; the files of `folder` are what TFTP serves."""
    first = (f"tftp={os.path.join(folder, 'tftp')},guestfwd=tcp:{CHARDEV.replace(' ', ':')}-chardev:echo,"
             f"guestfwd=tcp:{COMMANDS}:7-cmd:cat,guestfwd=tcp:{COMMANDS}:8-cmd:{QUOTED},"
             f"guestfwd=tcp:{COMMANDS}:9-cmd:no-such-program-anywhere")
    second = (f"user,id=net1,net=10.0.3.0/24,restrict=on,tftp={os.path.join(folder, 'tftp')},"
              f"guestfwd=tcp:10.0.3.100:7-cmd:cat,hostfwd=tcp:127.0.0.1:0-:2000,hostfwd=udp:127.0.0.1:0-:2001")
    return first, ["-chardev", f"socket,id=echo,path={os.path.join(folder, 'echo')},server=on,wait=off",
                   "-netdev", second, "-device", "e1000,netdev=net1,mac=52:54:00:12:34:57,romfile="]


def prepare(folder):
    """The files that TFTP serves."""
    top = os.path.join(folder, "tftp")
    os.makedirs(os.path.join(top, "sub"))
    for size in TFTP_SIZES:
        with open(os.path.join(top, f"file{size}"), "wb") as file:
            file.write(payload.data(size))
    with open(os.path.join(top, "sub", "inner"), "wb") as file:
        file.write(b"inner\n")
    with open(os.path.join(folder, "secret"), "wb") as file:
        file.write(b"secret")
    os.symlink(os.path.join(folder, "secret"), os.path.join(top, "link"))


def check_tftp(report, machine):
    def get(name, words=""):
        return machine.run(f"rm -f /tmp/got; tftp -g {words} -r {name} -l /tmp/got {GATEWAY}", 30)

    for size in TFTP_SIZES:
        words = "-b 1428" if size == MIB else ""
        with report.check(f"tftp.get_{size}_bytes"):
            status, output = get(f"file{size}", words=words)
            equal(status, 0, output)
            equal(machine.command("sha256sum /tmp/got").split()[0], payload.digest(size), "SHA-256")
    with report.check("tftp.folder"):
        equal(get("sub/inner")[0], 0, "status")
        equal(machine.command("cat /tmp/got"), "inner")
    with report.check("tftp.missing_file"):
        status, output = get("missing")
        truth(status != 0 and "not found" in output.lower(), f"status {status}: {output}")
    with report.check("tftp.outside_of_the_folder"):
        status, output = get("../secret")
        truth(status != 0 and "access violation" in output.lower(), f"status {status}: {output}")
    with report.check("tftp.link_out_of_the_folder", beyond=True):
        truth(get("link")[0] != 0, "the file behind the link was served")


def talk(machine, where, path, count, seconds=60):
    """One exchange with a forward: the SHA-256 and size of what came back, and how the other side ended."""
    how = machine.command(f"guestkit talk {where} {path} {count} >/tmp/back", seconds).strip()
    digest = machine.command("sha256sum /tmp/back").split()[0]
    return digest, int(machine.command("wc -c </tmp/back")), how


def check_guestfwd(report, machine, tcp):
    machine.command(f"wget -q -O /tmp/blob http://{GATEWAY}:{tcp.port}/{MIB}; echo seven >/tmp/line; : >/tmp/nothing")
    want = payload.digest(MIB), MIB
    for name in ("chardev_both_ways", "chardev_a_second_time"):
        with report.check(f"guestfwd.{name}"):
            equal(talk(machine, CHARDEV, "/tmp/blob", MIB)[:2], want)
    with report.check("guestfwd.command_both_ways"):
        equal(talk(machine, f"{COMMANDS} 7", "/tmp/blob", MIB), (*want, "end"))
    with report.check("guestfwd.command_with_quoted_words"):
        said = b"two words|it is seven|a,b|"
        equal(talk(machine, f"{COMMANDS} 8", "/tmp/line", len(said)),
              (hashlib.sha256(said).hexdigest(), len(said), "end"))
    with report.check("guestfwd.command_missing"):
        equal(talk(machine, f"{COMMANDS} 9", "/tmp/nothing", 1)[1:], (0, "end"))
    with report.check("guestfwd.leaves_no_child"):
        path = f"/proc/{machine.process.pid}/task/{machine.process.pid}/children"
        with open(path, encoding="ascii") as file:
            equal(file.read().split(), [], "children of QEMU")


def check_restricted(report, machine, tcp):
    with report.check("restricted.dhcp"):
        machine.command("ip link set eth1 up && LEASE_FILE=/tmp/lease1 "
                        "udhcpc -i eth1 -n -q -f -t 5 -T 1 -s /udhcpc.sh")
        truth("ip=10.0.3.15" in machine.command("cat /tmp/lease1"), "another address")
        machine.command(f"ip route replace {outer.OUTSIDE_SECOND} via {RESTRICTED} dev eth1")
    with report.check("restricted.tftp"):
        machine.command(f"tftp -g -r file513 -l /tmp/got {RESTRICTED}")
        equal(machine.command("sha256sum /tmp/got").split()[0], payload.digest(513), "SHA-256")
    ports = forwards(machine)
    with report.check("restricted.hostfwd_tcp"):
        machine.command("guestkit serve-tcp 2000 && guestkit serve-udp 2001")
        stream, seen = client(ports["tcp", 2000])
        with stream:
            equal(seen, RESTRICTED.encode(), "address that the guest sees")
            stream.sendall(b"there and back")
            equal(stream.recv(100), b"there and back")
    with report.check("restricted.hostfwd_udp", beyond=True):
        equal(udp_ask(ports["udp", 2001], b"there and back"), b"there and back")
    with report.check("restricted.guestfwd"):
        equal(talk(machine, "10.0.3.100 7", "/tmp/blob", MIB), (payload.digest(MIB), MIB, "end"))
    with report.check("restricted.ping_gateway"):
        machine.command(f"ping -c 1 -W 3 {RESTRICTED}")
    accepted = tcp.accepted
    for name, address in (("gateway", RESTRICTED), ("outside", outer.OUTSIDE_SECOND)):
        with report.check(f"restricted.tcp_{name}_is_refused"):
            number, took = machine.command(f"guestkit refused {address} {tcp.port}", 15).split()
            truth(number != "0" and int(took) < 2000, f"error {number} after {took} ms")
    with report.check("restricted.udp_and_ping_get_nothing"):
        echo = services.UdpEcho("0.0.0.0")
        status, output = machine.run(f"guestkit udp {outer.OUTSIDE_SECOND} {echo.port} 100")
        echo.close()
        equal(output.strip(), "", f"status {status}, sizes that came back")
        status, output = machine.run(f"ping -c 1 -W 1 {outer.OUTSIDE_SECOND}")
        truth(status != 0, output)
    with report.check("restricted.no_names"):
        status, output = machine.run("timeout 2 nslookup -type=a name.test 10.0.3.3")
        truth("192.0.2.1" not in output, output)
    with report.check("restricted.nobody_got_through"):
        equal(tcp.accepted, accepted, "connections that the service took")


def run(report, accelerator, kernel, initramfs, tcp):
    """All of it in one guest with two network cards."""
    report.prefix = "qemu.services."
    if not report.wanted("services"):
        return
    place = []

    def words(folder):
        first, rest = netdevs(folder)
        return [*boot_words(accelerator, kernel, initramfs, "e1000", first), *rest]

    with scenario(report, words, lambda folder: (prepare(folder), place.append(folder))) as machine:
        if machine is None:
            return
        with report.check("start.guest_is_up"):
            machine.wait_up(90)
            ChardevEcho(os.path.join(place[0], "echo"))
            machine.command("LEASE_FILE=/tmp/lease udhcpc -i eth0 -n -q -f -t 5 -T 1 -s /udhcpc.sh")
        report.info("hostfwd=unix: is not in this QEMU; the C program unix_hostfwd covers the library's side")
        check_tftp(report, machine)
        check_guestfwd(report, machine, tcp)
        check_restricted(report, machine, tcp)
        migration.check(report, machine, words, ChardevEcho, CHARDEV, tcp)
