"""A fresh Debian system in a folder: made by debootstrap once, then laid under a layer of its own for each use."""

import glob
import os
import re
import shutil
import subprocess

from rig.report import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def shell(*words, timeout=1200, **more):
    """Run a program of the machine; its output, or a Failure with the end of it."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
                          timeout=timeout, check=False, **more)
    if done.returncode:
        raise Failure(f"{' '.join(words)[:200]}: status {done.returncode}: {done.stdout[-1500:]}")
    return done.stdout


def source_entry(suite):
    """Where this machine has its packages from, as an entry for another release. script/lib/setup.sh knows."""
    text = shell("sh", "-c", f". script/lib/setup.sh && setup_suite /etc/apt {suite}", cwd=ROOT)
    fields = dict(line.split(": ", 1) for line in text.strip().split("\n"))
    return text, fields["URIs"].strip()


def own_sources(suite):
    """On a machine of the same release its own entries, which have the release's updates and so its newer compilers."""
    with open("/etc/os-release", encoding="utf-8") as file:
        if f"VERSION_CODENAME={suite}\n" not in file.read():
            return []
    found = []
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if re.search(rf"^Suites:.*\b{suite}-security\b", text, re.M):
            found.append("\n" + text)
    return found


# Makes the folder the root of a mount namespace of its own. A chroot would forbid user namespaces, which the consumers use.
ENTER = 'cd "$0" && pivot_root . mnt && cd / && umount -l /mnt && exec "$@"'


class System:
    """One system. `with System(...)` mounts it; every change is in a layer that is thrown away, unless it is kept."""

    def __init__(self, suite, cache, name, keep):
        self.base_folder = os.path.join(cache, f"base-{suite}")
        self.folder = os.path.join(cache, f"{suite}-{name}")
        self.suite = suite
        self.cache = cache
        self.keep = keep
        self.log = os.path.join(cache, f"{suite}-{name}.log")
        self.mounts = []

    @staticmethod
    def base(suite, cache):
        """The untouched system below all layers; made when it is not there, or older than a week."""
        folder = os.path.join(cache, f"base-{suite}")
        done = os.path.join(folder, "made")
        if os.path.exists(done) and os.stat(done).st_mtime > os.stat("/proc/self").st_mtime - 7 * 86400:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        entry, server = source_entry(suite)
        store = os.path.join(cache, "debs")
        os.makedirs(store, exist_ok=True)
        shell("debootstrap", "--variant=minbase", f"--cache-dir={store}", "--include=ca-certificates", suite, folder + "/root", server)
        root = folder + "/root"
        with open(root + "/etc/apt/sources.list.d/suite.sources", "w", encoding="utf-8") as file:
            file.write("\n".join(own_sources(suite) or [entry]))
        os.remove(root + "/etc/apt/sources.list")
        with open(root + "/etc/apt/apt.conf.d/90check", "w", encoding="utf-8") as file:
            file.write('Acquire::Languages "none";\nAPT::Install-Recommends "false";\nAPT::Sandbox::User "root";\n')
            # A machine whose package server holds a copy of some day does without the lists' dates, and so do its systems.
            file.writelines(line + "\n" for line in shell("apt-config", "dump").splitlines() if line.startswith("Acquire::Check-"))
        # Nothing is started when it is installed.
        with open(root + "/usr/sbin/policy-rc.d", "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(root + "/usr/sbin/policy-rc.d", 0o755)
        with open(done, "w", encoding="utf-8"):
            pass
        return folder

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("upper", "work", "root"):
            os.makedirs(os.path.join(self.folder, part))
        layers = f"lowerdir={self.base_folder}/root,upperdir={self.folder}/upper,workdir={self.folder}/work"
        self._mount("-t", "overlay", "-o", layers, "overlay", self.path("/"))
        self._mount("-t", "proc", "proc", self.path("/proc"))
        self._mount("--rbind", "/dev", self.path("/dev"))
        self._mount("--bind", "/sys", self.path("/sys"))
        archives = os.path.join(self.cache, f"archives-{self.suite}")
        os.makedirs(archives + "/partial", exist_ok=True)
        os.makedirs(self.path("/var/cache/apt/archives"), exist_ok=True)
        self._mount("--bind", archives, self.path("/var/cache/apt/archives"))
        shutil.copy("/etc/resolv.conf", self.path("/etc/resolv.conf"))
        with open(self.log, "w", encoding="utf-8"):
            pass
        self.run("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
        return self

    def __exit__(self, *_error):
        # The mounts end with the mount namespace; the folder is a layer without a base afterwards.
        for target in reversed(self.mounts):
            subprocess.run(["umount", "-l", target], check=False)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _mount(self, *words):
        shell("mount", *words)
        self.mounts.append(words[-1])

    def bind(self, folder, place):
        """Show a folder of the machine in the system, for reading and writing."""
        os.makedirs(self.path(place), exist_ok=True)
        self._mount("--bind", folder, self.path(place))

    def path(self, inside):
        """A path inside the system as the machine sees it."""
        return os.path.join(self.folder, "root") + inside

    def run(self, *words, network=True, user=None, timeout=1200, environment=None):
        """Run a program in the system; its output, or a Failure. Everything is kept in the system's log."""
        front = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"HOME={'/build' if user else '/root'}", "LC_ALL=C.UTF-8",
                 "DEBIAN_FRONTEND=noninteractive", *(f"{key}={value}" for key, value in (environment or {}).items())]
        back = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        spaces = ["unshare", "-m", *([] if network else ["-n"]), "--propagation", "private", "sh", "-c", ENTER, self.path("/")]
        words = [*spaces, *front, *back, *words]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
                              timeout=timeout, check=False)
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words[len(spaces) + len(front):])}\n{done.stdout}\n")
        if done.returncode:
            raise Failure(f"{' '.join(words[-3:])[:200]}: status {done.returncode}: {done.stdout[-1500:]}")
        return done.stdout

    def install(self, *packages):
        self.run("apt-get", "-q", "-y", "--no-install-recommends", "install", *packages, timeout=1800)

    def known(self, package):
        """Whether this release has the package."""
        return bool(self.run("apt-cache", "madison", package).strip())

    def version(self, package):
        """The installed version, empty when the package is not installed."""
        try:
            text = self.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Version}", package)
        except Failure:
            return ""
        state, version = text.split("|", 1)
        return version if state.startswith("ii") else ""

    def library(self):
        """The path of the installed libslirp.so.0, as the machine sees it."""
        name = self.run("sh", "-c", "readlink -f /usr/lib/*/libslirp.so.0").strip()
        return self.path(name)
