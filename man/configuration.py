"""oxislirp.toml(5), put together from the pages of docs/ that describe the file of OXISLIRP_CONFIG.

The pages are Markdown, of which what they use is understood: paragraphs, tables, code, links, emphasis.
"""

import os
import re
import textwrap

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")

REFERENCE = "config-reference.md"
# The page's sections: a title, the page of docs/ and its sections in their order. The first one, None, is what stands before all of them. Behind each stand the keys
# of its tables, from docs/config-reference.md.
PARTS = [
    ("[network]", "config.md", ["`[network]`"]),
    ("[policy]", "policy.md", ["Rules", "Names", "Names in the first bytes of a connection", "Elsewhere", "Services", "Presets", "What it does not do"]),
    ("[dns]", "dns.md", [None]),
    ("[limits]", "limits.md", [None, "What becomes of the rest", "What is not counted"]),
    ("[control]", "control.md", [None]),
    ("[capture] and [log]", "capture.md", [None, "The capture", "The log", "What it costs, and what it cannot do"]),
    ("Values", REFERENCE, ["Values"]),
    ("Editors", REFERENCE, ["Editors"]),
]
# What a link to a page becomes, where its text is the page's name.
PAGES = {"policy.md": "[policy]", "dns.md": "[dns]", "limits.md": "[limits]", "control.md": "[control]", "capture.md": "[capture]",
         "config-reference.md": "the keys"}

HEAD = r""".\" Written by man/generate.py from docs/; do not edit.
.Dd {date}
.Dt OXISLIRP.TOML 5
.Os
.Sh NAME
.Nm oxislirp.toml
.Nd what a guest's network may do, under programs that have no options for it
.Sh SYNOPSIS
.Ev OXISLIRP_CONFIG Ns = Ns Pa oxislirp.toml
.Ar program ...
.Nm oxislirp
.Cm run Fl \-config Pa oxislirp.toml Ar program ...
.Nm oxislirp
.Cm check Pa oxislirp.toml
.Sh DESCRIPTION
"""

TAIL = r""".Sh EXAMPLES
{example}
.Sh SEE ALSO
.Xr oxislirp 1 ,
.Xr oxislirp-check 1 ,
.Xr oxislirp-ctl 1 ,
.Xr oxislirp-run 1 ,
.Xr hosts 5 ,
.Xr oxislirp 7
"""


def sections(page):
    """The text of each section of a page by its title; what stands before the first one has None."""
    with open(os.path.join(DOCS, page), encoding="utf-8") as file:
        text = file.read()
    found = {}
    title = None
    code = False
    for line in text.split("\n")[1:]:
        code ^= line.startswith("```")
        heading = None if code else re.match(r"#+ (.*)", line)
        if heading:
            title = heading.group(1)
        else:
            found.setdefault(title, []).append(line)
    return {title: "\n".join(lines).strip() for title, lines in found.items()}


def literal(text):
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.M)


def inline(text):
    """Emphasis, code and links in one run of text."""
    out = []
    for code, words, link, strong, soft, plain in re.findall(
            r"`([^`]+)`|\[((?:[^][`]|`[^`]*`)+)\]\(([^)]*)\)|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|((?:[^`*\[]|\[(?!(?:[^][`]|`[^`]*`)+\]\()|\*(?=\s|$))+)", text):
        if code:
            out.append(f"\\fB{code.replace(chr(92), chr(92) + 'e').replace('-', chr(92) + '-')}\\fR")
        elif words:
            out.append(inline(PAGES.get(words, words)))
        elif strong or soft:
            out.append(f"\\fI{inline(strong or soft)}\\fR")
        else:
            out.append(plain.replace("\\", "\\e"))
    return "".join(out)


def filled(text):
    """A paragraph, a sentence a line where that can be seen."""
    lines = []
    for sentence in re.split(r"(?<=[.:?!])\s+(?=[A-Z`*\[])", " ".join(text.split())):
        wrapped = textwrap.wrap(inline(sentence), 100, break_long_words=False, break_on_hyphens=False)
        lines += [re.sub(r"^(?=[.'])", r"\\&", line) for line in wrapped]
    return lines


def table(lines):
    """A table as a list: its first column is the tag, its second the text, its third what holds without it."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]
    head, rows = rows[0], rows[2:]
    # Where there are several kinds of fields, the first column says of which these are.
    out = [".Pp", f"{inline(head[0].capitalize())}:"] if " " in head[0] else []
    out.append(".Bl -tag -width Ds")
    for row in rows:
        # A quote would begin an argument of the macro.
        tag = inline(row[0]).replace('"', "\\(dq")
        out += [f".It {tag}", *filled(row[1])]
        for title, cell in zip(head[2:], row[2:]):
            # Who looks a word up here has no use for the name of the page it is from.
            if title != "described in" and cell:
                out += [".br", *filled(f"{title[:1].upper()}{title[1:]}: {cell}")]
    return [*out, ".El"]


def divided(text):
    """The blocks of a text: code with its fences or its indent, tables, lists, paragraphs."""
    block, code = [], False
    for line in [*text.split("\n"), ""]:
        if line.startswith("```"):
            code = not code
        elif not line.strip() and not code and block:
            yield block
            block = []
            continue
        if line.strip() or code:
            block.append(line)


def blocks(text):
    """Markdown as mdoc."""
    out = []
    for lines in divided(text):
        first = lines[0]
        if first.startswith("```") or first.startswith("    "):
            body = "\n".join(lines[1:-1] if first.startswith("```") else lines)
            out += [".Bd -literal -offset indent", literal(textwrap.dedent(body)), ".Ed"]
        elif first.startswith("|"):
            out += table(lines)
        elif first.startswith("* "):
            items = re.split(r"^\* ", "\n".join(lines), flags=re.M)[1:]
            out += [".Bl -bullet", *(line for item in items for line in (".It", *filled(item))), ".El"]
        else:
            out += [".Pp", *filled("\n".join(lines))]
    return out


def keys(title):
    """The keys of the tables that a section is about."""
    out = []
    for names, text in sections(REFERENCE).items():
        tables = re.findall(r"`\[+(\w+)[^`]*\]+`", names or "")
        if tables and f"[{tables[0]}]" in title:
            out += [f".Ss Keys of {names.replace('`', '')}", *blocks(text)]
    return out


def configuration(date):
    """The page."""
    head = sections("config.md")
    out = [HEAD.format(date=date).rstrip(), *blocks(head[None])[1:]]
    for title, page, names in PARTS:
        found = sections(page)
        out.append(f".Sh {title}")
        for name in names:
            if name not in (None, title) and not name.startswith("`"):
                out.append(f".Ss {name}")
            body = blocks(found[name])
            out += body[1:] if body[0] == ".Pp" else body
        out += keys(title)
    example = "\n".join(blocks(sections("policy.md")["A sandbox in ten lines"]))
    return "\n".join(out) + "\n" + TAIL.format(example=example.removeprefix(".Pp\n"))
