"""Puts tables into a page of the documentation, between two marks that stand there already."""

import datetime
import os


def conditions():
    """Day and machine, for the line above a table."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y-%m-%d}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


def parts(path, name):
    """What is before the marks `<!-- NAME: ... -->` and `<!-- end of NAME -->`, with the first; what is between them; the last and what is behind it."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    head, begin, rest = page.partition(f"<!-- {name}:")
    how, arrow, rest = rest.partition("-->")
    between, end, tail = rest.partition(f"<!-- end of {name} -->")
    if not begin or not arrow or not end:
        raise SystemExit(f"{path} has no place between the marks '<!-- {name}: ... -->' and '<!-- end of {name} -->'")
    return head + begin + how + arrow, between, end + tail


def replaced(path, name, text):
    """The page with `text` between the marks."""
    head, _, tail = parts(path, name)
    return f"{head}\n\n{text.strip()}\n\n{tail}"


def replace(path, name, text):
    """Replace what stands between the marks in the file."""
    page = replaced(path, name, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
