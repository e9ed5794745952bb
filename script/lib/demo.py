"""The tour that script/demo gives: real programs on this library, step by step, with a verdict at the end."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for room in ("lib", "slirp4netns", "qemu"):
    sys.path.insert(0, os.path.join(TOP, "compat-tests", room))

import image  # noqa: E402  (the path has to be set first)
from guest import Guest  # noqa: E402
from machine import Machine  # noqa: E402
from rig import library, names, outer, payload, services  # noqa: E402
from rig.report import Report, equal, truth  # noqa: E402

MIB = 1 << 20


def say(text):
    print(text, flush=True)


def shown(text):
    """Print the output of a program, set in."""
    for line in text.strip().split("\n"):
        say("      " + line)


def get(port):
    """The line that a PEER request through a forward brings."""

    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        stream.sendall(b"PEER\n")
        return stream.makefile().readline().strip()


def slirp4netns_tour(report, tcp, udp):
    say("\nslirp4netns: a network namespace without any device of its own, sandboxed and with seccomp")
    report.prefix = "slirp4netns: "
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        guest = None
        try:
            with report.check("starts on the library"):
                guest = Guest(["--configure", "--mtu=65520", "--enable-sandbox", "--enable-seccomp"], folder)
                say("      loaded: " + library.prove(guest.slirp.pid))
            if guest is None:
                return
            with report.check("has an address"):
                shown(guest.command("ip", "-br", "addr", "show", "dev", "tap0"))
                shown(guest.command("ip", "route"))
            with report.check("gets the same network by DHCP"):
                lease = os.path.join(folder, "lease")
                guest.command("ip", "addr", "flush", "dev", "tap0")
                done = guest.ask("run", words=["busybox", "udhcpc", "-i", "tap0", "-n", "-q", "-f", "-t", "5", "-T",
                                               "1", "-s", os.path.join(TOP, "compat-tests/lib/udhcpc.sh")],
                                 env={"LEASE_FILE": lease})
                equal(done["status"], 0, done["output"])
                with open(lease, encoding="ascii") as file:
                    shown(", ".join(file.read().split()))
            with report.check("pings its gateway"):
                shown(guest.command("busybox", "ping", "-c", "3", "-i", "0.2", "10.0.2.2"))
            with report.check("resolves a name"):
                text = guest.command("busybox", "nslookup", "-type=a", "name.test", "10.0.2.3")
                shown(text)
                truth("192.0.2.1" in text, "no address")
            for word, op in (("downloads", "get"), ("uploads", "put")):
                with report.check(f"{word} 200 MiB"):
                    size = 200 * MIB
                    got = guest.ask(op, host="10.0.2.2", port=tcp.port, size=size, within=200)
                    say(f"      SHA-256 {got['digest']}, {size * 8e-9 / got['seconds']:.2f} Gbit/s")
                    equal(got["digest"], payload.digest(size), "SHA-256")
            with report.check("exchanges datagrams"):
                equal(guest.ask("udp", host="10.0.2.2", port=udp.port, sizes=[0, 1, 1472, 4000]), [0, 1, 1472, 4000])
            with report.check("is reached through a host forward"):
                port = services.free_port()
                inside = guest.ask("serve_tcp")
                guest.command("ip", "addr", "add", "10.0.2.100/24", "dev", "tap0")
                guest.forward("tcp", port, inside)
                say(f"      127.0.0.1:{port} leads to the guest, which sees its client as {get(port)}")
            with report.check("ends cleanly"):
                equal(guest.stop(), 0, "exit status")
        finally:
            if guest is not None:
                guest.close()


def qemu_tour(report, tcp):
    say("\nQEMU: a Debian kernel with busybox, emulated (no KVM needed), virtio network card")
    report.prefix = "qemu: "
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        machine = None
        try:
            with report.check("boots on the library"):
                kernel, initramfs = image.build(os.environ.get("RIG_CACHE") or os.path.join(TOP, "target", "rig"))
                netdev = "user,id=net0,hostfwd=tcp:127.0.0.1:0-:80"
                machine = Machine(["-accel", "tcg", "-m", "384", "-kernel", kernel, "-initrd", initramfs,
                                   "-append", "console=ttyS0 quiet panic=-1 rig.nic=virtio-net-pci",
                                   "-serial", "chardev:console", "-serial", "chardev:shell", "-netdev", netdev,
                                   "-device", "virtio-net-pci,netdev=net0,romfile="], folder)
                say("      loaded: " + library.prove(machine.process.pid))
                say(f"      up after {machine.wait_up(90):.1f} s of the guest's clock")
            if machine is None:
                return
            with report.check("gets a lease"):
                shown(machine.command("LEASE_FILE=/tmp/lease udhcpc -i eth0 -n -q -f -t 5 -T 1 -s /udhcpc.sh"))
            with report.check("pings its gateway and resolves a name"):
                shown(machine.command("ping -c 3 -i 0.2 10.0.2.2 && nslookup -type=a name.test 10.0.2.3"))
            with report.check("downloads 16 MiB"):
                size = 16 * MIB
                machine.command(f"wget -q -O /tmp/blob http://10.0.2.2:{tcp.port}/{size}", 90)
                found = machine.command("sha256sum /tmp/blob").split()[0]
                say(f"      SHA-256 {found}")
                equal(found, payload.digest(size), "SHA-256")
            with report.check("shows its forward, which leads to the guest's web server"):
                machine.command("mkdir /tmp/www && echo Hello from the guest >/tmp/www/index.html && httpd -h /tmp/www")
                text = machine.human("info usernet")
                shown(text)
                port = re.search(r"TCP\[HOST_FORWARD\] +\d+ +\S+ +(\d+)", text)
                truth(port, "no forward")

                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                body = opener.open(f"http://127.0.0.1:{port.group(1)}/", timeout=10).read().decode()
                shown(body)
                equal(body, "Hello from the guest\n")
            with report.check("quits cleanly"):
                equal(machine.quit(), 0, "exit status")
        finally:
            if machine is not None:
                machine.close()


def main():
    outer.enter()
    report = Report(upstream=False)
    report.watchdog(300)
    names.NameServer("127.0.0.53", {"name.test": ["192.0.2.1"]})
    outer.resolv_conf(["127.0.0.53"])
    tcp, udp = services.TcpService("0.0.0.0"), services.UdpEcho("127.0.0.1")
    version = subprocess.run(["slirp4netns", "--version"], env=library.environment(), stdout=subprocess.PIPE, text=True,
                             check=False).stdout
    shown(version)
    slirp4netns_tour(report, tcp, udp)
    if shutil.which("qemu-system-x86_64"):
        qemu_tour(report, tcp)
    else:
        say("\nQEMU is not installed, its part is left out.")
    report.prefix = ""
    say("")
    status = report.summary()
    say("Verdict: everything shown works." if status == 0 else "Verdict: something failed, see the lines 'not ok'.")
    sys.exit(status)


if __name__ == "__main__":
    main()
