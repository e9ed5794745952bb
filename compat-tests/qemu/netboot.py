"""QEMU's own iPXE starts from the network: DHCP with the boot file's name, then files over TFTP."""

import os
import time

from common import MIB, scenario
from rig import payload, waiting
from rig.report import Failure, truth

SCRIPT = """#!ipxe
echo rig: started as ${net0/ip} from ${net0/next-server} by ${filename}
imgfetch missing || echo rig: missing file is an error
imgfetch --name blob blob && imgstat blob
chain sub/second.ipxe
"""
SECOND = """#!ipxe
echo rig: second script
sleep 1000
"""
SIZE = MIB + 77


def prepare(folder):
    top = os.path.join(folder, "tftp")
    os.makedirs(os.path.join(top, "sub"))
    for name, data in (("boot.ipxe", SCRIPT.encode()), ("sub/second.ipxe", SECOND.encode()),
                       ("blob", payload.data(SIZE))):
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)


def run(report, accelerator):
    """One start without a disk or a kernel. The console of the firmware goes to the first serial port."""
    report.prefix = "qemu.netboot."
    if not report.wanted("netboot"):
        return

    def words(folder):
        return ["-accel", accelerator, "-machine", "graphics=off", "-m", "64", "-boot", "n",
                "-serial", "chardev:console", "-serial", "chardev:shell",
                "-netdev", f"user,id=net0,tftp={os.path.join(folder, 'tftp')},bootfile=boot.ipxe",
                "-device", "e1000,netdev=net0,mac=52:54:00:12:34:56"]

    started = time.monotonic()
    with scenario(report, words, prepare) as machine:
        if machine is None:
            return

        def console():
            with open(os.path.join(machine.folder, "console"), encoding="utf-8", errors="replace") as file:
                return " ".join(file.read().split())

        with report.check("bootfile_over_tftp"):
            try:
                waiting.until(lambda: "rig: started as 10.0.2.15 from 10.0.2.2 by boot.ipxe" in console(), 40,
                              "the first script")
            except Failure as failure:
                raise Failure(f"{failure}: {console()[-400:]}") from None
        with report.check("second_script"):
            waiting.until(lambda: "rig: second script" in console(), 20, "the second script")
        with report.check("missing_file_is_an_error"):
            truth("rig: missing file is an error" in console(), console()[-400:])
        with report.check("large_file"):
            truth(f"blob : {SIZE} bytes" in console(), console()[-400:])
        report.info(f"netboot took {time.monotonic() - started:.1f} s")
