"""What a reader wants to see of a run: commands as one types them, and of what they said the lines that tell something."""

import json
import os
import re

# What apt-get does, between its lists of what it has read and the progress of each file.
APT = re.compile(r"^(The following .*|  .*|\d+ upgraded, .*|(Removing|Purging configuration files for|Unpacking|Setting up) .*)$")
# Of a build: Rust's part, meson's tests, what came out.
BUILD = re.compile(r"^( +Finished `.*| *\d+/\d+ .*(OK|FAIL|TIMEOUT).*|Ok: .*|Fail: .*|dpkg-gensymbols: .*"
                   r"|dpkg-deb: building package '(?!.*dbgsym).*)$")
# What dpkg says of the moment in which neither package is there, once for each program that wants one.
BETWEEN = re.compile(r"^  Package \S+ (is not installed|which provides \S+ is to be removed)\.$")


class Transcript:
    """The steps of one release, in the order in which they were done."""

    def __init__(self):
        self.steps = []

    def add(self, command, said, pattern=None):
        """A command with what it said, of which `pattern` chooses lines."""
        lines = [line.rstrip() for line in said.splitlines() if line.strip()]
        if pattern:
            lines = [line for line in lines if pattern.match(line)]
        self.steps.append({"command": command, "said": lines})

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.steps, file)

    @staticmethod
    def of_file(path):
        """What was kept of an earlier run, if anything was."""
        found = Transcript()
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found.steps = json.load(file)
        return found


def page(steps):
    """The steps as a block of a page."""
    lines = []
    for step in steps:
        lines.append(step["command"] if step["command"].startswith("#") else "$ " + step["command"])
        lines += [line for line in step["said"] if not BETWEEN.match(line)]
    return "```\n" + "\n".join(lines) + "\n```\n"
