#!/usr/bin/env python3
"""Writes down what a C program can rely on, and compares it with what earlier releases promised.

abi.py LIBRARY             write packaging/abi/VERSION.txt, for the version that Cargo.toml has
abi.py LIBRARY --check     exit with 1 if that file is stale, or if something of an earlier release is not there any more
abi.py LIBRARY --against FILE...    only the comparison, with these files

A line for each symbol with its version node (read from LIBRARY), and for each function, type, member and constant of the headers, with
sizes and offsets as the C compiler has them ($CC, cc). They are those of 64-bit Linux; on other systems the types of C are the same and
`tests/c_abi.rs` compares with upstream's headers. A release may add lines. What it may not do is to lose or change one, but for the size of a
structure that is said to grow at its end, and what counts such things.
"""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = os.path.join(ROOT, "include")
FOLDER = os.path.join(ROOT, "packaging", "abi")
# Their users say which members they know: by a version (SlirpConfig, which has that of SlirpCb as well) or by a size.
GROWING = {"struct SlirpConfig", "struct SlirpCb", "struct OxislirpCounters",
           # The highest there is, and how many.
           "constant SLIRP_CONFIG_VERSION_MAX", "constant SLIRP_TIMER_NUM"}


def run(*words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, **more).stdout


def symbols(library):
    """The functions and nodes of a library: `symbol NAME@@NODE`."""
    for line in run("objdump", "-T", library).split("\n"):
        words = line.split()
        if len(words) >= 6 and "*UND*" not in words and re.match(r"(ox)?islirp_|slirp_|(OXI)?SLIRP_", words[-1]):
            yield f"symbol {words[-1]}@@{words[-2].strip('()')}"


def declarations():
    """The headers' own text after the preprocessor, in one line."""
    text = run(os.environ.get("CC", "cc"), "-E", f"-I{INCLUDE}", "-DSLIRP_NO_DEPRECATION", "-x", "c", "-", input="#include <slirp/oxislirp.h>\n")
    own, out = False, []
    for line in text.split("\n"):
        mark = re.match(r'# \d+ "(.*?)"', line)
        if mark:
            own = mark.group(1).startswith(INCLUDE)
        elif own:
            out.append(re.sub(r"__attribute__\s*\(\(.*?\)\)", "", line))
    return " ".join(" ".join(out).split())


def constants():
    """Names of the headers that stand for a number."""
    for header in ("libslirp.h", "oxislirp.h"):
        with open(os.path.join(INCLUDE, "slirp", header), encoding="utf-8") as file:
            yield from re.findall(r"^#define (SLIRP_\w+) \(?-?\d+\)?$", file.read(), re.M)


def headers():
    """The lines for what the headers declare."""
    text = declarations()
    structures = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text)
    enums = re.findall(r"typedef enum (\w+) \{(.*?)\} \1;", text)
    rest = re.sub(r"typedef (struct|enum) (\w+) \{.*?\} \2;", "", text)
    program = ["#include <slirp/oxislirp.h>", "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    types = {}
    for name, body in structures:
        program.append(f'printf("struct {name}: %zu bytes\\n", sizeof({name}));')
        for member in filter(None, (part.strip() for part in body.split(";"))):
            word = re.search(r"\(\*(\w+)\)|(\w+)(\[\d+\])?$", member)
            field = word.group(1) or word.group(2)
            types[f"{name}.{field}"] = member
            program.append(f'printf("member {name}.{field}: at %zu, %zu bytes\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
    for name, body in enums:
        program.append(f'printf("enum {name}: %zu bytes\\n", sizeof({name}));')
        for value in filter(None, (part.split("=")[0].strip() for part in body.split(","))):
            program.append(f'printf("constant {value}: %d\\n", (int){value});')
    program += [f'printf("constant {name}: %d\\n", (int){name});' for name in constants()]
    for statement in filter(None, (part.strip() for part in rest.split(";"))):
        alias = re.fullmatch(r"typedef (?!struct).*?(?:\(\*(\w+)\)\(.*\)|(\w+))", statement)
        function = re.fullmatch(r"(?:extern \"C\" \{ )?(.*?\b((?:ox)?islirp_\w+|slirp_\w+)\(.*\))", statement)
        if alias:
            name = alias.group(1) or alias.group(2)
            program.append(f'printf("type {name}: %zu bytes: {statement}\\n", sizeof({name}));')
        elif function:
            program.append(f'printf("function {function.group(2)}: {function.group(1)}\\n");')
        elif not statement.startswith("typedef struct"):
            raise SystemExit(f"abi.py does not know what this declares: {statement}")
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "abi.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write("\n".join([*program, "return 0; }"]) + "\n")
        run(os.environ.get("CC", "cc"), "-w", f"-I{INCLUDE}", "-o", f"{folder}/abi", source)
        for line in run(f"{folder}/abi").strip().split("\n"):
            member = re.match(r"member ([\w.]+):", line)
            yield f"{line}: {types[member.group(1)]}" if member else line


def numbered(line):
    """What a line says the size or the value of, and that."""
    match = re.match(r"((?:struct|constant) \w+): (-?\d+)(?: bytes)?$", line)
    return (match.group(1), int(match.group(2))) if match else (None, 0)


def lost(old, new):
    """What of the lines `old` is not kept in `new`."""
    values = dict(map(numbered, new))
    for line in old:
        name, value = numbered(line)
        if line not in new and not (name in GROWING and values.get(name, value - 1) >= value):
            yield line


def read(path):
    with open(path, encoding="utf-8") as file:
        return {line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")}


def version(text):
    return tuple(int(part) for part in text.split("."))


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
        current = re.search(r'^\[workspace\.package\]\nversion = "(.*)"', file.read(), re.M).group(1)
    lines = {*symbols(sys.argv[1]), *headers()}
    own = os.path.join(FOLDER, f"{current}.txt")
    if sys.argv[2:3] not in (["--check"], ["--against"]):
        with open(own, "w", encoding="utf-8") as file:
            file.write(f"# What a C program can rely on since oxislirp {current}. Written by packaging/abi.py.\n" + "\n".join(sorted(lines)) + "\n")
        return
    files = sys.argv[3:]
    bad = 0
    if sys.argv[2] == "--check":
        if not os.path.exists(own) or read(own) != lines:
            difference = sorted(lines ^ (read(own) if os.path.exists(own) else set()))[:10]
            print(f"{os.path.relpath(own, ROOT)} is stale (packaging/abi.py LIBRARY writes it):", *difference, sep="\n  ")
            bad += 1
        names = [name[:-4] for name in os.listdir(FOLDER) if name.endswith(".txt")]
        files = [os.path.join(FOLDER, f"{name}.txt") for name in sorted(names, key=version) if version(name) < version(current)]
    for path in files:
        for line in sorted(lost(read(path), lines)):
            print(f"lost since {os.path.basename(path)[:-4]}: {line}")
            bad += 1
    print(f"{len(lines)} lines; compared with {', '.join(os.path.basename(path)[:-4] for path in files) or 'no earlier release, as there is none'}")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
