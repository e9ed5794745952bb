"""The table of habits in docs/compatibility.md: what a run says of each row, and whether the page still agrees."""

import page

MARK = "habits"
PASSES, NOT_RUN = "all", "–"
TITLES = {"consumer": "program", "habit": "habit alone"}
# Rows that do not always end well on our library although a run may say so; docs/architecture.md has the reason ("Where it
# does not hold").
SOMETIMES = {"send_packet blocks: pipe, MTU 65520": "all, but for 2 of 16 runs on a busy machine: an echo stands still"}
# Characters of what went wrong in one load.
LONGEST = 90


def verdict(loads, violations, remarks):
    """What went wrong in a row, in a few words; "" when nothing did."""
    causes = {}
    for name, text in loads.items():
        if text and text != "not tried":
            causes.setdefault(short(text), []).append(name)
    wrong = [f"{', '.join(names)}: {cause}" for cause, names in causes.items()]
    if any(text == "not tried" for text in loads.values()):
        wrong.append("the rest not tried")
    return "; ".join([*wrong, *violations, *remarks])


def short(text):
    """The first line, and no more of it than a table bears."""
    line = text.strip().split("\n")[0]
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"


def cell(text, row, column):
    if not text and column.startswith("ours"):
        return SOMETIMES.get(row, PASSES)
    return text.replace("|", "/") or PASSES


def render(rows, columns, results):
    """Markdown: programs, then habits."""
    lines = []
    for kind, title in TITLES.items():
        lines += [f"| {title} | | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 2)]
        lines += [f"| {row.name} | {row.text} | " + " | ".join(cell(results.get((row.name, one), NOT_RUN), row.name, one) for one in columns) + " |"
                  for row in rows if row.kind == kind]
        lines.append("")
    return "\n".join(lines)


def write(path, rows, columns, results):
    page.replace(path, MARK, page.conditions() + ".\n\n" + render(rows, columns, results))


def read(path):
    """What the page says: row → column → cell."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = text.partition(f"<!-- {MARK}:")[2].partition(f"<!-- end of {MARK} -->")[0]
    said, heads = {}, []
    for line in text.splitlines():
        cells = [one.strip() for one in line.split("|")[1:-1]]
        if len(cells) < 3 or set(cells[0]) <= {"-"}:
            continue
        if cells[0] in TITLES.values():
            heads = cells[2:]
        else:
            said[cells[0]] = dict(zip(heads, cells[2:]))
    return said


def complaints(said, rows):
    """Rows that the page lacks, or has without the program."""
    names = [row.name for row in rows]
    yield from (f"the page has no row \"{name}\"" for name in names if name not in said)
    yield from (f"the page has a row \"{name}\" that the program has not" for name in said if name not in names)
