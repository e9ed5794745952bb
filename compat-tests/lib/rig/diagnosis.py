"""Who sleeps where: the threads of a process and of its descendants, for a load that stands still."""

import os
import subprocess

# By number, on x86-64: those that a network program sleeps in, and whether the first argument is a descriptor.
CALLS = {
    0: ("read", True), 1: ("write", True), 7: ("poll", False), 20: ("writev", True), 23: ("select", False), 35: ("nanosleep", False),
    44: ("sendto", True), 45: ("recvfrom", True), 46: ("sendmsg", True), 47: ("recvmsg", True), 61: ("wait4", False),
    202: ("futex", False), 230: ("clock_nanosleep", False), 232: ("epoll_wait", True), 270: ("pselect6", False),
    271: ("ppoll", False), 281: ("epoll_pwait", True), 441: ("epoll_pwait2", True),
}


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        return f"({error.strerror})"


def descendants(pid):
    """The process and everything below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
            if len(fields) > 1:
                parents.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found


def command(pid):
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()


def _call(pid, task):
    words = _read(f"/proc/{pid}/task/{task}/syscall").split()
    if not words or not words[0].isdigit() or os.uname().machine != "x86_64":
        return " ".join(words)
    name, descriptor = CALLS.get(int(words[0]), (f"system call {words[0]}", False))
    if not descriptor:
        return name
    number = int(words[1], 16)
    try:
        target = os.readlink(f"/proc/{pid}/fd/{number}")
    except OSError:
        target = "?"
    return f"{name}({number} = {target})"


def _task(pid, task):
    state = _read(f"/proc/{pid}/task/{task}/stat").rpartition(")")[2].split()[:1]
    stack = _read(f"/proc/{pid}/task/{task}/stack")
    calls = " < ".join(line.split()[-1].split("+")[0] for line in stack.split("\n")[:6]) if "+0x" in stack else stack
    return f"  task {task} {''.join(state)} in {_call(pid, task)}, wchan {_read(f'/proc/{pid}/task/{task}/wchan')}: {calls}"


def lines(pids, leave_out=()):
    """Text about these processes and all below them. `leave_out`: command lines that are left out."""
    seen = []
    for root in pids:
        for pid in descendants(root):
            words = command(pid)
            if pid in seen or not words or words in leave_out:
                continue
            seen.append(pid)
            yield f"process {pid}: {words[:160]}"
            try:
                tasks = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
            except OSError:
                continue
            for task in tasks:
                yield _task(pid, task)
    # What waits in the Unix sockets of these processes, as the kernel counts it.
    try:
        shown = subprocess.run(["ss", "-xanmpHO"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in shown.stdout.split("\n"):
        words = line.split()
        if len(words) > 3 and words[0] in ("u_seq", "u_dgr") and words[2:4] != ["0", "0"] and any(f"pid={pid}," in line for pid in seen):
            yield "  " + " ".join(words)
