"""The hazard log names only tests that are there, and rates as DCB0129 does (docs/hazards.md)."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
LOG = ROOT / "docs" / "hazards.md"

SEVERITIES = ("minor", "significant", "considerable", "major", "catastrophic")
# Clinical risk management, DCB0129 guidance: likelihood -> risk by rising severity.
MATRIX = {
    "very high": (3, 4, 4, 5, 5),
    "high":      (2, 3, 3, 4, 5),
    "medium":    (2, 2, 3, 3, 4),
    "low":       (1, 2, 2, 3, 4),
    "very low":  (1, 1, 2, 2, 3),
}  # fmt: skip

PARTS = ("Requirement or threat", "Cause", "Effect", "First risk", "Controls", "Residual risk",
         "Open")  # fmt: skip
RATED = re.compile(r"- (First|Residual) risk: ([a-z]+), ([a-z ]+): (\d)$", re.MULTILINE)
CONTROL = re.compile(r"^  - (.+): `([^`]+)`$", re.MULTILINE)


class Hazard(NamedTuple):
    name: str
    text: str


def hazards() -> list[Hazard]:
    log = LOG.read_text().partition("## Hazards\n")[2]
    found = re.split(r"^### (H\d\d) ", log, flags=re.MULTILINE)[1:]
    return [Hazard(*each) for each in zip(found[::2], found[1::2], strict=True)]


HAZARDS = [pytest.param(one, id=one.name) for one in hazards()]


@cache
def written_in(path: Path) -> frozenset[str]:
    """The tests that a file defines."""
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def missing(test: str) -> bool:
    path, _, name = test.partition("::")
    return not (ROOT / path).is_file() or name not in written_in(ROOT / path)


def test_a_test_that_is_not_there_is_missed() -> None:
    assert missing("tests/house/test_hazards.py::test_no_such_thing")
    assert missing("tests/house/test_no_such_file.py::test_a")
    assert not missing("tests/house/test_hazards.py::test_a_test_that_is_not_there_is_missed")


def test_the_hazards_are_numbered_and_summed_up() -> None:
    names = [one.name for one in hazards()]
    summary = re.findall(r"^\| (H\d\d) .* \| (\d) \| (\d) \|$", LOG.read_text(), re.MULTILINE)

    assert names == [f"H{number:02}" for number in range(1, len(names) + 1)]
    assert len(names) >= 25
    rated = [(one.name, *(risk for _, _, _, risk in RATED.findall(one.text))) for one in hazards()]
    assert rated == summary


@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_hazard_says_all_that_it_should(hazard: Hazard) -> None:
    said = re.findall(r"^- ([A-Z][a-z ]+):", hazard.text, re.MULTILINE)

    assert tuple(said) == PARTS


@pytest.mark.parametrize("hazard", HAZARDS)
def test_every_control_names_a_test_that_is_there(hazard: Hazard) -> None:
    controls = CONTROL.findall(hazard.text)
    lines = re.findall(r"^  - .+$", hazard.text, re.MULTILINE)

    assert [test for _, test in controls if missing(test)] == []
    assert len(controls) == len(lines) or lines == ["  - none"]


@pytest.mark.parametrize("hazard", HAZARDS)
def test_the_risk_is_that_of_the_matrix(hazard: Hazard) -> None:
    rated = RATED.findall(hazard.text)

    assert [which for which, *_ in rated] == ["First", "Residual"]
    for _, severity, likelihood, risk in rated:
        assert int(risk) == MATRIX[likelihood][SEVERITIES.index(severity)]


@pytest.mark.parametrize("hazard", HAZARDS)
def test_what_no_test_controls_is_open_and_no_smaller(hazard: Hazard) -> None:
    first, residual = RATED.findall(hazard.text)
    if not CONTROL.findall(hazard.text):
        assert first[1:] == residual[1:]
        assert "- Open: No control with a test yet" in hazard.text
