"""Runs the table against a guest behind some program, and judges: `check` gives a line to each row."""

from rig.report import Failure

from . import table, zone

POLICY = """
[policy]
default = "deny"
rule = [
  { action = "allow", service = "dns" },
  { action = "deny", name = "ads.good.test" },
  { action = "deny", protocol = ["tcp", "udp"], host-port = 443, name = ["ads.good.test", "*.ads.good.test"], tls = "sni" },
  { action = "deny", name = "*.ads.good.test" },
  { action = "allow", protocol = ["tcp", "udp"], host-port = 443, name = ["good.test", "*.good.test"], tls = "sni" },
  { action = "allow", protocol = "tcp", host-port = 80, name = "web.test", http = "host" },
  { action = "allow", protocol = "tcp", host-port = 7000, name = "*.named.test" },
  { action = "allow", protocol = "tcp", host-port = 7000, name = "corp.test", host = "10.1.0.0/16" },
  { action = "allow", protocol = "tcp", host = "198.51.100.1", host-port = 7001 },
  { action = "allow", protocol = "udp", host = "198.51.100.1", host-port = 7002 },
  { action = "allow", direction = "in", protocol = "tcp", guest-port = 2222 },
  { action = "allow", direction = "in", protocol = "udp", guest-port = 2223 },
]
"""
MAY_BE_ASKED = (1, 12, 16, 28, 65)


def may_ask(name, kind):
    good = name in ("good.test", "web.test", "corp.test") or name.endswith((".good.test", ".named.test"))
    return good and name != "ads.good.test" and not name.endswith(".ads.good.test") and name in zone.ZONE and kind in MAY_BE_ASKED


def check(report, guest, seen):
    """`guest.ask` is answered by the agent behind the network, `seen` is the witness."""
    passed = 0
    for name, (_, what, control, may) in table.TABLE.items():
        with report.check(name):
            mark, heard = len(seen.seen), len(seen.names.heard)
            done = guest.ask("bypass", name=name)
            packets = seen.since(mark, done["fence"], 5)
            astray = seen.astray(packets, may)
            foreign = [one for one in seen.names.heard[heard:] if not may_ask(*one)]
            if done["found"] or astray or foreign:
                passed += not control
                raise Failure(f"{what}: guest: {done['found'][:3]}; host: {astray[:3]}; name server: {foreign[:3]}")
    tried = [one for one in table.TABLE.values() if not one[2]]
    report.info(f"{len(tried)} ways around, of which {passed} got through; {len(table.TABLE) - len(tried)} controls")

