"""Counts the instructions of a library under callgrind: what script/instructions and script/policy-cost have in common."""

import json
import os
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Counting is switched on and off at the entry and the exit of these: the library's functions, and within them the callbacks of the application.
TOGGLES = ("slirp_input", "slirp_pollfds_fill", "slirp_pollfds_poll", "*ffi*send_packet*", "*ffi*add_poll*",
           "*ffi*get_revents*", "*ffi*clock_get_ns*")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


def bench(name):
    """Build one of the benchmarks; its path."""
    lines = subprocess.run(
        ["cargo", "build", "--release", "--bench", name, "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    return [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == name][-1]


def library(*options, under=""):
    """Build the library; its path."""
    target = os.path.join(TARGET, under)
    subprocess.run(["cargo", "build", "--release", "--lib", "--target-dir", target, *options], cwd=ROOT, check=True)
    return os.path.join(target, "release", "libslirp.so")


def build():
    """Build the library and the program; the paths of both."""
    return library(), bench("instructions")


def workloads(program):
    """Names and numbers of units."""
    text = subprocess.run([program, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}


def count(program, library, name, units, config=None):
    """Instructions inside the library, with this file as its OXISLIRP_CONFIG."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += [f"--toggle-collect={one}" for one in TOGGLES]
        command += [program, "--lib", library, "--workload", name, "--units", str(units)]
        environment = {key: value for key, value in os.environ.items() if key != "OXISLIRP_CONFIG"}
        environment |= {"OXISLIRP_CONFIG": config} if config else {}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}")
        with open(out, encoding="utf-8") as file:
            found = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)
        return int(found.group(1))
