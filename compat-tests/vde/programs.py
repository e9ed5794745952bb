"""The programs: how each is started with a guest behind it, and what of the network it carries.

A `Program` starts processes in the namespaces of the test and ends them. Its guests are agents (`lib/guest_agent.py`) in
network namespaces of their own, with the kernel's TCP.
"""

import contextlib
import functools
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(os.path.dirname(HERE), "lib")
sys.path.insert(0, LIB)

from rig import diagnosis, library, services, waiting  # noqa: E402  (the path has to be set first)
from rig.agent import Agent  # noqa: E402
from rig.report import Failure, truth  # noqa: E402

AGENT = [sys.executable, os.path.join(LIB, "guest_agent.py")]
HOST_TCP, HOST_UDP, GUEST_TCP, GUEST_UDP = 18080, 18081, 8080, 8081
FORWARDS = ["tcp", str(HOST_TCP), str(GUEST_TCP), "udp", str(HOST_UDP), str(GUEST_UDP)]
SLIRP = f"slirp:///tcpfwd=127.0.0.1:{HOST_TCP}:10.0.2.15:{GUEST_TCP}/udpfwd=127.0.0.1:{HOST_UDP}:10.0.2.15:{GUEST_UDP}"


# Package → what shows that it is there.
PACKAGES = {
    "vdens": "/usr/bin/vdens", "vdeplug": "/usr/bin/vde_plug", "libvdeplug-slirp": "/usr/lib/*/vdeplug/libvdeplug_slirp.so",
    "vde-switch": "/usr/bin/vde_switch", "vde2": "/usr/bin/vde_plug2tap", "libvdeslirp-dev": "/usr/include/slirp/libvdeslirp.h",
    "libslirp-helper": "/usr/bin/libslirp-helper", "user-mode-linux": "/usr/bin/linux.uml", "busybox-static": "/bin/busybox",
    "iproute2": "/bin/ip", "gcc": "/usr/bin/cc", "pkg-config": "/usr/bin/pkg-config",
}


def install():
    """Install the packages that are missing, where there is apt."""
    missing = [name for name, path in PACKAGES.items() if not glob.glob(path)]
    if not missing or not shutil.which("apt-get"):
        return
    as_root = [] if os.getuid() == 0 else ["sudo"]
    words = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--no-install-recommends", "install"]
    if subprocess.run([*words, *missing], stdout=sys.stderr, check=False).returncode:
        subprocess.run([*as_root, "apt-get", "-q", "update"], stdout=sys.stderr, check=False)
        for name in missing:  # one by one, so that one that cannot be had keeps no other away
            subprocess.run([*words, name], stdout=sys.stderr, check=False)


def present(pid):
    """Whether a process is there, and has not ended yet."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return os.path.exists(f"/proc/{pid}")


class Program:
    """One run of a program. `binaries` is the folder of the test's own C programs."""

    name = ""
    about = ""
    families = ("v4", "v6")
    forwards = ("v4",)
    # The prefix of IPv6; the router is ::2 in it and the name server ::3.
    prefix6 = "fd00::"
    interface = "vde0"
    guests = 1
    # Whether frames are lost where a queue in the middle is full.
    drops = False
    # Only these loads; few where it differs little from another; all of them over IPv6 too; only with our library.
    loads = None
    few = False
    whole6 = False
    ours = False
    # Whether it has forwards to a Unix socket and to a command as well.
    services = False
    # The programs that have to be installed.
    needs = ("vdens",)

    @classmethod
    def cannot_run(cls):
        """Why it cannot run on this machine, or None."""
        missing = [one for one in cls.needs if not shutil.which(one)]
        return f"not installed: {' '.join(missing)}" if missing else None

    def __init__(self, binaries, env):
        self.binaries = binaries
        self.env = env
        self.folder = tempfile.mkdtemp(prefix="rig-vde-")
        self.processes = []
        self.agents = []
        self.serving = set()
        self.log = os.path.join(self.folder, "log")

    def start(self):
        """Start everything and wait until each guest has reached the host."""
        self.run()
        for number, agent in enumerate(self.agents):
            agent.ready(20)
            self.configure(agent, number)

    def run(self):
        """Start the processes and append the agents."""
        raise NotImplementedError

    def spawn(self, words, env=None, **more):
        """A process in a group of its own, with its errors in the log."""
        with open(self.log, "ab") as log:
            one = subprocess.Popen(words, env=env or self.env, stderr=log, preexec_fn=waiting.die_with_parent, **more)
        self.processes.append(one)
        return one

    def guest(self, words, env=None, **more):
        """A process at whose standard input and output the agent is."""
        one = self.spawn(words, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more)
        self.agents.append(Agent(one.stdin.fileno(), one.stdout.fileno()))
        return one

    def resolv(self):
        """A resolv.conf for the guest."""
        path = os.path.join(self.folder, "resolv.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("nameserver 10.0.2.3\n")
        return path

    def configure(self, agent, number):
        """Give the guest its addresses."""
        name = self.interface
        waiting.until(lambda: agent.ask("run", words=["ip", "link", "show", name])["status"] == 0, 10, name)
        for words in (
            "ip link set lo up", f"ip link set {name} up", f"ip addr add 10.0.2.{15 + number}/24 dev {name}",
            "ip route add default via 10.0.2.2", f"ip -6 addr add {self.prefix6}{15 + number}/64 dev {name} nodad",
            f"ip -6 route add default via {self.prefix6}2 dev {name}",
        ):
            done = agent.ask("run", words=words.split())
            truth(done["status"] == 0, f"{words}: {done['output']}")

    def alive(self):
        """Raise when one of the processes has ended."""
        for one in self.processes:
            if one.poll() is not None:
                raise Failure(f"{one.args[0]} ended with status {one.returncode}: {self.said()}")

    def ended(self):
        """Whether one of the processes has ended."""
        return any(one.poll() is not None for one in self.processes)

    def prove(self):
        """Raise unless the wanted library, and no other, is in the processes; the ids of those that have it."""
        found = []
        for one in self.processes:
            for pid in diagnosis.descendants(one.pid):
                with contextlib.suppress(OSError):
                    if library.mapped(pid):
                        library.prove(pid)
                        found.append(pid)
        truth(found, "no process maps libslirp: " + self.said())
        return found

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return " ".join(file.read().split())[-300:]

    def diagnosis(self):
        """Where its threads sleep, without those of the guest."""
        return list(diagnosis.lines([one.pid for one in self.processes], [" ".join(AGENT)]))

    def close(self):
        """End what was started, and everything below it."""
        pids = [pid for one in self.processes for pid in diagnosis.descendants(one.pid)]
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for one in self.processes:
            one.wait()
        # A port of theirs is free only when the last of them is gone. What they started is ours to wait for now.
        waiting.until(lambda: not any(present(pid) for pid in pids), 10, "the end of the program")
        for one in self.processes:
            for stream in (one.stdin, one.stdout):
                if stream is not None:
                    stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Vdens(Program):
    name = "vdens"
    whole6 = True
    about = "`vdens slirp://`"
    url = SLIRP

    def run(self):
        self.guest(["vdens", "-r", self.resolv(), self.url, *AGENT])


class VdensDirect(Vdens):
    name = "vdens_direct"
    few = True
    whole6 = False
    about = "the same, where the application watches each socket (`OXISLIRP_POLL=direct`)"
    ours = True

    def __init__(self, binaries, env):
        super().__init__(binaries, dict(env, OXISLIRP_POLL="direct"))


class VdensJumbo(Vdens):
    name = "vdens_9000"
    few = True
    whole6 = False
    about = "`vdens slirp:///mtu=9000/mru=9000`"
    url = SLIRP + "/mtu=9000/mru=9000"

    def configure(self, agent, number):
        agent.ask("run", words=["ip", "link", "set", self.interface, "mtu", "9000"])
        super().configure(agent, number)


class Framed(Program):
    name = "framed"
    needs = ()
    whole6 = True
    about = "`framed_slirp.c` (reSLIRP's habits) and `tap_pump.c`, two pipes"
    forwards = ("v4", "v6")
    interface = "tap0"

    def run(self):
        to_slirp, to_guest = os.pipe(), os.pipe()
        self.spawn([os.path.join(self.binaries, "framed_slirp"), *FORWARDS], stdin=to_slirp[0], stdout=to_guest[1])
        self.guest(["unshare", "-n", os.path.join(self.binaries, "tap_pump"), "framed", str(to_guest[0]), str(to_slirp[1]),
                    self.interface, *AGENT], pass_fds=(to_guest[0], to_slirp[1]))
        for one in (*to_slirp, *to_guest):
            os.close(one)


class Helper(Program):
    name = "helper"
    needs = ("libslirp-helper",)
    about = "Debian's `libslirp-helper` over its datagram socket, and `tap_pump.c`"
    forwards = ()
    prefix6 = "fec0::"
    interface = "tap0"

    def run(self):
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, its:
            self.spawn(["libslirp-helper", "--fd", str(its.fileno())], pass_fds=(its.fileno(),))
            self.guest(["unshare", "-n", os.path.join(self.binaries, "tap_pump"), "datagram", str(ours.fileno()), self.interface,
                        *AGENT], pass_fds=(ours.fileno(),))


class Library(Program):
    name = "libvdeslirp"
    needs = ()
    about = "`tap_vdeslirp.c` over libvdeslirp's C API, one thread"
    interface = "tap0"
    threads = 1
    services = True

    def run(self):
        self.unix = services.RawEcho(os.path.join(self.folder, "service"))
        self.guest([os.path.join(self.binaries, "tap_vdeslirp"), str(self.threads), self.folder, *FORWARDS, "--", self.interface,
                    *AGENT])

    def close(self):
        self.unix.close()
        super().close()


class LibraryTwo(Library):
    name = "libvdeslirp_2"
    few = True
    about = "the same, a thread for each direction"
    threads = 2


class Stream(Vdens):
    name = "cmd"
    needs = ("vdens", "vde_plug")
    whole6 = False
    about = "`vdens cmd://\"vde_plug slirp://\"`: a program at the other end of two streams, as through ssh"

    @property
    def url(self):
        # The plug starts its command with an empty environment.
        words = [f"{name}={self.env[name]}" for name in ("LD_LIBRARY_PATH", "LD_PRELOAD") if name in self.env]
        return " ".join(["cmd://env", *words, "vde_plug", SLIRP])


class Coprocess(Vdens):
    name = "vdens_="
    needs = ("vdens", "vde_plug")
    few = True
    whole6 = False
    about = "`vdens =\"vde_plug slirp://\"`: vdens reads and writes the streams itself"
    url = f"=vde_plug {SLIRP}"


class Switch(Program):
    name = "switch"
    needs = ("vdens", "vde_plug", "vde_switch")
    about = "`vde_plug slirp://` and `vdens vde://` at a `vde_switch`"
    drops = True

    def run(self):
        control = os.path.join(self.folder, "ctl")
        # It ends at the end of its input, which is its console.
        self.spawn(["vde_switch", "-sock", control], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        waiting.until(lambda: os.path.exists(os.path.join(control, "ctl")), 10, "vde_switch")
        self.spawn(["vde_plug", SLIRP, f"vde://{control}"], stdin=subprocess.DEVNULL)
        for _ in range(self.guests):
            self.guest(self.words(control))

    def words(self, control):
        return ["vdens", "-r", self.resolv(), f"vde://{control}", *AGENT]


class SwitchTwo(Switch):
    name = "switch_2"
    few = True
    about = "the same with two guests, each with all of the load"
    guests = 2


class SwitchTap(Switch):
    name = "switch_tap"
    needs = ("vde_plug", "vde_switch", "vde_plug2tap")
    few = True
    about = "the same with `vde_plug2tap` for the guest"

    def words(self, control):
        return ["unshare", "-n", "sh", "-c", 'vde_plug2tap -s "$0" vde0 >&2 & exec "$@"', control, *AGENT]


class Multicast(Program):
    name = "vxvde"
    needs = ("vdens", "vde_plug")
    few = True
    about = "`vde_plug slirp://` and `vdens vxvde://` on the multicast of a namespace"
    drops = True

    def run(self):
        for words in ("ip link set lo multicast on", "ip route replace 239.0.0.0/8 dev lo"):
            subprocess.run(words.split(), check=True)
        self.spawn(["vde_plug", SLIRP, "vxvde://239.1.2.3"], stdin=subprocess.DEVNULL)
        self.guest(["vdens", "-r", self.resolv(), "vxvde://239.1.2.3", *AGENT])


class UserModeLinux(Program):
    name = "uml"
    needs = ("linux.uml", "busybox")
    about = "Debian's User-Mode Linux, `eth0=vde,slirp://`: its kernel's TCP is the guest"
    interface = "eth0"
    # A process of the guest takes part of a second for what is a system call elsewhere, so it gets few loads.
    loads = ("echo_4M_x1", "echo_4M_x4", "echo_10k_x100", "both_50M", "datagrams")

    @classmethod
    def cannot_run(cls):
        return super().cannot_run() or cls.cannot_run_anything()

    @staticmethod
    @functools.cache
    def cannot_run_anything():
        """Why its kernel runs no program here, without any network, or None. Processors with AMX have more registers than
        the place for them in its kernel 6.1, so that each process ends with SIGSEGV when they are restored."""
        try:
            done = subprocess.run(
                ["linux.uml", "mem=64M", "rootfstype=hostfs", "rootflags=/", "ro", "init=/bin/busybox", "con0=fd:0,fd:1",
                 "con=null", "ssl=null"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=60, check=False).stdout.decode(errors="replace")
        except subprocess.TimeoutExpired:
            return None
        broken = "exitcode=0x0000000b" in done and "put_fp_registers" in done
        return "its kernel cannot restore this processor's registers: every process gets SIGSEGV" if broken else None

    def network(self):
        return f"eth0=vde,{SLIRP}", ()

    def run(self):
        plug = glob.glob("/usr/lib/*/libvdeplug.so.2")[0]
        # It looks for the name that only the development package has.
        os.symlink(plug, os.path.join(self.folder, "libvdeplug.so"))
        env = dict(self.env, LD_LIBRARY_PATH=":".join(filter(None, (self.env.get("LD_LIBRARY_PATH"), self.folder))))
        network, descriptors = self.network()
        self.guest(
            ["linux.uml", "mem=512M", "rootfstype=hostfs", "rootflags=/", "rw", f"init={HERE}/uml_init.sh", "quiet", "loglevel=1",
             "con0=fd:0,fd:1", "con=null", "ssl=null", f"uml_dir={self.folder}/uml/", network, f"RIG_RESOLV={self.resolv()}",
             f"RIG_AGENT=\"{AGENT[0]} {AGENT[1]}\""], env, pass_fds=descriptors)


class UserModeLinuxHelper(UserModeLinux):
    name = "uml_helper"
    needs = ("linux.uml", "busybox", "libslirp-helper")
    about = "the same with `vec0:transport=fd` at the datagram socket of `libslirp-helper`"
    interface = "vec0"
    prefix6 = "fec0::"
    forwards = ()

    def network(self):
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.spawn(["libslirp-helper", "--fd", str(its.fileno())], pass_fds=(its.fileno(),))
        its.close()
        self.ours = ours
        return f"vec0:transport=fd,fd={ours.fileno()}", (ours.fileno(),)


EVERY = [Vdens, VdensDirect, VdensJumbo, Framed, Library, LibraryTwo, Stream, Coprocess, Switch, SwitchTwo, SwitchTap, Multicast, Helper, UserModeLinux,
         UserModeLinuxHelper]
