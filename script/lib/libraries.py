"""The libraries that the scripts compare: ours, and versions of upstream's."""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def install(wanted):
    """Install the packages whose programs are missing, where there is apt. `wanted`: program → package."""
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing and shutil.which("apt-get"):
        as_root = [] if os.getuid() == 0 else ["sudo"]
        for package in missing:
            subprocess.run([*as_root, "apt-get", "install", "-y", "-q", "--no-install-recommends", package],
                           stdout=sys.stderr, check=False)


def build():
    """Build our library; a folder that holds it under the name that programs load."""
    subprocess.run(["cargo", "build", "--release", "--lib"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    folder = os.path.join(target, "bench-consumers")
    os.makedirs(folder, exist_ok=True)
    link = os.path.join(folder, "libslirp.so.0")
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.path.join(os.path.abspath(target), "release", "libslirp.so"), link)
    return folder


def fetched(*words):
    """What script/lib/upstream.sh prints, or None."""
    done = subprocess.run([os.path.join(ROOT, "script", "lib", "upstream.sh"), *words], stdout=subprocess.PIPE, text=True,
                          check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def version(path):
    """What the library calls itself. In a process of its own, as one process can hold only one libslirp."""
    source = ("import ctypes, os, sys\n"
              "beside = os.path.join(os.path.dirname(sys.argv[1]), 'preload.so')\n"
              "os.path.exists(beside) and ctypes.CDLL(beside, ctypes.RTLD_GLOBAL)\n"
              "function = ctypes.CDLL(sys.argv[1]).slirp_version_string\n"
              "function.restype = ctypes.c_char_p\n"
              "print(function().decode())\n")
    return subprocess.run([sys.executable, "-c", source, path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def upstreams(names):
    """Versions of upstream → the folder that SLIRP_LIBDIR takes, "system" for the installed one; each library once."""
    found, seen = {}, set()
    for name in names.split(","):
        path = fetched("library", name)
        if path and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            folder = "system" if path.startswith("/usr/lib") else os.path.dirname(os.path.abspath(path))
            found[f"upstream {version(path)}"] = folder
    return found


def first_line(*words):
    """First line of what a program says."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.split("\n", 1)[0].strip()
