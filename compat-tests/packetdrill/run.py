#!/usr/bin/env python3
"""packetdrill's scripts on the library under test, through the plug-in of this folder. See README.md."""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

from rig import library  # noqa: E402  (the path has to be set first)
from rig.report import Failure, Report, truth  # noqa: E402

OUTCOMES = os.path.join(HERE, "public.txt")
UPSTREAM_NAMES = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
# The same largest segment, 1460 bytes, in both.
FAMILIES = {
    "ipv4": ["--ip_version=ipv4", "--local_ip=10.0.2.2", "--remote_ip=10.0.2.15", "--gateway_ip=10.0.2.2",
             "--netmask_ip=255.255.255.0", "--so_flags=mtu=1500", "-D", "CMSG_LEVEL_IP=SOL_IP",
             "-D", "CMSG_TYPE_RECVERR=IP_RECVERR", "-D", "TFO_COOKIE=3021b9d889017eeb", "-D", "CODE=host_unreachable"],
    "ipv6": ["--ip_version=ipv6", "--local_ip=fec0::2", "--remote_ip=fec0::f", "--gateway_ip=fec0::2",
             "--so_flags=mtu=1520", "-D", "CMSG_LEVEL_IP=SOL_IPV6", "-D", "CMSG_TYPE_RECVERR=IPV6_RECVERR",
             "-D", "TFO_COOKIE=c1d1e9742a47a9bc", "-D", "CODE=address_unreachable"],
}
# Memory that packetdrill pins is scarce: a small stack for its second thread.
NAMESPACE = ["sh", "-c", "ip link set lo up && ulimit -s 512 && exec \"$@\"", "sh"]
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
# A command of the shell, with the time before it, and code that looks at the host's own TCP.
SHELL = re.compile(r"^[ \t]*(?:[+*\d.~]+[ \t]+)?`[^`]*`", re.M)
CODE = re.compile(r"^[ \t]*(?:[+*\d.~]+[ \t]+)?%\{.*?\}%", re.M | re.S)
FILE = re.compile(r"/bin/(rm|dd) ")
# The options of a SYN that is expected; those with a timestamp stay, as answers are mapped by it.
SYN_OPTIONS = re.compile(r"^([^\n/`%]*>[ \t]+(?:\[[^\]]*\][ \t]+)?S[^\n<]*)<(?![^>\n]*TS val)[^>\n]*>", re.M)
# Data that is expected without PSH.
UNPUSHED = re.compile(r"^([^\n/`%<]*>[ \t]+(?:\[[^\]]*\][ \t]+)?[A-OQ-Z]*)(\.[^\n(]*\([1-9]\d*\))", re.M)


def blank(match):
    """Nothing, with the lines kept so that numbers in messages are right."""
    return "\n" * match.group(0).count("\n")


def blank_setting(match):
    """As `blank`, for a command of the shell; but the making of a file to send stays. Others set something in Linux."""
    lines = [line.strip(" \t`") for line in match.group(0).split("\n")]
    kept = "\n".join(line if FILE.match(line) else "" for line in lines)
    return f"`{kept}`" if kept.strip() else kept


def find_library():
    folder = library.libdir()
    for one in [folder] if folder else UPSTREAM_NAMES:
        path = os.path.join(one, "libslirp.so.0")
        if os.path.exists(path):
            return os.path.realpath(path)
    raise SystemExit("no libslirp.so.0")


class Bench:
    """The built plug-in with one library."""

    def __init__(self, work, path):
        subprocess.run([os.path.join(HERE, "build.sh"), work], check=True)
        self.plugin = os.path.join(work, "plugin.so")
        self.smoke = os.path.join(work, "smoke")
        self.environment = dict(os.environ, SLIRP_LIB=path)
        self.unshare = ["unshare", "-r", "-n"]
        if subprocess.run([*self.unshare, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.unshare = ["unshare", "-n"]

    def isolated(self, *command, seconds=20, folder=None):
        """Run a command in a network namespace with nothing but loopback: its status and what it wrote."""
        try:
            done = subprocess.run([*self.unshare, *NAMESPACE, *command], env=self.environment, cwd=folder, timeout=seconds,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
        except subprocess.TimeoutExpired:
            return 124, "", f"no end within {seconds} s"
        return done.returncode, done.stdout, done.stderr

    def packetdrill(self, script, family, folder=None, relaxed=False):
        """Run one script: "pass", "n/a" or "fail", and the reason."""
        options = [one + ",relaxed" if relaxed and "so_flags" in one else one for one in FAMILIES[family]]
        status, out, err = self.isolated(os.environ["PACKETDRILL"], f"--so_filename={self.plugin}", "--send_omit_free",
                                         *options, script, folder=folder)
        if status == 0:
            return "pass", ""
        found = re.search(r"^not applicable: (.*)|(PSP requires wireserver mode)", err, re.M)
        if found:
            return "n/a", found.group(1) or found.group(2)
        text = err.strip() or out.strip() or f"status {status}"
        return "fail", text.replace(os.path.abspath(script), os.path.basename(script))


def head(path):
    """The "Name: value" lines in the comment that begins one of our scripts."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    fields = {}
    for line in lines:
        found = re.match(r"// (\w+): (.*)", line)
        if found:
            fields[found.group(1)] = found.group(2)
    return fields


def test_exists(name):
    """Whether a Rust test has this name, for the rule that a script without packetdrill is covered."""
    function = name.split("::")[-1]
    return subprocess.run(["grep", "-rqE", rf"fn {function}\b", "src", "engine/src", "tests"], cwd=os.path.join(HERE, "..", ".."),
                          check=False).returncode == 0


def own_scripts(report, bench, only):
    folder = os.path.join(HERE, "scripts")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".pkt"))
    for name in names:
        fields = head(os.path.join(folder, name))
        stem = name.removesuffix(".pkt")
        with report.check(f"covered.{stem}"):
            truth("Rule" in fields and "Test" in fields, "the head has no Rule and Test")
            for test in fields["Test"].split(", "):
                truth(test_exists(test), f"there is no test {test}")
    if not os.environ.get("PACKETDRILL"):
        report.info("PACKETDRILL names no packetdrill: its scripts do not run; the tests in their heads cover the rules")
        return
    upstream_passes = 0
    for name in names:
        path = os.path.join(folder, name)
        fields = head(path)
        for family in fields.get("Families", "ipv4 ipv6").split():
            label = f"own.{name.removesuffix('.pkt')}.{family}"
            if only and not re.search(only, label):
                continue
            outcome, reason = bench.packetdrill(path, family)
            if report.upstream:
                with report.check(label):
                    expected = "fail" if "Upstream" in fields else "pass"
                    truth(outcome == expected, f"upstream: {outcome}, its head tells {expected}: {reason}")
                    upstream_passes += outcome == "pass"
            else:
                with report.check(label):
                    truth(outcome == "pass", f"{outcome}: {reason}")
    if report.upstream:
        report.info(f"upstream passes {upstream_passes}")


def variants(path):
    """The two forms of a public script: without settings of Linux; and without what only Linux's own TCP can meet."""
    with open(path, encoding="utf-8") as file:
        text = COMMENT.sub(blank, file.read())
    plain = SHELL.sub(blank_setting, text)
    relaxed = SYN_OPTIONS.sub(r"\1<...>", CODE.sub(blank, plain))
    return plain, UNPUSHED.sub(r"\1P\2", relaxed)


def public_outcome(bench, root, name):
    """Outcomes of one public script as written and relaxed, the worse of both families, and the reason."""
    path = os.path.join(root, name)
    families = ["ipv6"] if name.endswith("v6.pkt") else ["ipv4"] if name.endswith("v4.pkt") else ["ipv4", "ipv6"]
    outcomes = []
    for relaxed, text in enumerate(variants(path)):
        with tempfile.NamedTemporaryFile("w", suffix=".pkt") as copy:
            copy.write(text)
            copy.flush()
            results = [bench.packetdrill(copy.name, family, os.path.dirname(path), relaxed) for family in families]
        worst = min(results, key=lambda result: ["fail", "n/a", "pass"].index(result[0]))
        outcomes.append((worst[0], worst[1].replace(os.path.basename(copy.name), "line")))
    return outcomes


def public_scripts(report, bench, only, write):
    root = os.environ.get("PACKETDRILL_SCRIPTS")
    if not (root and os.environ.get("PACKETDRILL")):
        report.info("PACKETDRILL and PACKETDRILL_SCRIPTS do not name packetdrill and its scripts: these do not run")
        return
    names = sorted(os.path.relpath(os.path.join(at, name), root) for at, _, files in os.walk(root) for name in files
                   if name.endswith(".pkt"))
    if only:
        names = [name for name in names if re.search(only, "public." + name)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        found = dict(zip(names, pool.map(lambda name: public_outcome(bench, root, name), names)))
    known = read_outcomes()
    column = 0 if report.upstream else 2
    counts = [{"pass": 0, "n/a": 0, "fail": 0} for _ in range(2)]
    for name in names:
        seen = [outcome for outcome, _ in found[name]]
        for count, outcome in zip(counts, seen):
            count[outcome] += 1
        if write:
            row = known.setdefault(name, ["-"] * 4 + ["?"])
            row[column:column + 2] = seen
            for form, (outcome, reason) in zip(("as written", "relaxed"), found[name]):
                if outcome != "pass":
                    report.info(f"{name} {form}: {outcome}: {reason}")
            continue
        with report.check("public." + name.removesuffix(".pkt")):
            if name not in known:
                raise Failure(f"not in public.txt: {seen}")
            expected = known[name][column:column + 2]
            truth(seen == expected, f"saw {seen}, public.txt has {expected}: {found[name]}")
    for form, count in zip(("as written", "relaxed"), counts):
        report.info(f"public scripts {form}: " + ", ".join(f"{number} {outcome}" for outcome, number in count.items()))
    if write:
        write_outcomes(known)


def read_outcomes():
    """public.txt: name, upstream as written and relaxed, ours as written and relaxed, reason."""
    known = {}
    if os.path.exists(OUTCOMES):
        with open(OUTCOMES, encoding="utf-8") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    fields = line.rstrip("\n").split(None, 5)
                    known[fields[0]] = fields[1:5] + [fields[5] if len(fields) > 5 else "?"]
    return known


def write_outcomes(known):
    with open(OUTCOMES, encoding="utf-8") as file:
        comments = [line for line in file if line.startswith("#")]
    with open(OUTCOMES, "w", encoding="utf-8") as file:
        file.writelines(comments)
        for name in sorted(known):
            row = known[name]
            file.write(f"{name:58} {row[0]:5} {row[1]:5} {row[2]:5} {row[3]:5} {row[4]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="smoke, own, public; all without an argument")
    parser.add_argument("--only", help="a regular expression that the name of a script has to match")
    parser.add_argument("--write", action="store_true", help="write what was seen into public.txt instead of comparing")
    arguments = parser.parse_args()
    path = find_library()
    report = Report(upstream=library.libdir() is None)
    report.info(f"library: {path}")
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(work, path)
        parts = arguments.parts or ["smoke", "own", "public"]
        if "smoke" in parts:
            status, out, err = bench.isolated(bench.smoke, bench.plugin)
            for line in out.split("\n"):
                if line.startswith(("ok ", "not ok ")):
                    with report.check("smoke." + re.sub(r"\W+", "_", line.split("ok ", 1)[1])):
                        truth(line.startswith("ok "), "see smoke.c")
            with report.check("smoke.ends_well"):
                truth(status == 0, f"status {status}: {err}")
        if "own" in parts:
            own_scripts(report, bench, arguments.only)
        if "public" in parts:
            public_scripts(report, bench, arguments.only, arguments.write)
    return report.summary()


if __name__ == "__main__":
    sys.exit(main())
