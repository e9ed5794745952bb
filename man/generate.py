#!/usr/bin/env python3
"""Writes man/slirp.3 from the headers of include/slirp/, which cbindgen makes from the doc comments of src/, and man/oxislirp.toml.5 from
the pages of docs/ that describe the file.

generate.py            write them
generate.py --check    exit with 1 if one is stale
"""

import os
import re
import sys
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from configuration import configuration  # noqa: E402  (the path has to be set first)

HEADERS = os.path.join(os.path.dirname(HERE), "include", "slirp")
HEADER = os.path.join(HEADERS, "libslirp.h")
OWN_HEADER = os.path.join(HEADERS, "oxislirp.h")

# Every function is in one of these groups; one that is in none, or in two, is an error.
GROUPS = [
    ("Instances", ["slirp_new", "slirp_init", "slirp_cleanup", "slirp_version_string"]),
    ("Frames and waiting", ["slirp_input", "slirp_pollfds_fill", "slirp_pollfds_fill_socket", "slirp_pollfds_poll",
                            "slirp_handle_timer"]),
    ("Forwards from the host to the guest", ["slirp_add_hostxfwd", "slirp_remove_hostxfwd", "slirp_add_hostfwd",
                                             "slirp_remove_hostfwd"]),
    ("Forwards from the guest to the host", ["slirp_add_guestfwd", "slirp_add_unix", "slirp_add_exec", "slirp_remove_guestfwd",
                                             "slirp_socket_can_recv", "slirp_socket_recv"]),
    ("Saved state", ["slirp_state_save", "slirp_state_load", "slirp_state_version"]),
    ("Information", ["slirp_connection_info", "slirp_neighbor_info", "slirp_set_debug", "slirp_reset_debug"]),
]
# Of oxislirp.h.
OWN = ("What libslirp does not have", ["oxislirp_counters"])
# On Windows only.
LEFT_OUT = {"slirp_inet_aton"}

HEAD = r""".\" Written by man/generate.py from include/slirp/; do not edit.
.Dd $Mdocdate$
.Dt SLIRP 3
.Os
.Sh NAME
.Nm slirp
.Nd user-mode network stack for virtual machines and containers
.Sh SYNOPSIS
.In slirp/libslirp.h
.In slirp/oxislirp.h
.Pp
.Li "cc program.c $(pkg-config --cflags --libs slirp)"
.Sh DESCRIPTION
An application hands the Ethernet frames of a guest to the library and gets
frames for it; the library is the guest's router, DHCP, DNS and TFTP server, and
carries its connections to the network of the host with ordinary sockets.
No privilege is needed.
.Pp
The application has a loop.
In each round it calls
.Fn slirp_pollfds_fill_socket ,
which names the descriptors to wait for and lowers the time-out, waits for
them, and calls
.Fn slirp_pollfds_poll .
Frames of the guest go to
.Fn slirp_input
whenever they come; frames for it come through the callback
.Va send_packet .
An instance is used by one thread at a time.
Addresses are in network byte order, ports in host byte order.
"""

TAIL = r""".Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev SLIRP_DEBUG
Messages on standard error: a list of
.Cm call ,
.Cm misc ,
.Cm error ,
.Cm tftp ,
.Cm verbose_call ,
or
.Cm all ;
.Cm help
lists them.
.El
.Pp
.Xr oxislirp 7
has those that are this library's own.
.Sh SEE ALSO
.Xr oxislirp.toml 5 ,
.Xr oxislirp 7
"""


def escaped(text):
    """Text for mdoc: no line begins with a control character, and backslashes are shown."""
    text = text.replace("\\", "\\e")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


def prose(text):
    """A comment as mdoc, a sentence a line. Words in backquotes become references."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.:?!])\s+(?=[A-Z`*])", words):
            pieces = re.split(r"(`[^`]+`)", sentence)
            line = []
            for piece in pieces:
                if piece.startswith("`"):
                    line.append(f"\\fB{escaped(piece[1:-1])}\\fR")
                else:
                    line.append(escaped(piece))
            filled = textwrap.wrap("".join(line), 78, break_long_words=False, break_on_hyphens=False)
            out += [re.sub(r"^(?=[.'])", r"\\&", one) for one in filled]
        out.append(".Pp")
    return out[:-1]


def comments(source):
    """The pairs of documented declaration and comment."""
    for match in re.finditer(r"/\*\*\n(.*?)\*/\n(.*?;)$", source, re.M | re.S):
        text = "\n".join(re.sub(r"^\s*\*? ?", "", line) for line in match.group(1).split("\n"))
        yield text, match.group(2)


def functions(source):
    found = {}
    for text, declaration in comments(source):
        match = re.match(r"(?:SLIRP_\w+ )+(.*?)\b((?:ox)?islirp_\w+|slirp_\w+)\((.*)\)(?: SLIRP_DEPRECATED)?;", " ".join(declaration.split()))
        if match:
            result, name, arguments = match.groups()
            found[name] = (result.strip().replace("struct Slirp", "Slirp"), split(arguments), text)
    return found


def split(arguments):
    """The arguments, divided at the commas that are not inside a function type."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip().replace("struct Slirp ", "Slirp ").replace("struct SlirpC", "SlirpC").replace("struct Oxi", "Oxi") for part in parts]


def structure(source, name):
    """The comment of a structure and its members with theirs."""
    match = re.search(rf"/\*\*\n((?:(?!\*/).)*?)\*/\ntypedef (?:struct|enum) {name} \{{\n(.*?)\n\}} {name};", source, re.M | re.S)
    if not match:
        raise SystemExit(f"the headers have no {name}")
    head = "\n".join(re.sub(r"^\s*\*? ?", "", line) for line in match.group(1).split("\n"))
    members = []
    for member in re.finditer(r"/\*\*\n(.*?)\*/\n(.*?[;,])\n", match.group(2) + "\n", re.S):
        text = "\n".join(re.sub(r"^\s*\*? ?", "", line) for line in member.group(1).split("\n"))
        members.append((" ".join(member.group(2).split()).rstrip(",;"), text))
    return head, members


def listed(members):
    out = [".Bl -tag -width Ds"]
    for declaration, text in members:
        out += [f".It Li \"{escaped(declaration)}\"", *prose(text)]
    return [*out, ".El"]


def groups(source, own):
    """The functions by their groups; one that is in none, or in two, is an error."""
    found = functions(source)
    placed = [name for _, names in GROUPS for name in names]
    if sorted(placed) != sorted(set(found) - LEFT_OUT):
        raise SystemExit(f"man/generate.py: the groups do not fit the header: {set(placed) ^ (set(found) - LEFT_OUT)}")
    if sorted(OWN[1]) != sorted(functions(own)):
        raise SystemExit(f"man/generate.py: the groups do not fit oxislirp.h: {set(OWN[1]) ^ set(functions(own))}")
    found.update(functions(own))
    for title, names in [*GROUPS, OWN]:
        yield f".Ss {title}"
        for number, name in enumerate(names):
            result, arguments, text = found[name]
            yield from [".Pp"] if number else []
            yield from [f".Ft \"{result}\"", f".Fo {name}", *(f".Fa \"{argument}\"" for argument in arguments), ".Fc", ".Pp"]
            yield from prose(text)


def library():
    """slirp(3)."""
    with open(HEADER, encoding="utf-8") as file:
        source = file.read()
    with open(OWN_HEADER, encoding="utf-8") as file:
        own = file.read()
    out = [HEAD.rstrip(), *groups(source, own)]
    structures = (("Configuration", source, "SlirpConfig"), ("Callbacks", source, "SlirpCb"), ("Events", source, "SlirpPoll"),
                  ("Counters", own, "OxislirpCounters"), ("Counters of one kind of flow", own, "OxislirpFlowCounters"))
    for title, header, name in structures:
        head, members = structure(header, name)
        out += [f".Ss {title}", f".Vt {name}", ".Pp", *prose(head), *listed(members)]
    text = "\n".join(out) + "\n" + TAIL
    return text.replace(".Dd $Mdocdate$", f".Dd {date()}")


def date():
    """The date of the pages, which is that of oxislirp(7): it is written there by hand."""
    with open(os.path.join(HERE, "oxislirp.7"), encoding="utf-8") as file:
        return re.search(r"^\.Dd (.*)$", file.read(), re.M).group(1)


def main():
    stale = []
    for name, text in (("slirp.3", library()), ("oxislirp.toml.5", configuration(date()))):
        target = os.path.join(HERE, name)
        if sys.argv[1:] != ["--check"]:
            with open(target, "w", encoding="utf-8") as file:
                file.write(text)
        elif not os.path.exists(target) or open(target, encoding="utf-8").read() != text:
            stale.append(f"man/{name}")
    raise SystemExit(f"stale: {' '.join(stale)}: man/generate.py writes them" if stale else 0)


if __name__ == "__main__":
    main()
