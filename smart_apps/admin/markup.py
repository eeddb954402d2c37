"""HTML as values: what is text is escaped, what is `Markup` is not.

WCAG 2.2 AA: every field has a label, every table a caption and headings, every plot its numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

PAGE: Final = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
STYLE: Final = (Path(__file__).parent / "style.css").read_bytes()


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


NOTHING: Final = Markup()


def shown(value: object) -> Markup:
    """Escape what is not markup.

    Examples
    --------
    >>> shown("<b>"), shown(Markup("<b>")), shown(5)
    ('&lt;b&gt;', '<b>', '5')
    """
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def joined(*parts: object) -> Markup:
    """Put parts after one another."""
    return Markup("".join(shown(part) for part in parts))


def element(tag: str, inside: object = "", /, **attributes: object) -> Markup:
    """Write an element; an attribute that is True stands alone, one that is None or False is not.

    Examples
    --------
    >>> element("a", "1 < 2", href="/x?a=1&b=2", class_="c")
    '<a href="/x?a=1&amp;b=2" class="c">1 &lt; 2</a>'
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{written}>{shown(inside)}</{tag}>")


def link(address: str, words: object) -> Markup:
    """Write a link to another page of ours."""
    return element("a", words, href=address)


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Write a table whose first column names the rows; it scrolls by itself where it is wide."""
    rows = list(rows)
    numbers = [all(isinstance(row[n], int) for row in rows) for n in range(len(headings))]
    head = joined(
        *(
            element("th", each, scope="col", class_="number" if is_number else None)
            for each, is_number in zip(headings, numbers, strict=True)
        )
    )
    body = [
        element(
            "tr",
            joined(
                *(
                    element("th", cell, scope="row")
                    if n == 0
                    else element("td", cell, class_="number" if isinstance(cell, int) else None)
                    for n, cell in enumerate(row)
                )
            ),
        )
        for row in rows
    ]
    if not body:
        return element("p", f"{caption}: nothing.")
    whole = element(
        "table",
        joined(
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", joined(*body)),
        ),
    )
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def field(
    label: str, name: str, value: str = "", *, kind: str = "text", hint: str = "", **more: object
) -> Markup:
    """Write an input with its label, and what is to be known before it is filled in."""
    told = element("p", hint, class_="hint", id=f"{name}-hint") if hint else NOTHING
    described = f"{name}-hint" if hint else None
    attributes: dict[str, object] = {"type": kind, "id": name, "name": name, "value": value}
    written = element("input", **attributes, aria_describedby=described, **more)
    box = Markup(written.removesuffix("</input>"))
    return joined(element("label", label, for_=name), told, box)


def area(label: str, name: str, value: str = "", *, hint: str = "", **more: object) -> Markup:
    """Write a field of several lines."""
    told = element("p", hint, class_="hint", id=f"{name}-hint") if hint else NOTHING
    described = f"{name}-hint" if hint else None
    written = element(
        "textarea", value, id=name, name=name, rows="4", aria_describedby=described, **more
    )
    return joined(element("label", label, for_=name), told, written)


def choice(label: str, name: str, options: Mapping[str, str], chosen: str = "") -> Markup:
    """Write a field whose values are given: value and words."""
    listed = joined(
        *(
            element("option", words, value=value, selected=value == chosen)
            for value, words in options.items()
        )
    )
    return joined(element("label", label, for_=name), element("select", listed, id=name, name=name))


def button(
    words: object, name: str | None = None, value: str | None = None, **more: object
) -> Markup:
    """Write a button that sends its form."""
    return element("button", words, name=name, value=value, **more)


def hidden(fields: Mapping[str, str]) -> Markup:
    """Write fields that are sent and not seen."""
    return Markup(
        "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in fields.items()
        )
    )


def form(address: str, token: str, *inside: object) -> Markup:
    """Write a form that posts, tied to its browser by a token."""
    return element("form", joined(hidden({"token": token}), *inside), method="post", action=address)


def page(title: str, body: Markup, *, menu: Markup = NOTHING, problem: str = "") -> bytes:
    """Give a whole page."""
    told = (
        element("div", element("p", problem), class_="problem", role="alert")
        if problem
        else NOTHING
    )
    return PAGE.substitute(title=escape(title), menu=menu, body=joined(told, body)).encode()
