"""An unmodified slirp4netns whose network is asked and changed by its control socket, from behind its sandbox and its seccomp filter:
docs/control.md."""

import os
import resource
import socket
import tempfile
import time

from guest import Guest
from rig import outer, services, waiting
from rig.control import Control
from rig.report import equal, truth

GATEWAY = "10.0.2.2"
GUEST = "10.0.2.100"
# So many ports of one request are to be there in a second.
MANY = 60_000
LONGEST = 1.0


def through(port):
    """What the guest answers through a host forward."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.sendall(b"PEER\n")
        return stream.recv(100)


def check(report, options, host):
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        path = os.path.join(folder, "c-%i.sock")
        config = os.path.join(folder, "config.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[control]\nsocket = '{path}'\n")
        guest = control = None
        try:
            with report.check("start.ready"):
                guest = Guest(options, folder, attach=False)
                guest.config = config
                guest.start(options)
                control = Control(path.replace("%i", "1"))
            if control is not None:
                check_all(report, guest, host, control)
        finally:
            if control is not None:
                control.close()
            if guest is not None:
                guest.close()


def check_all(report, guest, host, control):
    with report.check("one_thread"):
        equal(waiting.threads_of(guest.slirp.pid), 1, "threads")
    with report.check("forward"):
        inside = guest.ask("serve_tcp")
        port = services.free_port()
        forward = {"protocol": "tcp", "listen": f"127.0.0.1:{port}", "guest": f"{GUEST}:{inside}"}
        equal(control.ok("forward.add", forwards=[forward])["added"], 1)
        equal(through(port).split()[0], GATEWAY.encode())
        equal(control.ok("forward.remove", forwards=[{"protocol": "tcp", "listen": forward["listen"]}])["removed"], 1)
    with report.check("forward_to_a_unix_socket_is_not_there_any_more"):
        # The sandbox has left the file system: what can be bound is gone with the guest.
        answer = control.ask("forward.add", forwards=[{"protocol": "unix", "listen": "/nowhere/x", "guest": ":22"}])
        equal(answer["error"]["kind"], "system")
    with report.check("capture_after_the_sandbox_is_refused"):
        equal(control.ask("capture.start", file="/var/tmp/x.pcapng")["error"]["kind"], "system")
    with report.check("many_ports"):
        many(report, guest, control)
    with report.check("policy"):
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[10], timeout=3), [10], "answers")
        control.ok("policy.replace", text="[policy]\n[[policy.rule]]\naction = 'allow'\nprotocol = 'tcp'\n")
        equal(guest.ask("udp", host=GATEWAY, port=host.udp.port, sizes=[10], timeout=0.5), [], "answers")
        equal(guest.ask("udp", host=outer.OUTSIDE, port=host.udp_outside.port, sizes=[10], timeout=0.5), [], "answers")
        truth(guest.ask("get", host=GATEWAY, port=host.tcp.port, size=1000)["digest"], "no answer")
        truth(any(flow["protocol"] == "tcp" for flow in control.ok("flows")["flows"]), "no flow")


def processor(pid):
    """Seconds that a process has had a processor."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def many(report, guest, control):
    """A range of ports in one request: how long it takes, and how many descriptors it needs. Where the machine permits less than 60,000
    it is as many as it permits, in as much less time."""
    pid = guest.slirp.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, hard))
    forward = {"protocol": "tcp", "listen": f"127.0.0.1:2000-{2000 + MANY - 1}", "guest": ":80"}
    equal(control.ask("forward.add", forwards=[forward])["error"]["kind"], "limit")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    count = min(MANY, hard - 500)
    place = {"protocol": "tcp", "listen": f"127.0.0.1:2000-{2000 + count - 1}"}
    before = len(os.listdir(f"/proc/{pid}/fd"))
    worked = processor(pid)
    start = time.monotonic()
    answer = control.ask("forward.add", forwards=[dict(place, guest=":80")])
    took, worked = time.monotonic() - start, processor(pid) - worked
    equal(answer.get("ok", answer).get("added"), count)
    descriptors = len(os.listdir(f"/proc/{pid}/fd")) - before
    report.info(f"many ports: {count} in {took:.2f} s (of a processor {worked:.2f} s), {descriptors} descriptors")
    truth(descriptors <= count + 1, f"{descriptors} descriptors")
    # Others may want the processors as well.
    truth(worked <= LONGEST * count / MANY, f"took {worked:.2f} s of a processor")
    start = time.monotonic()
    equal(control.ok("forward.remove", forwards=[place])["removed"], count)
    report.info(f"many ports: removed in {time.monotonic() - start:.2f} s")
