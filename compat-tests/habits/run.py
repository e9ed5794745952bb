#!/usr/bin/env python3
"""The habits of the programs that load libslirp, each under the same loads. See README.md.

compat-tests/habits/run.py [--only PATTERN] [--check PAGE] [--table PAGE [--upstream NAME,NAME]] [--valgrind] [--jobs N]

SLIRP_LIBDIR   the folder of the library under test, or `system` for the installed one
--check PAGE   fail where the table in the page says that our library passes and it does not, or where it lacks a row
--table PAGE   write the table into the page, with upstream's libraries (see script/lib/upstream.sh) beside ours
--columns PATTERN  only these columns of the table; what other runs found stands in target/rig/habits.json and is used for the rest
"""

import argparse
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), os.path.join(TOP, "script", "lib")]

from rig import library, names, outer, waiting  # noqa: E402  (the path has to be set first)

import consumer  # noqa: E402
import table  # noqa: E402

SOURCES = ["main", "rows", "loop", "watch", "link", "instance", "clock", "timers", "library", "sandbox"]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--check")
    parser.add_argument("--table")
    parser.add_argument("--upstream", default="4.9.5,system")
    parser.add_argument("--columns")
    parser.add_argument("--valgrind", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args()


def build(folder):
    """Compile the application; the words that run it."""
    program = os.path.join(folder, "habits")
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations",
                    "-I", os.path.join(TOP, "include"), "-o", program,
                    *(os.path.join(HERE, name + ".c") for name in SOURCES), "-pthread", "-ldl"], check=True)
    return program


def missing():
    """What the machine lacks."""
    for program in ("ip", "unshare", os.environ.get("CC", "cc")):
        if not shutil.which(program):
            return f"no program {program}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error}"
    return ""


def system_library():
    done = subprocess.run([os.environ.get("CC", "cc"), "-print-file-name=libslirp.so.0"], stdout=subprocess.PIPE, text=True,
                          check=True)
    return done.stdout.strip()


def worker(program, jobs, results):
    """Runs rows until there are none left."""
    waiting.die_with_parent()
    host = consumer.Host()
    for number, (row, path, direct) in iter(jobs.get, None):
        run = consumer.Run(program, row, path, host, direct)
        started = time.monotonic()
        try:
            run.all()
        except Exception as error:  # the rig itself
            run.results["rig"] = f"{type(error).__name__}: {error}"
        results.put((number, run.outcome(), time.monotonic() - started))


class Pool:
    """Processes that run rows. It is to be made while this process has no other thread."""

    def __init__(self, words, count):
        self._jobs, self._results = multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
        self._workers = [multiprocessing.Process(target=worker, args=(words, self._jobs, self._results))
                         for _ in range(count)]
        for one in self._workers:
            one.start()

    def run(self, work):
        """Yields what came of each piece of work, in the order of the work."""
        for job in enumerate(work):
            self._jobs.put(job)
        for _ in self._workers:
            self._jobs.put(None)
        found = {}
        for number in range(len(work)):
            while number not in found:
                got = self._results.get()
                found[got[0]] = got[1:]
            yield found.pop(number)
        for one in self._workers:
            one.join()


def libraries_of(args):
    """Column of the table → library and whether it is in direct mode."""
    folder = library.libdir()
    if folder is None:
        return {"upstream": (system_library(), False)}
    ours = os.path.join(folder, "libslirp.so.0")
    columns = {"ours": (ours, False), "ours, direct": (ours, True)}
    if args.table:
        import libraries

        for name, place in libraries.upstreams(args.upstream).items():
            columns[name] = (system_library() if place == "system" else os.path.join(place, "libslirp.so.0"), False)
    return columns


def main():
    args = arguments()
    if not os.environ.get(outer.MARK) and args.table:
        os.environ["HABITS_COLUMNS"] = json.dumps(libraries_of(args))
    outer.enter()
    lacks = missing()
    if lacks:
        print(f"not ok habits: {lacks}\n0 passed, 1 failed")
        return 1
    folder = os.environ.get("RIG_CACHE") or os.path.join(TOP, "target", "rig")
    os.makedirs(folder, exist_ok=True)
    program = build(folder)
    rows = [consumer.Row(line) for line in
            subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()]
    wanted = [row for row in rows if not args.only or re.search(args.only, row.name)]
    columns = json.loads(os.environ["HABITS_COLUMNS"]) if args.table else libraries_of(args)
    heads = list(columns)
    if args.columns:
        columns = {name: what for name, what in columns.items() if re.search(args.columns, name)}
    words = [program]
    if args.valgrind:
        words = ["valgrind", "--quiet", "--error-exitcode=99", program]
        consumer.LIMIT, consumer.SOON, consumer.STREAM = consumer.LIMIT * 3, consumer.SOON * 3, consumer.STREAM // 8
    said = table.read(args.check) if args.check else {}
    started = time.monotonic()
    work = [(row, path, direct) for path, direct in columns.values() for row in wanted if row.direct or not direct]
    labels = [(name, row) for name, (_, direct) in columns.items() for row in wanted if row.direct or not direct]
    pool = Pool(words, args.jobs)
    for address in ("127.0.0.53", "::1"):
        names.NameServer(address, {consumer.NAME: [consumer.ADDRESS]})
    outer.resolv_conf(["127.0.0.53", "::1"])
    results, passed, failed = {}, 0, 0
    kept = os.path.join(folder, "habits.json")
    if args.table and os.path.exists(kept):
        with open(kept, encoding="utf-8") as file:
            results = {tuple(key.split("\t")): value for key, value in json.load(file).items()}
    for name, (_, direct) in columns.items():
        for row in wanted:
            if direct and not row.direct:
                results.pop((row.name, name), None)
    for (label, row), (run, took) in zip(labels, pool.run(work)):
        ours = label.startswith("ours")
        verdict = table.verdict(run["results"], run["violations"], run["remarks"] if ours else [])
        results[row.name, label] = verdict
        # Upstream is not on trial, and what the page admits is no news.
        known = not ours or said.get(row.name, {}).get(label, table.PASSES) != table.PASSES
        passed, failed = passed + (not verdict), failed + bool(verdict and not known)
        print(f"{'known' if known else 'not ok'} {label}: {row.name}: {verdict}" if verdict else
              f"ok {label}: {row.name}: {len(run['results'])} loads # {took:.1f} s, longest call {run['longest']} ms")
        if os.environ.get("RIG_VERBOSE"):
            print("   ", "; ".join(f"{name} {seconds:.2f}" for name, seconds in run["seconds"].items()))
        sys.stdout.flush()
    if args.table:
        with open(kept, "w", encoding="utf-8") as file:
            json.dump({"\t".join(key): value for key, value in results.items()}, file, indent=1)
        table.write(args.table, rows, heads, results)
    if args.check:
        for complaint in table.complaints(said, rows):
            failed += 1
            print(f"not ok table: {complaint}")
    print(f"# took {time.monotonic() - started:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
