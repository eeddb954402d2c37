"""The pages of the manual that are tables say what the tables say."""

from pathlib import Path

import pytest

from tools import manual

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", manual.PAGES)
def test_a_page_says_what_the_tables_say(name: str) -> None:
    assert (DOCS / name).read_text() == manual.PAGES[name](), "run: make docs"
