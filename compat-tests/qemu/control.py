"""An unmodified QEMU whose network is asked and changed by its control socket: docs/control.md. The machine is stopped, so that its
clock stands still; the guest is none of this."""

import os
import subprocess
import tempfile

from machine import QEMU
from rig import library, services, waiting
from rig.control import Control
from rig.report import equal, truth

# More than one round adds.
MANY = 700


def run(report):
    report.prefix = "qemu.control."
    if not report.wanted("control") or report.upstream:
        return
    with tempfile.TemporaryDirectory(prefix="rig-") as folder:
        config = os.path.join(folder, "config.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[control]\nsocket = '{folder}/%i.sock'\n")
        forwarded = services.free_port()
        with open(os.path.join(folder, "log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [QEMU, "-S", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "64",
                 "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{forwarded}-:22", "-device", "e1000,netdev=net0"],
                env=dict(library.environment(), OXISLIRP_CONFIG=config), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=waiting.die_with_parent)
        control = None
        try:
            with report.check("greeting"):
                control = waiting.until(lambda: Control(os.path.join(folder, "1.sock")), 20, "the control socket")
            if control is not None:
                check(report, control, forwarded)
        finally:
            if control is not None:
                control.close()
            waiting.end(process)
        with report.check("the_socket_goes_with_the_machine"):
            truth(not os.path.exists(os.path.join(folder, "1.sock")), "it is there")


def check(report, control, forwarded):
    with report.check("forwards_of_the_command_line"):
        listed = control.ok("forward.list")["forwards"]
        equal([(one["protocol"], one["listen"], one["guest"]) for one in listed],
              [("tcp", f"127.0.0.1:{forwarded}", "0.0.0.0:22")])
    with report.check("range_while_the_clock_stands_still"):
        place = {"protocol": "tcp", "listen": f"127.0.0.1:2000-{2000 + MANY - 1}"}
        equal(control.ok("forward.add", forwards=[dict(place, guest=":80")])["added"], MANY)
        equal(control.ok("forward.remove", forwards=[place])["removed"], MANY)
    with report.check("policy"):
        equal(control.ok("policy.test", to="10.0.2.2:22")["by"], "no-policy")
        control.ok("policy.replace", text="[policy]\npreset = 'internet-only'\n")
        equal(control.ok("policy.test", to="10.0.2.2:22")["action"], "deny")
    with report.check("drain"):
        equal(control.ok("drain", wait=True)["flows"], 0)
