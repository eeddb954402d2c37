"""Plots as SVG in the page: made here, without script; the numbers stand beside them in a table.

SVG 2; WCAG 2.2 AA 1.1.1 (a plot has a name), 1.4.11 (contrast).
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from smart_apps.admin import markup
from smart_apps.admin.markup import Markup, joined

WIDTH: Final = 900
HEIGHT: Final = 240
LEFT: Final = 60
BELOW: Final = 30
ABOVE: Final = 16
MOST_LABELS: Final = 8

ROW: Final = 22
GAP: Final = 14
NAMES: Final = 260
ENDS: Final = 180
"""Room for the names at the left, and for what a bar says at the right."""
MOST_LETTERS: Final = 36


def bars(title: str, values: Sequence[tuple[str, int]]) -> Markup:
    """Draw one bar for each value, in order: what it is called and how much it is."""
    if not values:
        return markup.element("p", f"{title}: nothing.")
    top = max(1, *(number for _, number in values))
    room, high = WIDTH - LEFT, HEIGHT - BELOW - ABOVE
    step = room / len(values)
    every = -(-len(values) // MOST_LABELS)
    drawn: list[str] = []
    for n, (label, number) in enumerate(values):
        tall = high * number / top
        x, y = LEFT + n * step, ABOVE + high - tall
        name = f"<title>{escape(label)}: {number}</title>"
        drawn.append(
            f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}"'
            f' height="{tall:.1f}">{name}</rect>'
        )
        if n % every == 0:
            drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}">{escape(label)}</text>')
    axis = (
        f'<line x1="{LEFT}" y1="{ABOVE + high}" x2="{WIDTH}" y2="{ABOVE + high}"/>'
        f'<text x="0" y="{ABOVE + 4}">{top:,}</text><text x="0" y="{ABOVE + high}">0</text>'
    )
    svg = Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{axis}{''.join(drawn)}</svg>"
    )
    return _figure(title, svg)


class Bar(NamedTuple):
    """One bar of a group: how long it is, and what it says in words."""

    length: float
    says: str


def groups(title: str, values: Sequence[tuple[str, Sequence[Bar]]]) -> Markup:
    """Draw groups of lying bars; the first of a group is dark, and each says what it is."""
    if not any(bar.length for _, group in values for bar in group):
        return markup.element("p", f"{title}: nothing.")
    top = max(bar.length for _, group in values for bar in group)
    room = WIDTH - NAMES - ENDS
    drawn: list[str] = []
    y = ABOVE
    for name, group in values:
        short = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
        drawn.append(
            f'<text x="0" y="{y + 15}"><title>{escape(name)}</title>{escape(short)}</text>'
        )
        for n, bar in enumerate(group):
            long = room * bar.length / top
            kind = "" if n == 0 else ' class="second"'
            drawn.append(
                f'<rect{kind} x="{NAMES}" y="{y}" width="{long:.1f}" height="{ROW - 4}"/>'
                f'<text x="{NAMES + long + 6:.1f}" y="{y + 14}">{escape(bar.says)}</text>'
            )
            y += ROW
        y += GAP
    axis = f'<line x1="{NAMES}" y1="{ABOVE / 2:g}" x2="{NAMES}" y2="{y - GAP}"/>'
    svg = Markup(
        f'<svg class="tall" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{escape(title)}">'
        f"{axis}{''.join(drawn)}</svg>"
    )
    return _figure(title, svg)


def _figure(title: str, svg: Markup) -> Markup:
    wide = markup.element("div", svg, class_="wide", tabindex="0", role="region", aria_label=title)
    return markup.element("figure", joined(markup.element("figcaption", title), wide))
