"""SVG pictures, put together from lines, boxes and words, as all plots of the documentation are."""

import html
import math

OURS, UPSTREAM = "#2f81f7", "#c9822b"
# Between black and white, so that it can be read on light and on dark ground.
INK, GRID = "#7d8590", "#7d859055"
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\""


class Drawing:
    """An SVG picture that is put together from lines, boxes and words."""

    def __init__(self, width, height, title, about):
        self.size = (width, height)
        self.parts = [f"<title>{html.escape(title)}</title>", f"<desc>{html.escape(about)}</desc>"]

    def line(self, x1, y1, x2, y2, colour=GRID, width=1):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                          f'stroke="{colour}" stroke-width="{width}"/>')

    def box(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
                          f'rx="1.5" fill="{colour}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def path(self, points, colour):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def words(self, x, y, text, anchor="start", size=12, colour=INK, weight="normal", turn=None):
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
                          f'font-weight="{weight}"{turned}>{html.escape(text)}</text>')

    def legend(self, x, y, entries):
        """A square and a word for each colour and text."""
        for colour, text in entries:
            self.box(x, y - 9, 11, 11, colour)
            self.words(x + 16, y, text)
            x += 90

    def save(self, path):
        width, height = self.size
        body = "\n".join(self.parts)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                       f'height="{height}" role="img" {FONT}>\n{body}\n</svg>\n')


def steps(most):
    """Round values from 0 to at least `most`, about five of them."""
    rough = most / 5 or 1
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    return [round(step * n, 9) for n in range(math.ceil(most / step - 1e-9) + 1)]
