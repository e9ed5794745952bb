"""One line a check, and the closing count that `script/test` adds up."""

import contextlib
import os
import re
import signal
import sys
import time
import traceback


class Failure(Exception):
    """A check that did not hold; the text says what was seen and what was expected."""


def equal(seen, expected, what="value"):
    """Raise `Failure` unless the two are equal."""
    if seen != expected:
        raise Failure(f"{what}: saw {seen!r}, expected {expected!r}")


def truth(condition, text):
    """Raise `Failure` with the text unless the condition holds."""
    if not condition:
        raise Failure(text)


class Report:
    """Counts checks. `beyond` checks ask for more than upstream gives, so they only count on our library."""

    def __init__(self, upstream, only=None):
        self.upstream = upstream
        self.only = re.compile(only) if only else None
        self.passed = 0
        self.failed = 0
        self.prefix = ""
        # Checks whose failure is admitted in the consumer's page: it is printed as known, and counts neither way.
        self.known = None
        self.started = time.monotonic()
        self.verbose = bool(os.environ.get("RIG_VERBOSE"))

    def info(self, text):
        """Print something that is no verdict (a rate, a version)."""
        print(f"# {text}", flush=True)

    def wanted(self, name):
        return self.only is None or self.only.search(name) is not None

    @contextlib.contextmanager
    def check(self, name, beyond=False):
        """Run the block as one check. An exception in the block is its failure and does not spread."""
        name = self.prefix + name
        started = time.monotonic()
        try:
            yield
        except Exception as error:  # every failure has to become a line of the report
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            if self.verbose:
                traceback.print_exc()
            if beyond and self.upstream:
                print(f"skip {name} upstream does not do this: {reason}", flush=True)
                return
            if self.known and self.known.search(name):
                print(f"known {name} {reason}", flush=True)
                return
            self.failed += 1
            print(f"not ok {name} {reason}", flush=True)
            return
        self.passed += 1
        took = time.monotonic() - started
        slow = f" # {took:.1f} s" if took >= 1 else ""
        print(f"ok {name}{slow}", flush=True)

    def watchdog(self, seconds):
        """Fail the whole run when it takes longer than this; children end because their parent does."""

        def over(_signal, _frame):
            self.failed += 1
            print(f"not ok {self.prefix}watchdog the run took longer than {seconds} s", flush=True)
            self.summary()
            sys.stdout.flush()
            os._exit(1)

        signal.signal(signal.SIGALRM, over)
        signal.alarm(seconds)

    def summary(self):
        """Print the closing line and return the exit status."""
        self.info(f"took {time.monotonic() - self.started:.1f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0
