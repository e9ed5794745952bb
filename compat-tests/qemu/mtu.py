"""A longer MTU under an unmodified QEMU, by `[network]` of OXISLIRP_CONFIG: the guest learns of it by DHCP, and its card takes such frames
(docs/config.md)."""

import os
import tempfile

from common import GATEWAY, MIB, scenario
from machine import boot_words
from rig import payload
from rig.report import equal

# The longest packet of each card that is no longer than the file may say.
CARDS = {"virtio-net-pci": 65520, "e1000": 16110}
SIZE = 16 * MIB


def run(report, accelerator, kernel, initramfs, tcp):
    if report.upstream:
        return
    for card, mtu in CARDS.items():
        report.prefix = f"qemu.mtu.{card}."
        if not report.wanted(f"mtu.{card}"):
            continue
        with tempfile.TemporaryDirectory(prefix="rig-") as folder:
            config = os.path.join(folder, "config.toml")
            with open(config, "w", encoding="utf-8") as file:
                file.write(f"[network]\nmtu = {mtu}\n")
            os.environ["OXISLIRP_CONFIG"] = config
            try:
                with scenario(report, boot_words(accelerator, kernel, initramfs, card)) as machine:
                    if machine is not None:
                        check(report, machine, mtu, tcp)
            finally:
                del os.environ["OXISLIRP_CONFIG"]


def check(report, machine, mtu, tcp):
    with report.check("learned_by_dhcp"):
        machine.wait_up(90)
        machine.command("LEASE_FILE=/tmp/lease udhcpc -O mtu -i eth0 -n -q -f -t 5 -T 1 -s /udhcpc.sh")
        equal(machine.command("cat /sys/class/net/eth0/mtu").strip(), str(mtu))
    with report.check("longest_ping_in_one_frame"):
        # 20 bytes of IP, 8 of ICMP.
        machine.command(f"ping -c 2 -i 0.2 -W 3 -s {mtu - 28} {GATEWAY}")
    with report.check("download"):
        machine.command(f"wget -q -O /tmp/blob http://{GATEWAY}:{tcp.port}/{SIZE}", 120)
        equal(machine.command("sha256sum /tmp/blob", 120).split()[0], payload.digest(SIZE), "SHA-256")
    with report.check("upload"):
        equal(machine.command(f"guestkit put {GATEWAY} {tcp.port} /tmp/blob", 120).strip(), payload.digest(SIZE), "SHA-256")
