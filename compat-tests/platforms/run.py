#!/usr/bin/env python3
"""Compiles the library for other systems, and runs its tests and C programs for those that this machine can run.

run.py [--subset] [--parts PART,...] [--table FILE] [--check FILE] [TARGET...]     without a target: all of targets.py

The parts of a target:
  clippy      library and engine, compiled as far as that goes without the system's linker; any warning is a failure
  unit        unit tests of the engine with all its features, and of the C library
  in-process  tests through the C interface, of a library that is loaded
  layout      sizes and offsets of the public headers, checked by the target's C compiler
  programs    C programs with a guest of their own (compat-tests/c)
  meson       meson's build, installed into a folder: its files, and a C program with what pkg-config says of them
  release     the libraries as they are installed, for their sizes
`exchange` at the end has the targets of a run load each other's saved states.

Programs run natively, under qemu-user or under wine. What these cannot do is left out by name and said. std is built from source:
Debian's rustc-web and rust-web-src, which this installs. With --table the results go into FILE, and beside it as JSON, as soon as
a part is done: a run that is ended keeps what it had shown. The rows of targets that were not run stay, and runs of several targets
can go on beside each other. Ends with "N passed, N failed".
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from installed import meson  # noqa: E402  (the path has to be set first)
from one import Platform  # noqa: E402
from results import Results  # noqa: E402
from targets import SUBSET, TARGETS  # noqa: E402
from windows import Windows  # noqa: E402

TOOLS = ("rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "meson", "ninja-build", "pkg-config")
PARTS = ("clippy", "unit", "in-process", "layout", "programs", "meson", "release")


def exchange(platforms, results, work, keep):
    """Each of the platforms saves a state, and each loads it, saves it again and goes on."""
    platforms = [one for one in platforms if one.library() is not None]
    for saver in platforms:
        state = work / f"state-{saver.target.name}"
        status, log = saver.exchange("save", state)
        if status != 0:
            results.exchange(saver.target, saver.target, status, log)
            continue
        for loader in platforms:
            again = work / f"again-{saver.target.name}-{loader.target.name}"
            turned = saver.target.big_endian != loader.target.big_endian
            status, log = loader.exchange("turn" if turned else "load", state, again)
            if status == 0 and not turned and again.read_bytes() != state.read_bytes():
                status, log = 1, log + "\nerror: the state saved again differs"
            results.exchange(saver.target, loader.target, status, log, turned)
        keep()


def setup(targets):
    """Installs what the targets need and is missing, as script/test does."""
    packages = " ".join(dict.fromkeys([*TOOLS, *(package for target in targets for package in target.packages)]))
    subprocess.run(["bash", "-c", f". {ROOT}/script/lib/setup.sh; SETUP_PACKAGES='{packages}' setup_packages"], check=False)
    compiler = subprocess.run(["/usr/bin/rustc", "--print", "sysroot"], capture_output=True, text=True, check=False).stdout.strip()
    return bool(compiler) and (pathlib.Path(compiler) / "lib/rustlib/src/rust/library").is_dir()


def main():
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--subset", action="store_true", help="what every run of script/test has")
    parser.add_argument("--parts", default=",".join((*PARTS, "exchange")), help="some parts alone, with commas between them")
    parser.add_argument("--table", help="write the results into this page")
    parser.add_argument("--check", help="whether this page has the results that are in its JSON")
    parser.add_argument("--remove", action="store_true", help="remove what was built for a target after its run")
    chosen = parser.parse_args()
    names = chosen.target or (list(SUBSET) if chosen.subset else [target.name for target in TARGETS])
    known = {target.name: target for target in TARGETS}
    for name in names:
        if name not in known:
            parser.error(f"no such target: {name}")
    targets = [known[name] for name in names]
    parts = chosen.parts.split(",")
    results = Results()

    def keep():
        """What was shown so far."""
        if chosen.table:
            results.write(pathlib.Path(chosen.table), TARGETS)

    if not setup(targets):
        print("not ok platforms: /usr/bin/rustc has no source of std beside it\n0 passed, 1 failed")
        return 1
    # Debian's compiler, which has the source of std, and not one that comes first in the PATH.
    results.compiler = subprocess.run(["/usr/bin/rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"# {results.compiler}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        platforms = []
        for target in targets:
            platform = Windows(target, results, work) if "windows" in target.name else Platform(target, results, work)
            platforms.append(platform)
            wanted = SUBSET[target.name] if chosen.subset else PARTS if target.compiler else ("clippy",)
            for part in wanted:
                if part in parts:
                    if part == "meson":
                        meson(platform)
                    else:
                        getattr(platform, part.replace("-", "_"))()
                    keep()
            if "exchange" in parts and not chosen.subset and target.compiler:
                platform.library()
            if chosen.remove:
                shutil.rmtree(platform.built, ignore_errors=True)
        if "exchange" in parts and not chosen.subset:
            exchange([one for one in platforms if one.target.compiler], results, work, keep)
    if chosen.check:
        results.check(pathlib.Path(chosen.check), TARGETS)
    print(f"{results.passed} passed, {results.failed} failed")
    return 0 if results.failed == 0 and results.passed != 0 else 1


if __name__ == "__main__":
    sys.exit(main())
