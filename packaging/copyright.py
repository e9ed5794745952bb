#!/usr/bin/env python3
"""Writes packaging/debian/copyright from the vendored crates.

copyright.py VENDOR            write the file
copyright.py VENDOR --check    exit with 1 if it differs from what would be written

VENDOR is a folder made by `cargo vendor --locked --versioned-dirs`. Each crate gets a paragraph, with the holders that its own files
name and the licence of its manifest; the crates that are linked into the library, or into the command, say so. The texts of the licences follow.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.join(ROOT, "packaging", "debian", "copyright")

# The names of SPDX on the left, those of Debian's format on the right.
NAMES = {
    "MIT": "Expat", "Apache-2.0": "Apache-2.0", "0BSD": "0BSD", "Zlib": "Zlib", "ISC": "ISC", "MPL-2.0": "MPL-2.0",
    "Unlicense": "Unlicense", "MIT-0": "MIT-0", "BSD-2-Clause": "BSD-2-clause", "LGPL-2.1-or-later": "LGPL-2.1+", "Unicode-3.0": "Unicode-3.0",
    "Apache-2.0 WITH LLVM-exception": "Apache-2.0 with LLVM exception",
}
# Texts that Debian has in every system are only named.
COMMON = {"Apache-2.0": "Apache-2.0", "MPL-2.0": "MPL-2.0", "LGPL-2.1+": "LGPL-2.1"}
# Where the other texts are taken from: a crate that is under the licence, and its file.
TEXTS = {
    "Expat": ("mio", "LICENSE"), "Zlib": ("foldhash", "LICENSE"), "0BSD": ("managed", "LICENSE-0BSD.txt"),
    "ISC": ("libloading", "LICENSE"), "Unlicense": ("memchr", "UNLICENSE"), "Unicode-3.0": ("unicode-ident", "LICENSE-UNICODE"),
    "MIT-0": ("borrow-or-share", "LICENSE"), "BSD-2-clause": ("zerocopy", "LICENSE-BSD"),
}
LLVM = """As an exception, if, as a result of your compiling your source code, portions of this Software are embedded into an
Object form of such source code, you may redistribute such embedded portions in such Object form without complying with the
conditions of Sections 4(a), 4(b) and 4(d) of the License."""


def field(manifest, name):
    """The value of a line `name = "value"` or `name = ["value", ...]` of the manifest's head."""
    head = re.split(r"^\[(?!package\])", manifest, maxsplit=1, flags=re.M)[0]
    one = re.search(rf'^{name} = "(.*)"', head, re.M)
    if one:
        return [one.group(1)]
    many = re.search(rf"^{name} = \[(.*?)\]", head, re.M | re.S)
    return re.findall(r'"(.*?)"', many.group(1)) if many else []


def holders(folder, manifest):
    """Who the licence files of a crate name, or else the authors of its manifest."""
    found = []
    for name in sorted(os.listdir(folder)):
        if not re.match(r"(?i)(un)?licen[cs]e|copying|copyright", name) or not os.path.isfile(os.path.join(folder, name)):
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            for line in file:
                line = " ".join(line.split())
                match = re.match(r"(?i)(?:.*?)copyright (?:\(c\) |© )?(\d{4}.*|the \w+ .*|smoltcp contributors.*)", line)
                if match and not re.search(r"(?i)yyyy|owner|license|licensor|holder", match.group(1)):
                    found.append(match.group(1).rstrip(" ."))
    return list(dict.fromkeys(found)) or field(manifest, "authors") or [f"the authors of {os.path.basename(folder)}"]


def licence(expression):
    """A licence of a manifest in the words of Debian's format."""
    words = expression.replace("/", " OR ").replace("(", "").replace(")", "")
    names = re.split(r"\s+(OR|AND)\s+", " ".join(words.split()))
    return " ".join(word.lower() if word in ("OR", "AND") else NAMES[word] for word in names), \
        [NAMES[word] for word in names if word not in ("OR", "AND")]


def indented(text):
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().split("\n"))


def linked(package):
    """The crates that are part of the library or of the command on some platform that it is built for, as NAME-VERSION."""
    words = ["cargo", "tree", "--locked", "-p", package, "-e", "normal,no-proc-macro", "--target", "all", "--prefix", "none"]
    text = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {f"{line.split()[0]}-{line.split()[1][1:]}" for line in text.splitlines() if line.strip()}


def text_of(vendor, name):
    if name in COMMON:
        return f" The text is in /usr/share/common-licenses/{COMMON[name]} on Debian systems."
    if name == "Apache-2.0 with LLVM exception":
        return " The text of the Apache License is in /usr/share/common-licenses/Apache-2.0 on Debian\n systems.\n .\n" + indented(LLVM)
    crate, file = TEXTS[name]
    folder = next(one for one in sorted(os.listdir(vendor)) if re.fullmatch(rf"{crate}-\d.*", one))
    with open(os.path.join(vendor, folder, file), encoding="utf-8") as text:
        lines = [line for line in text.read().split("\n") if not re.match(r"(?i)copyright (\(c\) )?\d{4}", line.strip())]
    return indented("\n".join(lines))


def compose(vendor):
    with open(os.path.join(ROOT, "LICENSE"), encoding="utf-8") as file:
        own = file.read().split("\n\n", 2)[2]
    parts = ["""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: oxislirp
Comment:
 Written by packaging/copyright.py. The crates under vendor/ come from the registry of
 Rust crates; those that say so are linked into the library or the command, the others are
 used to build them, by the tests, or on other platforms. Both also contain parts of Rust's
 standard library (the Rust Project Developers; Expat or Apache-2.0), which the compiler's
 package brings.""",
             "Files: *\nCopyright: 2026, the oxislirp authors\nLicense: BSD-3-clause"]
    used = set()
    places = (("library", linked("oxislirp-capi")), ("command", linked("oxislirp-tools")))
    for name in sorted(os.listdir(vendor)):
        folder = os.path.join(vendor, name)
        with open(os.path.join(folder, "Cargo.toml"), encoding="utf-8") as file:
            manifest = file.read()
        words, names = licence(field(manifest, "license")[0])
        used.update(names)
        lines = [f"Files: vendor/{name}/*", "Copyright: " + "\n ".join(holders(folder, manifest)), f"License: {words}"]
        inside = [place for place, crates in places if name in crates]
        if inside:
            lines.append(f"Comment: linked into the {' and the '.join(inside)}")
        parts.append("\n".join(lines))
    inside = {one for _, crates in places for one in crates if not one.startswith("oxislirp")}
    missing = inside - set(os.listdir(vendor))
    if missing:
        raise SystemExit(f"not vendored: {sorted(missing)}")
    parts.append("License: BSD-3-clause\n" + indented(own))
    for name in sorted(used):
        parts.append(f"License: {name}\n{text_of(vendor, name)}")
    return "\n\n".join(parts) + "\n"


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    text = compose(sys.argv[1])
    if "--check" in sys.argv:
        with open(TARGET, encoding="utf-8") as file:
            raise SystemExit(0 if file.read() == text else "packaging/debian/copyright is stale: packaging/copyright.py VENDOR")
    with open(TARGET, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
