#!/usr/bin/env python3
"""The sandbox of docs/policy.md word by word: its file, and its three commands with their programs. See README.md.

run.py [--only PATTERN]

SLIRP_LIBDIR holds libslirp.so.0. Upstream's library knows no such file.
"""

import argparse
import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
LIB = os.path.join(TESTS, "lib")
sys.path[:0] = [LIB, os.path.join(TESTS, "qemu"), os.path.join(TESTS, "vde")]

import image  # noqa: E402  (the path has to be set first)
import programs  # noqa: E402
from machine import Machine, acceleration  # noqa: E402
from rig import library, names, outer, payload, services, waiting  # noqa: E402
from rig.agent import Agent  # noqa: E402
from rig.report import Failure, Report, equal, truth  # noqa: E402

PAGE = os.path.join(os.path.dirname(TESTS), "docs", "policy.md")
VARIABLE = "OXISLIRP_CONFIG="
AGENT = [sys.executable, os.path.join(LIB, "guest_agent.py")]
KIB = 1024
# What the page's file opens: a network that is for documentation, and a port of the host.
INTERNET, HTTPS, LOCAL = "192.0.2.1", 443, 8080
GATEWAY, NAMESERVER, FORWARDED = "10.0.2.2", "10.0.2.3", 2222


class Page:
    """The section of the sandbox: its file, its commands by program, and its message about a file that is wrong."""

    def __init__(self):
        with open(PAGE, encoding="utf-8") as file:
            whole = file.read()
        section = whole.split("## A sandbox in ten lines\n", 1)[1].split("\n## ", 1)[0]
        self.file = re.search(r"```toml\n(.*?)```", section, re.S).group(1)
        self.name = re.match(r"# (\S+):", self.file).group(1)
        lines = [line.strip() for line in section.split("\n") if line.startswith("    " + VARIABLE)]
        self.commands = {line.split()[1]: line for line in lines}
        self.message = re.search(rf"^    (slirp_new: {re.escape(self.name)}:.*)$", whole, re.M).group(1)


class Outside:
    """What there is on the host's side: what the file opens, and beside it what it does not."""

    def __init__(self):
        subprocess.run(["ip", "addr", "add", f"{INTERNET}/32", "dev", "lo"], check=True)
        self.open = [services.TcpService(INTERNET, port=HTTPS), services.TcpService("127.0.0.1", port=LOCAL)]
        self.shut = [services.TcpService(INTERNET, port=HTTPS + 1), services.TcpService("127.0.0.1", port=LOCAL + 1),
                     services.TcpService(outer.OUTSIDE, port=HTTPS)]
        self.udp = services.UdpEcho("127.0.0.1")
        self.names = names.NameServer("127.0.0.53", {"name.test": ["192.0.2.1"]})
        outer.resolv_conf(["127.0.0.53"])

    def untouched(self):
        equal([one.accepted for one in self.shut], [0, 0, 0], "connections of what is refused")


def started(command, folder, **more):
    """A line of the page, run by a shell in the folder of the file."""
    return subprocess.Popen(["sh", "-c", "exec env " + command], cwd=folder, env=library.environment(),
                            preexec_fn=waiting.die_with_parent, **more)


def check_guest(report, ask, outside):
    """What a guest with the agent in it reaches."""
    for host, port in ((INTERNET, HTTPS), (GATEWAY, LOCAL)):
        with report.check(f"opens_{host}_{port}"):
            equal(ask("get", host=host, port=port, size=64 * KIB)["digest"], payload.digest(64 * KIB), "SHA-256")
    with report.check("opens_names"):
        equal(ask("resolve", server=NAMESERVER, name="name.test", tries=3)["addresses"], ["192.0.2.1"])
    for host, port in ((INTERNET, HTTPS + 1), (GATEWAY, LOCAL + 1), (outer.OUTSIDE, HTTPS)):
        with report.check(f"refuses_{host}_{port}"):
            got = ask("refused", host=host, port=port, timeout=3)
            truth(got["errno"] != 0 and got["seconds"] < 1, got)
    with report.check("refuses_datagrams"):
        equal(ask("udp", host=GATEWAY, port=outside.udp.port, sizes=[10], timeout=0.5), [], "answers")
    with report.check("refused_is_not_begun"):
        outside.untouched()


def prove(process):
    """The library is in the program that the line has started, or in what that has."""
    def one():
        for pid in [process.pid, *children(process.pid)]:
            with contextlib.suppress(OSError):
                if library.mapped(pid):
                    return pid
        return None
    library.prove(waiting.until(one, 10, "a process with libslirp"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def vdens(report, page, folder, outside):
    """The line ends in a shell, which becomes the agent."""
    command = page.commands["vdens"]
    with open(os.path.join(folder, "log"), "w+", encoding="utf-8") as log:
        process = started(command, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            with report.check("start"):
                process.stdin.write(f"exec {shlex.join(AGENT)}\n".encode())
                process.stdin.flush()
                agent = Agent(process.stdin.fileno(), process.stdout.fileno())
                agent.ready(15)
                prove(process)
            check_guest(report, agent.ask, outside)
            with report.check("opens_names_to_programs"):
                done = agent.ask("run", words=["getent", "ahostsv4", "name.test"])
                truth(done["status"] == 0 and "192.0.2.1" in done["output"], done)
        finally:
            process.stdin.close()
            waiting.end(process)
            process.stdout.close()


def wrong(report, page, folder):
    """A file in which the port is what the page's message says: no network, and this message. A program can only do without."""
    text = page.file.replace("host-port = 443", 'host-port = "80-79"')
    with open(os.path.join(folder, page.name), "w", encoding="utf-8") as file:
        file.write(text)
    with report.check("wrong_file_message"):
        done = subprocess.run(["sh", "-c", "exec env " + page.commands["vdens"]], cwd=folder, env=library.environment(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        truth(page.message in done.stdout, done.stdout)


def slirp4netns(report, page, folder, outside):
    flags = ["-r", "-n"] if outer.user_namespaces() else ["-n"]
    guest = subprocess.Popen(["unshare", *flags, *AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=waiting.die_with_parent)
    agent = Agent(guest.stdin.fileno(), guest.stdout.fileno())
    agent.ready(10)
    command = re.sub(r"\bPID\b", str(guest.pid), page.commands["slirp4netns"])
    with open(os.path.join(folder, "log"), "w+", encoding="utf-8") as log:
        process = started(command, folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            with report.check("start"):
                waiting.until(lambda: "default via" in agent.ask("run", words=["ip", "route"])["output"], 10, "a route of the guest")
                prove(process)
            check_guest(report, agent.ask, outside)
        finally:
            waiting.end(process)
            guest.stdin.close()
            waiting.end(guest)
            guest.stdout.close()


def qemu(report, page, folder, outside, kernel, initramfs):
    """The line's `...` is the machine: a kernel, and the monitor and the shell of the test."""
    variable, program, *words = shlex.split(page.commands["qemu-system-x86_64"])
    equal((program, words.pop()), ("qemu-system-x86_64", "..."))
    accelerator = acceleration(kernel, initramfs, report.info)
    machine = None
    environment = dict(library.environment(), **dict([variable.split("=", 1)]))
    try:
        with report.check("start"):
            machine = Machine([*words, "-accel", accelerator, "-m", "384", "-kernel", kernel, "-initrd", initramfs, "-append",
                               "console=ttyS0 quiet panic=-1 rig.nic=virtio-net-pci", "-serial", "chardev:console", "-serial", "chardev:shell"],
                              folder, environment)
            machine.wait_up(90)
            prove(machine.process)
            machine.command("udhcpc -i eth0 -n -q -f -t 5 -T 1 -s /udhcpc.sh")
        if machine is None:
            return
        for host, port in ((INTERNET, HTTPS), (GATEWAY, LOCAL)):
            with report.check(f"opens_{host}_{port}"):
                machine.command(f"wget -q -O /tmp/blob http://{host}:{port}/{64 * KIB}")
                equal(machine.command("sha256sum /tmp/blob").split()[0], payload.digest(64 * KIB), "SHA-256")
        with report.check("opens_names"):
            text = machine.command(f"nslookup -type=a name.test {NAMESERVER}")
            truth("192.0.2.1" in text, text)
        for host, port in ((INTERNET, HTTPS + 1), (GATEWAY, LOCAL + 1), (outer.OUTSIDE, HTTPS)):
            with report.check(f"refuses_{host}_{port}"):
                number, took = machine.command(f"guestkit refused {host} {port}", 15).split()
                truth(number != "0" and int(took) < 1000, f"{number} after {took} ms")
        with report.check("refuses_datagrams"):
            status, text = machine.run(f"guestkit udp {GATEWAY} {outside.udp.port} 10", 30)
            truth(status != 0 or not text.strip(), text)
        with report.check("refused_is_not_begun"):
            outside.untouched()
        with report.check("opens_the_forward"):
            machine.command("guestkit serve-tcp 22")
            with socket.create_connection(("127.0.0.1", FORWARDED), 10) as stream:
                stream.settimeout(10)
                equal(stream.makefile("rb").readline().strip(), b"10.0.2.2", "address that the guest sees")
                stream.sendall(b"hello")
                equal(stream.recv(100), b"hello")
    finally:
        if machine is not None:
            machine.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pattern: only the programs whose name it finds")
    parser.add_argument("--limit", type=int, default=300, help="seconds for the whole run")
    chosen = parser.parse_args()
    if not os.environ.get(outer.MARK):
        programs.install()
    outer.enter()
    report = Report(False, chosen.only)
    report.watchdog(chosen.limit)
    page = Page()
    report.prefix = "sandbox."
    with report.check("page_has_three_commands"):
        equal(sorted(page.commands), ["qemu-system-x86_64", "slirp4netns", "vdens"])
    if not library.is_ours():
        print("SKIPPED: upstream's library knows no such file")
        sys.exit(report.summary())
    outside = Outside()
    for program in (vdens, slirp4netns, qemu):
        if not report.wanted(program.__name__):
            continue
        report.prefix = f"sandbox.{program.__name__}."
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rig-") as folder:
            with open(os.path.join(folder, page.name), "w", encoding="utf-8") as file:
                file.write(page.file)
            os.chdir(folder)
            try:
                more = []
                if program is qemu:
                    cache = os.environ.get("RIG_CACHE") or os.path.join(os.path.dirname(TESTS), "target", "rig")
                    more = image.build(cache, image.PROGRAMS)
                program(report, page, folder, outside, *more)
                if program is vdens:
                    wrong(report, page, folder)
            except (Failure, OSError, subprocess.SubprocessError, image.Missing) as error:  # a step outside any check
                with report.check("steps"):
                    raise error
            finally:
                os.chdir("/")
        report.info(f"{program.__name__}: {time.monotonic() - begun:.1f} s")
    report.prefix = "sandbox."
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
