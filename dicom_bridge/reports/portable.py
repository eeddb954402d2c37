"""A report as a PDF: pages of text that every reader shows, and whose words can be taken out again.

The text is set in Helvetica, one of the fonts that every reader brings (ISO 32000-1, 9.6.2.2), so
no font is embedded. It has the letters of Windows-1252. A line with other letters is shown with
the nearest of these, or with a question mark, says in /ActualText what it really is (so it is
searched, copied and read aloud rightly), and a note at the end says so; the structured report
beside has every letter. No library in our lock writes PDF text with free fonts.

References
----------
* ISO 32000-1 (PDF 1.4 subset): 7.5 (file structure), 9.6.2.2, 14.9.4 (replacement text)
"""

import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

WIDTH, HEIGHT, MARGIN = 595, 842, 56
"""A4, in points."""

# Widths of Helvetica, characters 32 to 126, in thousandths (Adobe Core 14 font metrics).
WIDTHS: Final = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
# The same of Helvetica-Bold.
BOLD_WIDTHS: Final = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
)  # fmt: skip
# Letters and signs of Windows-1252 that are no letter of ASCII with a mark.
OTHER_WIDTHS: Final = {
    "·": 278, "°": 400, "±": 584, "²": 333, "³": 333, "¹": 333, "µ": 556, "½": 834, "¼": 834,
    "¾": 834, "×": 584, "÷": 584, "ß": 611, "æ": 889, "Æ": 1000, "ø": 611, "Ø": 778, "ð": 556,
    "Ð": 722, "þ": 556, "Þ": 667, "£": 556, "€": 556, "§": 556, "–": 556, "—": 1000, "‘": 222,
    "’": 222, "“": 333, "”": 333, "•": 350, "…": 1000, "«": 556, "»": 556, "¿": 611, "¡": 333,
}  # fmt: skip
WIDEST: Final = 1015
STROKES: Final = str.maketrans("ĐđĦħİıŁłŊŋŦŧ", "DdHhIiLlNnTt")
"""Letters of Latin alphabets that Unicode does not take apart."""
NOTE: Final = (
    "Some letters cannot be shown in this document; the structured report of this study has them."
)


class Line(NamedTuple):
    """A paragraph: its text, its size in points, and whether it is bold."""

    text: str
    size: int = 10
    bold: bool = False


def written(title: str, lines: Iterable[Line], footer: str) -> bytes:
    """Write a PDF; the same input gives the same bytes.

    Parameters
    ----------
    footer
        Stands on every page, before the number of the page.
    """
    given = list(lines)
    if any(shown(text) is None for text in (title, footer, *(one.text for one in given))):
        given.append(Line(NOTE, 8))
    pages = _pages([piece for line in given for piece in _wrapped(line)])
    contents = [
        _content(page, f"{footer} · Page {number} of {len(pages)}")
        for number, page in enumerate(pages, start=1)
    ]
    kids = " ".join(f"{5 + 2 * at} 0 R" for at in range(len(pages)))
    fonts = [_font("Helvetica", bold=False), _font("Helvetica-Bold", bold=True)]
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/Lang(en-GB)/ViewerPreferences<</DisplayDocTitle true>>>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
        *fonts,
    ]
    for at, content in enumerate(contents):
        page = (
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH} {HEIGHT}]/Contents {6 + 2 * at} 0 R"
            "/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>"
        )
        packed = zlib.compress(content)
        head = f"<</Length {len(packed)}/Filter/FlateDecode>>stream\n".encode()
        objects += [page.encode(), head + packed + b"\nendstream"]
    objects.append(b"<</Title " + _utf16(title) + b"/Producer(Isocentre)>>")
    return _file(objects)


def shown(text: str) -> bytes | None:
    r"""Encode text in Windows-1252; None if it has other letters.

    Examples
    --------
    >>> shown("naïve"), shown("Ωmega")
    (b'na\xefve', None)
    """
    try:
        return text.encode("cp1252")
    except UnicodeEncodeError:
        return None


def nearest(text: str) -> bytes:
    r"""Encode text in Windows-1252 with the nearest letters.

    Examples
    --------
    >>> nearest("Łukasz Dvořák"), nearest("Ω")
    (b'Lukasz Dvor\xe1k', b'?')
    """
    return b"".join(_letter(letter) for letter in text)


def _letter(letter: str) -> bytes:
    if (known := shown(letter)) is not None:
        return known
    base = unicodedata.normalize("NFKD", letter.translate(STROKES))
    plain = "".join(one for one in base if not unicodedata.combining(one))
    return shown(plain) or (b"" if unicodedata.combining(letter) else b"?")


def _wrapped(line: Line) -> list[Line]:
    """Break a paragraph into lines that fit."""
    most = (WIDTH - 2 * MARGIN) * 1000 / line.size
    pieces: list[str] = []
    current = ""
    for word in line.text.split():
        for part in _parts(word, most, line.bold):
            candidate = f"{current} {part}".strip()
            if current and _width(candidate, line.bold) > most:
                pieces.append(current)
                candidate = part
            current = candidate
    return [line._replace(text=piece) for piece in [*pieces, current]]


def _parts(word: str, most: float, bold: bool) -> list[str]:
    """Cut a word that is longer than a line."""
    count = max(1, int(most // WIDEST))
    if _width(word, bold) <= most:
        return [word]
    return [word[at : at + count] for at in range(0, len(word), count)]


def _width(text: str, bold: bool) -> int:
    return sum(_width_of(letter, bold) for letter in nearest(text).decode("cp1252", "replace"))


def _width_of(letter: str, bold: bool) -> int:
    if letter in OTHER_WIDTHS:
        return OTHER_WIDTHS[letter]
    base = ord(unicodedata.normalize("NFKD", letter)[0])
    return (BOLD_WIDTHS if bold else WIDTHS)[base - 32] if 32 <= base < 127 else WIDEST


def _font(name: str, *, bold: bool) -> bytes:
    """A font with its widths: a reader that shows another in its place keeps to the lines."""
    letters = bytes(range(32, 256)).decode("cp1252", "replace")
    widths = " ".join(str(_width_of(letter, bold)) for letter in letters)
    return (
        f"<</Type/Font/Subtype/Type1/BaseFont/{name}/Encoding/WinAnsiEncoding"
        f"/FirstChar 32/LastChar 255/Widths[{widths}]>>"
    ).encode()


def _pages(lines: Sequence[Line]) -> list[list[tuple[int, Line]]]:
    """Put lines on pages, each with its height above the bottom of the page."""
    pages: list[list[tuple[int, Line]]] = [[]]
    at = HEIGHT - MARGIN
    for line in lines:
        step = line.size + 4 + (6 if line.bold else 0)
        if at - step < MARGIN + 20:
            pages.append([])
            at = HEIGHT - MARGIN
        at -= step
        pages[-1].append((at, line))
    return pages


def _content(page: Sequence[tuple[int, Line]], footer: str) -> bytes:
    return b"\n".join(_shown_at(at, line) for at, line in [*page, (MARGIN - 16, Line(footer, 8))])


def _shown_at(at: int, line: Line) -> bytes:
    font = "F2" if line.bold else "F1"
    text = nearest(line.text)
    for mark in (b"\\", b"(", b")"):
        text = text.replace(mark, b"\\" + mark)
    text = bytes(octet for octet in text if octet >= 32)
    drawn = f"BT /{font} {line.size} Tf {MARGIN} {at} Td (".encode() + text + b") Tj ET"
    if shown(line.text) is None:
        return b"/Span<</ActualText " + _utf16(line.text) + b">>BDC\n" + drawn + b"\nEMC"
    return drawn


def _utf16(text: str) -> bytes:
    return b"<FEFF" + text.encode("utf-16-be", "replace").hex().upper().encode() + b">"


def _file(objects: Sequence[bytes]) -> bytes:
    """Join objects, the last of which is the document information, and say where each begins."""
    made = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, one in enumerate(objects, start=1):
        places.append(len(made))
        made += f"{number} 0 obj\n".encode() + one + b"\nendobj\n"
    start = len(made)
    made += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    made += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    made += (
        f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Info {len(objects)} 0 R>>\n"
        f"startxref\n{start}\n%%EOF\n"
    ).encode()
    return bytes(made)
