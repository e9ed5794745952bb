"""What a run has shown: lines as it goes, and the table and its JSON."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "script/lib"))

import page  # noqa: E402  (the path has to be set first)

COLUMNS = ("clippy", "layout", "unit", "in-process", "programs", "meson", "release")
# What each result is kept with.
RUN = {"day", "tree", "compiler"}
# The status of what was ended before it was done. Of tests it shows nothing: the run has failed, and what the table had stays.
NOT_DONE = 124
HEADS = ("compiler and clippy", "layout of the headers", "unit tests", "in-process tests", "C programs", "built by meson", "libraries, stripped (bytes)")


class Results:
    """Counts, and a row for each target."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.rows = {}
        self.states = []
        self.compiler = ""
        # What is checked out when a run begins: it may be committed to before its end.
        self.tree = tree_of(pathlib.Path(__file__).parent)
        # What programs said, word for word: by the name of a page and the part of a run, lines.
        self.transcripts = {}

    def say(self, name, status, log):
        """One check: a line, and of one that failed the lines that say why."""
        if status == 0:
            self.passed += 1
            print(f"ok {name}", flush=True)
            return
        self.failed += 1
        print(f"not ok {name}", flush=True)
        lines = log.splitlines()
        telling = [i for i, line in enumerate(lines) if re.match(r"(error|warning|not ok|FAIL)\b|test .* FAILED$|thread .* panicked at", line)]
        shown = sorted({i + more for i in telling[:30] for more in range(4) if i + more < len(lines)}) or range(max(0, len(lines) - 20), len(lines))
        for i in shown:
            print(f"  {lines[i][:220]}")

    def note(self, target, part, result, left_out=()):
        """Keeps a result for the table."""
        kept = self.rows.setdefault(target.name, {}).setdefault(part, {"result": []})
        kept["result"].append(result)
        if left_out:
            kept["without"] = list(left_out)

    def verdict(self, target, part, status, log, result, failed=0, left_out=()):
        """One part of one target."""
        if left_out:
            print(f"# {target.name}, {part}: left out: {' '.join(left_out)}")
        self.say(f"{target.name}.{part}" + (f" ({result})" if status == 0 and result else ""), status, log)
        if status != NOT_DONE:
            self.note(target, part, result if status == 0 else f"{failed} failed" if failed else "fails", left_out)

    def program(self, target, name, status, log, part="programs"):
        """A program that says how many of its checks passed."""
        last = (log.strip().splitlines() or [""])[-1].strip()
        counted = re.fullmatch(r"(\d+) passed, 0 failed", last)
        good = status == 0 and counted and counted.group(1) != "0"
        self.say(f"{target.name}.{part}.{name} ({last[:80]})", 0 if good else status or 1, log)
        self.note(target, part, f"{name} {counted.group(1)}" if good else f"{name} fails")

    def exchange(self, saver, loader, status, log, turned=False):
        """A state of one machine, loaded by another one."""
        self.say(f"exchange.{saver.name} -> {loader.name}", status, log)
        good = f"goes on, and is saved again byte for byte{', but for the order of addresses and ports' if turned else ''}"
        self.states.append({"saved": saver.name, "loaded": loader.name, "result": good if status == 0 else "fails"})

    def transcribe(self, name, part, command, printed):
        """Keeps a command and what it printed for the page of that name."""
        lines = self.transcripts.setdefault(name, {}).setdefault(part, [])
        lines.extend(["", f"$ {' '.join(map(str, command))}", *printed.strip().splitlines()])

    def write(self, path, targets):
        """The page and its JSON, with what was not written yet; targets that were not run keep what they have."""
        store = path.with_suffix(".json")
        today = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}"
        with alone(path.parent):
            known = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {"platforms": {}, "states": []}
            for name, parts in self.rows.items():
                for part, kept in parts.items():
                    known["platforms"].setdefault(name, {})[part] = {**kept, "day": today, "tree": self.tree, "compiler": self.compiler}
            ran = {(one["saved"], one["loaded"]) for one in self.states}
            kept = [one for one in known["states"] if (one["saved"], one["loaded"]) not in ran]
            order = {target.name: place for place, target in enumerate(targets)}
            known["states"] = sorted([*kept, *({**one, "day": today, "tree": self.tree} for one in self.states)],
                                     key=lambda one: (order.get(one["saved"], 0), order.get(one["loaded"], 0)))
            for name, parts in self.transcripts.items():
                self.write_transcripts(path.with_name(name), parts, today)
            store.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            page.replace(str(path), "platforms", table(known, targets))
            page.replace(str(path), "states", states(known))
        # A later run of the same part may be through before this one is written again.
        self.rows, self.states, self.transcripts = {}, [], {}

    def write_transcripts(self, path, parts, today):
        """The page of what programs said; sections of other parts stay."""
        _, *sections = path.read_text(encoding="utf-8").split("\n== ") if path.exists() else [""]
        shown = {section.split(":")[0]: section.strip() for section in sections}
        for part, lines in parts.items():
            shown[part] = "\n".join([f"{part}: {today}, tree {self.tree}, {self.compiler}", *lines])
        head = "What compat-tests/platforms/run.py ran and what was printed, a section for each part of a run.\n"
        path.write_text(head + "".join(f"\n== {shown[part]}\n" for part in sorted(shown)), encoding="utf-8")

    def check(self, path, targets):
        """Whether the page has what its JSON says, and that of every target."""
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        names = {target.name for target in targets}
        unknown = sorted(names ^ set(known["platforms"]))
        log = "".join(f"error: {name} is in one of targets.py and {path.stem}.json alone\n" for name in unknown)
        for target in targets:
            log += "".join(f"error: {target.name}, {part}: neither a result nor a reason\n" for part in unexplained(known, target))
        for name, parts in known["platforms"].items():
            log += "".join(f"error: {name}, {part}: no run is named that has shown it\n" for part, kept in parts.items() if not RUN <= kept.keys())
        text = path.read_text(encoding="utf-8")
        for name, wanted in (("platforms", table(known, targets)), ("states", states(known))):
            if page.replaced(str(path), name, wanted) != text:
                log += f"error: {path} has another table '{name}' than {path.stem}.json; run.py --table {path} writes both\n"
        self.say(f"table ({path.name} and {path.stem}.json)", 1 if log else 0, log)


@contextlib.contextmanager
def alone(folder):
    """While this goes on, no other run writes its results into the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def tree_of(folder):
    """The commit that is checked out, with a + where files of the library or of the tests differ from it."""
    def git(*arguments):
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def missing(known, target):
    """The columns in which a row has no result."""
    parts = known["platforms"].get(target.name, {})
    return [part for part in COLUMNS if part not in parts]


def unexplained(known, target):
    """The same, of which nobody says why. A system for which nothing is linked has one reason for all."""
    return [part for part in missing(known, target) if target.compiler and part not in dict(target.reasons)]


def dashes(known, targets):
    """A line for each reason that parts of a row were not run."""
    heads = dict(zip(COLUMNS, HEADS, strict=True))
    told = {}
    for target in targets:
        for part, reason in target.reasons:
            if part in missing(known, target):
                told.setdefault((target.name, reason), []).append(heads[part])
    return [f"* {name}, {', '.join(parts)}: {reason}" for (name, reason), parts in told.items()]


def cell(parts, part):
    """What a row says of a part."""
    kept = parts.get(part)
    if kept is None:
        return "–"
    return ", ".join(kept["result"]) + (" ¹" if kept.get("without") else "")


def table(known, targets):
    """The rows in the order of targets.py."""
    lines = ["| platform | " + " | ".join(HEADS) + " | not shown |", "|---" * (len(HEADS) + 2) + "|"]
    for target in targets:
        parts = known["platforms"].get(target.name, {})
        lines.append(f"| {target.name} | " + " | ".join(cell(parts, part) for part in COLUMNS) + f" | {target.not_shown} |")
    if dashed := dashes(known, targets):
        lines += ["", "What was not run, and why:", "", *dashed]
    left_out = {}
    for target in targets:
        for part, kept in known["platforms"].get(target.name, {}).items():
            for name in kept.get("without", ()):
                left_out.setdefault(name, []).append(f"{target.name} ({part})")
    if left_out:
        names = "; ".join(f"`{name}`" for name in sorted(left_out))
        lines += ["", f"¹ Without tests that the processor's emulator or the system cannot do, or not within minutes, by their names: {names}."]
    return "\n".join(lines)


def states(known):
    """Who has loaded whose state."""
    savers = list(dict.fromkeys(one["saved"] for one in known["states"]))
    if not savers:
        return "No run yet."
    found = {(one["saved"], one["loaded"]): one["result"] for one in known["states"]}
    lines = ["| saved on | " + " | ".join(f"loaded on {name}" for name in savers) + " |", "|---" * (len(savers) + 1) + "|"]
    lines += [f"| {saver} | " + " | ".join(found.get((saver, loader), "–") for loader in savers) + " |" for saver in savers]
    return "\n".join(lines)
