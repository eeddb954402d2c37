from typing import Any

import pytest

from fhir_server.search import string


@pytest.mark.standard("FHIR search string")
@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Smith", "smith"),
        ("Çelik", "celik"),
        ("STRAẞE", "strasse"),
        ("  van  der\tBerg ", "van der berg"),
        ("Ω", "ω"),
        ("ﬁ", "fi"),
        ("Nguyễn", "nguyen"),
    ],
)
def test_case_accents_and_space_do_not_count(text: str, folded: str) -> None:
    assert string.fold(text) == folded


@pytest.mark.standard("FHIR search string")
@pytest.mark.parametrize(
    ("element", "values"),
    [
        ("A Title", ["a title"]),
        ({"family": "Okafor", "given": ["Ada", "Bea"], "use": "old"}, ["okafor", "ada", "bea"]),
        ({"text": "Ada Okafor", "prefix": ["Dr"], "suffix": ["OBE"]}, ["ada okafor", "dr", "obe"]),
        (
            {"line": ["1 High St"], "city": "Leeds", "postalCode": "LS1", "country": "UK"},
            ["1 high st", "leeds", "ls1", "uk"],
        ),
        (5, []),
        ({"use": "home"}, []),
    ],
)  # fmt: skip
def test_each_part_of_a_name_or_address_is_a_text(element: Any, values: list[str]) -> None:
    assert list(string.values(element)) == values


@pytest.mark.parametrize("value", ["smith", "smithers", "smith z", "smith\U0001f600"])
def test_what_begins_alike_lies_between(value: str) -> None:
    low, high = string.between("smith")

    assert low.encode() <= value.encode() < high.encode()


@pytest.mark.parametrize("value", ["smit", "smiti", "jones", ""])
def test_what_begins_otherwise_lies_outside(value: str) -> None:
    low, high = string.between("smith")

    assert not low.encode() <= value.encode() < high.encode()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("Smi*", "smi%"), ("S?ith", "s_ith"), ("100%_*", "100\\%\\_%"), ("a\\b", "a\\\\b")],
)
def test_wildcards_become_a_pattern_and_nothing_else_does(text: str, pattern: str) -> None:
    assert string.pattern(text, "*", "?") == pattern
