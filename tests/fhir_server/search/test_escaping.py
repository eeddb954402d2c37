import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.escaping import plain, split


@pytest.mark.standard("FHIR search escaping")
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a,b", ["a", "b"]),
        (r"a\,b", [r"a\,b"]),
        (r"a\\,b", [r"a\\", "b"]),
        (r"a\|b,c", [r"a\|b", "c"]),
        ("", [""]),
        (",", ["", ""]),
        ("a\\", ["a\\"]),
    ],
)
def test_an_escaped_separator_does_not_separate(text: str, pieces: list[str]) -> None:
    assert split(text, ",") == pieces


@pytest.mark.parametrize(
    ("text", "meant"),
    [(r"a\,b", "a,b"), (r"a\|b\$c", "a|b$c"), (r"a\\b", r"a\b"), (r"a\n", r"a\n"), ("a\\", "a\\")],
)
def test_an_escape_stands_for_the_character(text: str, meant: str) -> None:
    assert plain(text) == meant


@given(st.lists(st.text(alphabet="a,|$\\", max_size=5), min_size=1, max_size=4))
def test_what_is_escaped_comes_back(values: list[str]) -> None:
    escaped = [
        "".join("\\" + each if each in "\\,|$" else each for each in value) for value in values
    ]

    assert [plain(piece) for piece in split(",".join(escaped), ",")] == values
