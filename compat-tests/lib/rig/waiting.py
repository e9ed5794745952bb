"""Waiting for something with a deadline, instead of sleeping and hoping."""

import ctypes
import os
import select
import signal
import time

from .report import Failure


# Loaded before any fork: a child of a program with threads must not start loading libraries.
_libc = ctypes.CDLL(None, use_errno=True)


def until(condition, seconds, what, every=0.05, clock=time.monotonic):
    """Call `condition` until it gives something true, and return that. Errors of the last try are shown."""
    deadline = clock() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, Failure) as error:
            last = error
        if clock() >= deadline:
            raise Failure(f"waited {seconds} s for {what}" + (f" ({last})" if last else ""))
        time.sleep(every)


def readable(descriptor, seconds, what):
    """Wait until a descriptor has something to read."""
    if not select.select([descriptor], [], [], seconds)[0]:
        raise Failure(f"waited {seconds} s for {what}")


def die_with_parent():
    """For `preexec_fn`: the child is ended by the kernel when the test ends in any way."""
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGKILL)


def end(process, seconds=5):
    """End one child that the test started: ask, then insist. Returns its exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except Exception:
            process.kill()
            process.wait()
    return process.returncode


def starved(pid):
    """Seconds for which a process's first thread could have run and had no processor, where the kernel tells (schedstat)."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def footprint(pid):
    """Resident memory and number of open descriptors of a process, as text."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        memory = next(line.split()[1] for line in file if line.startswith("VmRSS"))
    return f"{int(memory) / 1024:.1f} MiB resident, {len(os.listdir(f'/proc/{pid}/fd'))} descriptors"


def threads_of(pid):
    """Number of threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))
