"""The outer namespace: the stand-in for the host, in which consumer and servers run.

It has its own network (only loopback, with some documentation addresses as "the outside"), its own mounts and its own
`/etc`, so that a test can choose and change `resolv.conf` without touching the machine.
"""

import os
import shutil
import subprocess
import sys

MARK = "RIG_INSIDE"
# RFC 5737 and RFC 3849 documentation addresses: they stand for hosts outside.
OUTSIDE = "198.51.100.1"
OUTSIDE_SECOND = "198.51.100.2"
OUTSIDE6 = "2001:db8::1"
ETC = (
    "alternatives", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf",
    "passwd", "protocols", "services", "ssl", "qemu", "qemu-ifup", "qemu-ifdown",
)


def enter(processes=False):
    """Start this program again inside new namespaces, unless that is where it runs already.

    With `processes` there is one for processes too, so that nothing outlives the test; root then stays root, who alone may
    read where another process sleeps.
    """
    if os.environ.get(MARK):
        _furnish()
        return
    choices = [["-r", "-n", "-m"], ["-n", "-m"]]
    if processes:
        choices = [[*flags, "-p", "-f", "--kill-child", "--mount-proc"] for flags in choices]
        if os.getuid() == 0:
            choices.reverse()
    for flags in choices:
        probe = subprocess.run(["unshare", *flags, "true"], stderr=subprocess.PIPE, text=True, check=False)
        if probe.returncode == 0:
            os.environ[MARK] = " ".join(flags)
            sys.stdout.flush()
            os.execvp("unshare", ["unshare", *flags, "--propagation", "private", sys.executable, *sys.argv])
    print(f"not ok namespaces {probe.stderr.strip()}")
    print("0 passed, 1 failed")
    raise SystemExit(1)


def user_namespaces():
    """Whether the rig could use user namespaces (otherwise it runs as root)."""
    return "-r" in os.environ.get(MARK, "").split()


def _ip(*words):
    subprocess.run(["ip", *words], check=True, stderr=subprocess.PIPE)


def _furnish():
    _ip("link", "set", "lo", "up")
    for address in (OUTSIDE, OUTSIDE_SECOND):
        _ip("addr", "add", f"{address}/32", "dev", "lo")
    try:
        _ip("-6", "addr", "add", f"{OUTSIDE6}/128", "dev", "lo", "nodad")
    except subprocess.CalledProcessError:
        pass  # a host without IPv6 still runs the IPv4 checks
    with open("/proc/sys/net/ipv4/ping_group_range", "w", encoding="ascii") as file:
        file.write("0 0")
    keep = {}
    for name in ETC:
        path = os.path.join("/etc", name)
        if os.path.isdir(path):
            keep[name] = None
        elif os.path.exists(path):
            with open(path, "rb") as file:
                keep[name] = file.read()
    old = "/tmp/.rig-etc-%d" % os.getpid()
    os.mkdir(old)
    subprocess.run(["mount", "--bind", "/etc", old], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "etc", "/etc"], check=True)
    for name, content in keep.items():
        path = os.path.join("/etc", name)
        if content is None:
            shutil.copytree(os.path.join(old, name), path, symlinks=True, ignore_dangling_symlinks=True,
                            ignore=shutil.ignore_patterns("private", "shadow*"))
        else:
            with open(path, "wb") as file:
                file.write(content)
    subprocess.run(["umount", old], check=True)
    os.rmdir(old)
    resolv_conf([])


def resolv_conf(servers, rename=True):
    """Write resolv.conf with these name servers, by renaming a new file over it or in place."""
    text = "".join(f"nameserver {server}\n" for server in servers)
    path = "/etc/resolv.conf.new" if rename else "/etc/resolv.conf"
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    if rename:
        os.replace(path, "/etc/resolv.conf")
