"""A PDF in which no word is lost or outside the page, and that says where its objects are."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_bridge.reports import portable
from dicom_bridge.reports.portable import Line

pytestmark = pytest.mark.standard("ISO 32000-1")

LATIN = st.characters(codec="cp1252", exclude_categories=["Cc", "Zs"])
WORDS = st.lists(st.text(LATIN, min_size=1, max_size=120), max_size=60)
# What Adobe's Core 14 metrics say of Helvetica, in thousandths.
KNOWN = {"A": 667, "W": 944, "i": 222, " ": 278, "m": 833, "0": 556, "é": 556, "ß": 611}


def pages(pdf: bytes) -> list[str]:
    """The contents of each page."""
    pieces = pdf.split(b"/Filter/FlateDecode>>stream\n")[1:]
    read = [zlib.decompress(one.partition(b"\nendstream")[0]) for one in pieces]
    return [one.decode("cp1252") for one in read]


def drawn(page: str) -> list[str]:
    """The strings that a page shows."""
    found = re.findall(r"Td \(((?:\\.|[^\\)])*)\) Tj", page, re.DOTALL)
    return [re.sub(r"\\(.)", r"\1", one) for one in found]


@given(WORDS, st.sampled_from([8, 10, 16]), st.booleans())
def test_no_letter_is_lost_between_lines_and_pages(words: list[str], size: int, bold: bool) -> None:
    pdf = portable.written("Report", [Line(" ".join(words), size, bold)], "foot")

    shown = [line for page in pages(pdf) for line in drawn(page) if not line.startswith("foot")]

    assert "".join(shown).replace(" ", "") == "".join("".join(words).split())


@given(st.lists(st.text(LATIN, max_size=300), max_size=120))
def test_every_object_is_where_the_table_says(texts: list[str]) -> None:
    pdf = portable.written("Report", [Line(text) for text in texts], "foot")

    start = int(pdf.rpartition(b"startxref\n")[2].split()[0])
    rows = pdf[start:].split(b"\n")[2:]
    count = int(pdf[start:].split(b"\n")[1].split()[1])
    for number, row in enumerate(rows[1:count], start=1):
        assert pdf[int(row[:10]) :].startswith(f"{number} 0 obj\n".encode())
    assert all(len(row) == 19 for row in rows[:count])


def test_lines_are_broken_by_the_widths_of_the_font_that_it_names() -> None:
    pdf = portable.written("Report", [Line("W" * 400)], "foot")

    (table,) = re.findall(rb"/BaseFont/Helvetica/[^>]*/Widths\[([^\]]*)\]", pdf)
    widths = [int(one) for one in table.split()]
    for letter, width in KNOWN.items():
        assert widths[letter.encode("cp1252")[0] - 32] == width
    longest = max(len(line) for page in pages(pdf) for line in drawn(page))
    assert longest * 944 * 10 / 1000 <= portable.WIDTH - 2 * portable.MARGIN


def test_the_same_words_give_the_same_bytes() -> None:
    made = [portable.written("Report", [Line("Größe Ω")], "foot") for _ in range(2)]

    assert made[0] == made[1]
