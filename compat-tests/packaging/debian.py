#!/usr/bin/env python3
"""The package in fresh Debian systems: built there without a network, installed over libslirp0, used, removed. See README.md.

debian.py [--suite SUITE]... [--cache FOLDER] [--built] [--only PATTERN] [--keep] [--table FILE]
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

from consumers import CONSUMERS, rows, write_table  # noqa: E402  (the path has to be set first)
from rig.report import Failure, Report, truth  # noqa: E402
from system import System  # noqa: E402
from transcript import APT, BUILD, Transcript  # noqa: E402

SUITES = ("bookworm", "sid")
# What the build needs beyond the package's own list, and what looks at its result.
TOOLS = ["dpkg-dev", "lintian", "fakeroot", "autopkgtest", "adduser"]
SOURCE = "/build/oxislirp"
# Beside the packages: what was said when they were built.
TRANSCRIPT = "transcript.json"


def unpack(report, cache):
    """The source package as a release makes it: the two tarballs, named as dpkg wants them. The folder, or None."""
    with report.check("source.tarballs"):
        folder = os.path.join(cache, "source")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        version = open(os.path.join(ROOT, "packaging", "debian", "changelog"), encoding="utf-8").read().split("(")[1].split("-")[0]
        done = subprocess.run([os.path.join(ROOT, "script", "release"), "--source", version, os.path.join(cache, "release")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=dict(os.environ, RELEASE_XZ="0"))
        truth(done.returncode == 0, done.stdout[-1000:])
        for given, wanted in ((f"oxislirp-{version}.tar.xz", f"oxislirp_{version}.orig.tar.xz"),
                              (f"oxislirp-{version}-vendor.tar.xz", f"oxislirp_{version}.orig-vendor.tar.xz")):
            shutil.copy(os.path.join(cache, "release", given), os.path.join(folder, wanted))
        return folder, version
    return None


def build(report, transcript, system, source, version):
    """Builds in a fresh system and returns the folder with the packages, or None."""
    with report.check("build.dependencies"):
        system.install(*TOOLS)
        shutil.copytree(source, system.path("/build"))
        system.run("sh", "-c", f"cd /build && mkdir oxislirp && tar -xf oxislirp_{version}.orig.tar.xz -C oxislirp --strip-components=1 && "
                   "mkdir oxislirp/vendor && "
                   f"tar -xf oxislirp_{version}.orig-vendor.tar.xz -C oxislirp/vendor --strip-components=1 && "
                   "cp -a oxislirp/packaging/debian oxislirp/debian")
        system.run("sh", "-c", f"cd {SOURCE} && apt-get -q -y --no-install-recommends build-dep ./", timeout=900)
        compiler = system.run("rustc", "--version")
        report.info("compiler: " + compiler.strip())
        transcript.add("rustc --version", compiler)
    with report.check("build.offline"):
        # As an ordinary user, without a network, from the two tarballs alone.
        system.run("sh", "-c", "adduser --system --group --home /build --no-create-home builder >/dev/null && chown -R builder /build")
        text = system.run("sh", "-c", f"cd {SOURCE} && dpkg-buildpackage -us -uc", network=False, user="builder", timeout=3000)
        shutil.copy(system.log, system.log + ".build")
        transcript.add("dpkg-buildpackage -us -uc     # by an ordinary user, without a network", text, BUILD)
        truth("dpkg-gensymbols: warning" not in text, "the symbols differ from Debian's list")
    if not [name for name in os.listdir(system.path("/build")) if name.endswith(".deb")]:
        return False
    with report.check("lintian"):
        command = "lintian --fail-on error,warning -i --tag-display-limit 0 oxislirp_*.changes"
        text = system.run("sh", "-c", f"cd /build && {command}", user="builder", timeout=900)
        report.info("lintian says nothing above info" if not text.strip() else text.strip()[:2000])
        transcript.add(f"{command}     # {system.run('lintian', '--print-version').strip()}", text or "(nothing)")
    return True


def install(report, transcript, system, packages):
    """Puts the packages over upstream's and brings upstream's back at the end; between, the consumers run."""
    with report.check("consumers.installed"):
        names = [one.package for one in CONSUMERS if system.known(one.package)]
        system.install("libslirp0", "python3", "busybox-static", "iproute2", *names)
        report.info("upstream: libslirp0 " + system.version("libslirp0"))
        transcript.add("dpkg-query -W libslirp0", "libslirp0 " + system.version("libslirp0"))

    def files(package):
        return [os.path.join("/packages", name) for name in packages if name.startswith(f"{package}_")]

    with report.check("tools.beside_upstream"):
        # The command alone takes nothing away, and has a library for one program.
        text = system.run("apt-get", "-q", "-y", "--no-install-recommends", "install", *files("oxislirp-tools"))
        transcript.add("apt-get install ./oxislirp-tools_*.deb", text, APT)
        truth(system.version("libslirp0") and not system.version("oxislirp0"), "libslirp0 went")
        text = system.run("oxislirp", "run", "--check", "--", "slirp4netns", "--version")
        truth("slirp4netns would run on /usr/lib/" in text and "/oxislirp/libslirp.so.0" in text, text)
        text = system.run("oxislirp", "run", "--", "slirp4netns", "--version")
        transcript.add("oxislirp run -- slirp4netns --version", text)
        truth("libslirp: 4.9.5" in text, text)
        report.info("slirp4netns --version under oxislirp run: " + "; ".join(text.split("\n")[:3]))
    with report.check("replace.with_apt"):
        text = system.run("apt-get", "-q", "-y", "--no-install-recommends", "install", *files("oxislirp0"))
        transcript.add("apt-get install ./oxislirp0_*.deb", text, APT)
        truth("libslirp0" in text.split("REMOVED:")[1].split("NEW")[0] if "REMOVED:" in text else False, f"libslirp0 was not replaced: {text[-800:]}")
        gone = [name for name in [*names, "oxislirp-tools"] if not system.version(name)]
        truth(not gone, f"went with it: {gone}")
    with report.check("replace.apt_check"):
        text = system.run("apt-get", "-q", "-q", "check") + system.run("dpkg", "--audit")
        transcript.add("apt-get -qq check && dpkg --audit", text or "(nothing, status 0)")
    with report.check("replace.library_is_ours"):
        truth(b"OXISLIRP_POLL" in open(system.library(), "rb").read(), f"{system.library()} is not this library")


def give_back(report, transcript, system):
    """Removal: upstream's package takes its place again."""
    with report.check("remove.upstream_comes_back"):
        text = system.run("apt-get", "-q", "-y", "--no-install-recommends", "install", "libslirp0")
        transcript.add("apt-get install libslirp0", text, APT)
        truth(not system.version("oxislirp0"), "oxislirp0 is still there")
        truth(b"OXISLIRP_POLL" not in open(system.library(), "rb").read(), "the library is still ours")
        system.run("apt-get", "check")
        gone = [one.package for one in CONSUMERS if system.known(one.package) and not system.version(one.package)]
        truth(not gone, f"went with it: {gone}")
    with report.check("remove.nothing_left"):
        text = system.run("apt-get", "-q", "-y", "purge", "oxislirp-tools")
        transcript.add("apt-get purge oxislirp-tools", text, APT)
        left = system.run("sh", "-c", "find / -xdev -name '*oxislirp*' -not -path '/packages/*' -not -path '/work/*' -not -path '/proc/*'").split()
        left = [name for name in left if "/var/lib/apt" not in name and "/var/cache" not in name]
        transcript.add("find / -xdev -name '*oxislirp*'     # but apt's lists and downloads", "\n".join(left) or "(nothing)")
        truth(not left, str(left))


def packaged(report, name, cache, source, keep, packages):
    """Builds in a fresh system, keeps what came out in `packages` and runs its own tests. Whether there are packages."""
    transcript = Transcript()
    with System(name, cache, "build", keep) as system:
        if not build(report, transcript, system, *source):
            return False
        shutil.rmtree(packages, ignore_errors=True)
        os.makedirs(packages)
        for one in os.listdir(system.path("/build")):
            if one.endswith((".deb", ".changes", ".dsc", ".buildinfo")):
                shutil.copy(os.path.join(system.path("/build"), one), packages)
        autopkgtest(report, transcript, system)
    # For a run that takes these packages.
    transcript.save(os.path.join(packages, TRANSCRIPT))
    return True


def suite(report, name, cache, source, keep, only):
    """Everything in one release of Debian. Returns the rows of the table and the transcript's steps. Without a source the packages of the last
    run are taken."""
    report.prefix = f"{name}."
    base = None
    with report.check("debootstrap"):
        base = System.base(name, cache)
    if base is None:
        return [], []
    packages = os.path.join(cache, f"packages-{name}")
    if source and not packaged(report, name, cache, source, keep, packages):
        return [], []
    transcript = Transcript.of_file(os.path.join(packages, TRANSCRIPT))
    with System(name, cache, "use", keep) as system:
        system.bind(packages, "/packages")
        install(report, transcript, system, sorted(one for one in os.listdir(packages) if one.endswith(".deb")))
        if not system.version("oxislirp0"):
            return [], []
        system.bind(ROOT, "/work/oxislirp")
        # The guest's kernel: this machine's will do, and saves unpacking another.
        if glob.glob("/boot/vmlinuz-*"):
            system.bind("/boot", "/boot")
            system.bind("/lib/modules", "/usr/lib/modules")
        else:
            system.install("linux-image-amd64")
        found = rows(report, system, only)
        transcript.add("# here each program of the table above is run", "")
        give_back(report, transcript, system)
    return found, transcript.steps


def autopkgtest(report, transcript, system):
    """The package's own tests, as a distribution runs them after a build."""
    with report.check("autopkgtest"):
        words = ["autopkgtest", "--no-built-binaries", "--quiet", "--summary-file=/tmp/summary"]
        debs = [f"/build/{one}" for one in sorted(os.listdir(system.path("/build"))) if one.endswith(".deb") and "dbgsym" not in one]
        try:
            system.run(*words, *debs, SOURCE, "--", "null", timeout=1200)
        finally:
            if os.path.exists(system.path("/tmp/summary")):
                with open(system.path("/tmp/summary"), encoding="utf-8") as file:
                    lines = [line.strip() for line in file if line.strip()]
                report.info("autopkgtest: " + "; ".join(lines))
                transcript.add("autopkgtest --no-built-binaries *.deb oxislirp -- null", "\n".join(lines))
        truth(all("PASS" in line for line in lines) and len(lines) == 4, str(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this release; may be given again")
    parser.add_argument("--cache", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "packaging"))
    parser.add_argument("--keep", action="store_true", help="leave the systems where they are, to be looked at")
    parser.add_argument("--built", action="store_true", help="do not build again: take the packages of the last run")
    parser.add_argument("--only", help="of the programs only those whose name has this pattern; the others keep their rows of the table")
    parser.add_argument("--table", help="write the table of consumers into this page")
    chosen = parser.parse_args()
    report = Report(False)
    missing = [name for name in ("debootstrap", "unshare", "pivot_root") if not shutil.which(name)]
    if os.getuid() != 0 or missing:
        print(f"not ok systems need root and {' '.join(missing) or 'nothing else'}")
        print("0 passed, 1 failed")
        raise SystemExit(1)
    if not os.environ.get("PACKAGING_INSIDE"):
        # Mounts of our own, which end with us.
        os.environ["PACKAGING_INSIDE"] = "1"
        sys.stdout.flush()
        os.execvp("unshare", ["unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "--propagation", "private", sys.executable, *sys.argv])
    os.makedirs(chosen.cache, exist_ok=True)
    report.prefix = ""
    source = None if chosen.built else unpack(report, chosen.cache)
    table = []
    transcripts = {}
    if source or chosen.built:
        for name in chosen.suite or SUITES:
            try:
                found, steps = suite(report, name, chosen.cache, source, chosen.keep, chosen.only)
                table += found
                if found:
                    transcripts[name] = {"day": time.strftime("%-d %B %Y", time.gmtime()), "steps": steps}
            except Failure as failure:
                with report.check("end"):
                    raise failure
    report.prefix = ""
    if chosen.table and table:
        write_table(chosen.table, table, transcripts)
    sys.exit(report.summary())


if __name__ == "__main__":
    main()
