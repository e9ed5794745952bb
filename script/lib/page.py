"""Puts tables into a page of the documentation, between two marks that stand there already."""

import datetime
import os


def conditions():
    """Day and machine, for the line above a table."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y-%m-%d}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


def replaced(path, name, text):
    """The page with `text` between `<!-- NAME: ... -->` and `<!-- end of NAME -->`."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    head, begin, rest = page.partition(f"<!-- {name}:")
    how, arrow, rest = rest.partition("-->")
    _, end, tail = rest.partition(f"<!-- end of {name} -->")
    if not begin or not arrow or not end:
        raise SystemExit(f"{path} has no place between the marks '<!-- {name}: ... -->' and '<!-- end of {name} -->'")
    return f"{head}{begin}{how}{arrow}\n\n{text.strip()}\n\n{end}{tail}"


def replace(path, name, text):
    """Replace what stands between the marks in the file."""
    page = replaced(path, name, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
