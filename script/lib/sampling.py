"""Where the time of a running process goes: perf's samples, put together by what the process was doing."""

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

# The innermost frame that names one of these decides what a sample in the kernel belongs to. What the kernel does for the
# guest while a frame is put into the tap belongs to the tap, as does the peer's TCP to sending on loopback.
KERNEL = (
    ("tap: write", ("tun_chr_write_iter", "tun_get_user")),
    ("tap: read", ("tun_chr_read_iter", "tun_do_read", "tun_put_user")),
    ("sockets: send", ("sock_write_iter", "__sys_sendmsg", "__sys_sendto", "__sys_sendmmsg", "tcp_sendmsg", "udp_sendmsg",
                       "do_splice", "splice_to_socket")),
    ("sockets: receive", ("sock_read_iter", "__sys_recvmsg", "__sys_recvfrom", "__sys_recvmmsg", "tcp_recvmsg",
                          "udp_recvmsg")),
    ("waiting", ("do_sys_poll", "do_epoll_wait", "do_epoll_pwait", "ep_poll", "ep_send_events", "do_select", "do_pselect",
                 "core_sys_select", "ep_eventpoll_poll", "do_epoll_ctl")),
)
GROUPS = [name for name, _ in KERNEL] + ["kernel: other", "library", "C library", "program"]


FD = "SAMPLING_FD"


def available():
    """Whether there is a perf that may look at the kernel; it is not in every distribution's default."""
    return shutil.which("perf") is not None and os.getuid() == 0


def serve():
    """Start a process that runs perf for this one, which may enter a user namespace afterwards, where perf would not see
    the kernel. It ends when this program does."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        with theirs.makefile("rw", encoding="utf-8") as stream:
            for line in stream:
                _answer(line.split(), stream)
        os._exit(0)
    theirs.close()
    os.set_inheritable(ours.fileno(), True)
    os.environ[FD] = str(ours.detach())


def _answer(whom, stream):
    """Sample until the next line comes, then say what was found."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data")
        perf = subprocess.Popen(["perf", "record", "-q", "-g", "-F", "499", *whom, "-o", path],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stream.readline()
        perf.send_signal(signal.SIGINT)
        perf.wait()
        text = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym,dso"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, errors="replace", check=False).stdout
    samples, symbols = collections.Counter(), collections.Counter()
    for block in text.split("\n\n"):
        frames = [_frame(line) for line in block.split("\n") if line.startswith("\t")]
        if frames:
            samples[group(frames)] += 1
            symbols[frames[0][0]] += 1
    stream.write(json.dumps({"samples": samples, "symbols": symbols}) + "\n")
    stream.flush()


class Sampling:
    """Samples of process `pid`, or of its thread `tid` alone, while the `with` block runs. `serve` was called before."""

    _stream = None

    def __init__(self, pid, tid=None):
        if Sampling._stream is None:
            connection = socket.socket(fileno=int(os.environ[FD]))
            Sampling._stream = connection.makefile("rw", encoding="utf-8")
        self._whom = f"--tid {tid}" if tid else f"--pid {pid}"
        self.samples, self.symbols = collections.Counter(), collections.Counter()

    def __enter__(self):
        self._say(self._whom)
        return self

    def __exit__(self, *_):
        self._say("stop")
        found = json.loads(self._stream.readline())
        self.samples.update(found["samples"])
        self.symbols.update(found["symbols"])

    def _say(self, line):
        self._stream.write(line + "\n")
        self._stream.flush()

    def shares(self):
        """Share of each group, 0 to 1."""
        total = sum(self.samples.values())
        return {name: self.samples[name] / total for name in GROUPS} if total else {}

    def top(self, count):
        """The symbols in which most samples were, with their shares."""
        total = sum(self.samples.values())
        return [(name, number / total) for name, number in self.symbols.most_common(count)]


def _frame(line):
    """Symbol and object of a line of a call chain: `ADDRESS SYMBOL (OBJECT)`."""
    rest, _, place = line.strip().rpartition(" (")
    return rest.partition(" ")[2] or "?", place.rstrip(")")


def group(frames):
    """What a sample belongs to; `frames` from the innermost outwards."""
    symbol, place = frames[0]
    if place.startswith("["):
        for name, _ in frames:
            for what, functions in KERNEL:
                if name in functions:
                    return what
        return "kernel: other"
    base = os.path.basename(place)
    if "slirp.so" in base:
        return "library"
    return "C library" if base.startswith(("libc.so", "libc-", "ld-linux")) else "program"
