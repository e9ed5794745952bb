"""Which libslirp the consumer loads, and the proof that it did.

`SLIRP_LIBDIR` is a folder holding `libslirp.so.0`; unset, empty or `system` means the one that the distribution
installed, which stands for upstream.
"""

import os

from .report import Failure


def libdir():
    """Folder of the library under test, or None for the installed one."""
    folder = os.environ.get("SLIRP_LIBDIR", "")
    if folder in ("", "system"):
        return None
    folder = os.path.abspath(folder)
    if not os.path.exists(os.path.join(folder, "libslirp.so.0")):
        raise SystemExit(f"SLIRP_LIBDIR={folder} holds no libslirp.so.0")
    return folder


def is_ours():
    """Whether the library under test is this project's."""
    folder = libdir()
    if folder is None:
        return False
    with open(os.path.join(folder, "libslirp.so.0"), "rb") as file:
        return b"OXISLIRP_POLL" in file.read()


def environment():
    """Environment for the consumer: as ours, with the library's folder in front of the search path.

    A `preload.so` in that folder has what the library needs and the machine lacks (see script/lib/upstream.sh).
    """
    env = dict(os.environ)
    env.pop("LD_LIBRARY_PATH", None)
    env.pop("LD_PRELOAD", None)
    folder = libdir()
    if folder:
        env["LD_LIBRARY_PATH"] = folder
        preload = os.path.join(folder, "preload.so")
        if os.path.exists(preload):
            env["LD_PRELOAD"] = preload
    return env


def mapped(pid):
    """Paths of the mapped files of a process that are libslirp by their name, with device and inode."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            fields = line.split(None, 5)
            if len(fields) == 6 and os.path.basename(fields[5].strip()).startswith("libslirp.so"):
                found.add((fields[5].strip(), fields[3], int(fields[4])))
    return found


def prove(pid):
    """Raise unless exactly the wanted libslirp is mapped by the process; return its path."""
    found = mapped(pid)
    if len(found) != 1:
        raise Failure(f"process {pid} maps {sorted(found)}, expected exactly one libslirp")
    path, _device, inode = found.pop()
    folder = libdir()
    if folder:
        wanted = os.path.realpath(os.path.join(folder, "libslirp.so.0"))
        if os.stat(wanted).st_ino != inode or os.path.realpath(path) != wanted:
            raise Failure(f"process {pid} maps {path}, expected {wanted}")
    return path
