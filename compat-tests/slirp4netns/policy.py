"""What a guest of an unmodified slirp4netns reaches under a file of OXISLIRP_CONFIG: docs/policy.md."""

import os
import tempfile

from guest import Guest
from rig import outer, payload, services
from rig.report import Failure, equal, truth

GATEWAY = "10.0.2.2"
NAMESERVER = "10.0.2.3"
MIB = 1 << 20

SANDBOX = """
[policy]
default = "deny"
rule = [
  {{ action = "allow", service = "dns" }},
  {{ action = "allow", protocol = "tcp", named = "10.0.2.2", host-port = {open} }},
  {{ action = "allow", direction = "in", protocol = "tcp", guest-port = {inside} }},
]
"""
INTERNET_ONLY = "[policy]\npreset = 'internet-only'\n"


def refused(guest, host, port):
    """How a connection of the guest ended that is not to be; the time is the guest's."""
    got = guest.ask("refused", host=host, port=port, timeout=3)
    truth(got["errno"] != 0, f"connected to {host} port {port}")
    return got


def write(folder, text):
    path = os.path.join(folder, "policy.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def check_sandbox(report, guest, host):
    """The file is that of `sandbox`."""
    with report.check("allowed_service"):
        got = guest.ask("get", host=GATEWAY, port=host.tcp.port, size=MIB)
        equal(got["digest"], payload.digest(MIB), "SHA-256")
    with report.check("the_same_service_by_another_address"):
        got = refused(guest, outer.OUTSIDE, host.tcp.port)
        truth(got["seconds"] < 1, f"took {got['seconds']:.2f} s to be refused")
    with report.check("another_port"):
        listener = services.TcpService("0.0.0.0")
        refused(guest, GATEWAY, listener.port)
    with report.check("udp"):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[10], timeout=0.5), [], "answers")
        equal(guest.ask("udp", host=outer.OUTSIDE, port=host.udp_outside.port, sizes=[10], timeout=0.5), [], "answers")
    with report.check("udp_is_told"):
        got = guest.ask("udp_refused", host=GATEWAY, port=host.udp.port)
        truth(got not in ("answered", "timed out"), f"the guest saw: {got}")
    with report.check("ping_outside"):
        done = guest.ask("run", words=["busybox", "ping", "-c", "1", "-W", "1", outer.OUTSIDE])
        truth(done["status"] != 0, done["output"])
    with report.check("ping_gateway"):
        guest.command("busybox", "ping", "-c", "1", "-W", "3", GATEWAY)
    for over in ("udp", "tcp"):
        with report.check(f"dns_{over}"):
            equal(guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3, over=over)["addresses"], ["192.0.2.1"])
    with report.check("dns_of_another_server"):
        equal(guest.ask("resolve", server=outer.OUTSIDE, name="name.test", timeout=0.5)["addresses"], [])


def check_internet_only(report, guest, host):
    """The preset: everything that is there in this rig is private, or for documentation."""
    for address in (GATEWAY, outer.OUTSIDE, "10.0.2.77", "192.168.1.1", "169.254.169.254"):
        with report.check(f"tcp_{address}"):
            refused(guest, address, host.tcp.port)
    with report.check("udp"):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[10], timeout=0.5), [], "answers")
    with report.check("dns"):
        equal(guest.ask("resolve", server=NAMESERVER, name="name.test", tries=3)["addresses"], ["192.0.2.1"])


def check_fault(report, options):
    """A file that makes no sense: no network, and a message that says where."""
    with report.check("no_network_and_a_message"), tempfile.TemporaryDirectory(prefix="rig-") as folder:
        path = write(folder, "[policy]\ndefault = 'alow'\n")
        guest = Guest(options, folder, attach=False)
        try:
            guest.config = path
            guest.start(options)
        except Failure:
            # All of it: slirp4netns says much behind the message.
            guest.log.seek(0)
            said = guest.log.read()
            truth(f"{path}:2: policy.default: `alow` is none of allow, deny, drop" in said, said)
        else:
            raise Failure("slirp4netns runs")
        finally:
            guest.close()


def sandbox(host, inside):
    """The file of a sandbox with one open service of the host, and one of the guest."""
    return SANDBOX.format(open=host.tcp.port, inside=inside)
