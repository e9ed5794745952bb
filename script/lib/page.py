"""Puts tables into a page of the documentation, between two marks that stand there already."""

import datetime
import os


def conditions():
    """Day and machine, for the line above a table."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y-%m-%d}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


def replace(path, name, text):
    """Replace what stands between `<!-- NAME: ... -->` and `<!-- end of NAME -->` in the file."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    head, begin, rest = page.partition(f"<!-- {name}:")
    how, arrow, rest = rest.partition("-->")
    _, end, tail = rest.partition(f"<!-- end of {name} -->")
    if not begin or not arrow or not end:
        raise SystemExit(f"{path} has no place between the marks '<!-- {name}: ... -->' and '<!-- end of {name} -->'")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{head}{begin}{how}{arrow}\n\n{text.strip()}\n\n{end}{tail}")
