"""The table of habits in docs/compatibility.md: what a run says of each row, and whether the page still agrees."""

import re

import page

MARK = "habits"
PASSES, NOT_RUN = "all", "–"


def verdict(loads, violations, remarks):
    """What went wrong in a row, in a few words; "" when nothing did."""
    wrong = [f"{name}: {text}" for name, text in loads.items() if text and text != "not tried"]
    untried = sum(text == "not tried" for text in loads.values())
    if untried:
        wrong.append(f"{untried} loads not tried")
    return "; ".join([*wrong, *violations, *remarks])


def cell(text):
    """A verdict in a cell of the table. Figures that differ from run to run are left out."""
    return re.sub(r"\s+", " ", text).replace("|", "/") or PASSES


def render(rows, columns, results):
    """Markdown: programs, then habits."""
    lines = []
    for kind, title in (("consumer", "program"), ("habit", "habit alone")):
        lines += [f"| {title} | | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 2)]
        lines += [f"| {row.name} | {row.text} | " + " | ".join(cell(results.get((row.name, one), NOT_RUN)) for one in columns) + " |"
                  for row in rows if row.kind == kind]
        lines.append("")
    return "\n".join(lines)


def write(path, rows, columns, results):
    page.replace(path, MARK, page.conditions() + ".\n\n" + render(rows, columns, results))


def complaints(path, rows, columns, results):
    """Where the page does not say what is so: rows that it lacks, and rows of ours that it says pass and do not."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = text.partition(f"<!-- {MARK}:")[2].partition(f"<!-- end of {MARK} -->")[0]
    written, heads = {}, []
    for line in text.splitlines():
        cells = [one.strip() for one in line.split("|")[1:-1]]
        if len(cells) < 3 or set(cells[0]) <= {"-"}:
            continue
        if cells[1] == "" and cells[0] in ("program", "habit alone"):
            heads = cells[2:]
        else:
            written[cells[0]] = dict(zip(heads, cells[2:]))
    names = [row.name for row in rows]
    yield from (f"the page has no row \"{name}\"" for name in names if name not in written)
    yield from (f"the page has a row \"{name}\" that the program has not" for name in written if name not in names)
    for (name, column), now in results.items():
        said = written.get(name, {}).get(column)
        if said is not None and (said == PASSES) != (now == ""):
            yield f"\"{name}\", {column}: the page says \"{said}\", the run \"{cell(now)}\""
