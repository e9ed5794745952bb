"""The table of ways around a policy (`../lib/bypass`), tried by a guest of an unmodified slirp4netns."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

from bypass import suite, table, witness  # noqa: E402  (the path has to be set first)
from rig import outer, services  # noqa: E402

POLICY = suite.POLICY
OPTIONS = ["--configure", "--enable-ipv6", "--mtu=1500"]


def check(report, guest):
    ports = {6: services.free_port(), 17: services.free_port(witness.socket.SOCK_DGRAM)}
    witness.everything_is_local("add")
    seen = witness.Witness(ports)
    try:
        outer.resolv_conf([witness.RESOLVER])
        guest.command("ip", "addr", "add", "fd00::100/64", "dev", "tap0", "nodad")
        guest.command("ip", "-6", "route", "replace", "default", "via", "fd00::2", "dev", "tap0")
        guest.forward("tcp", ports[6], table.INSIDE_TCP)
        guest.forward("udp", ports[17], table.INSIDE_UDP)
        suite.check(report, guest, seen)
    finally:
        seen.close()
        witness.everything_is_local("del")
        outer.resolv_conf(["127.0.0.53"])
