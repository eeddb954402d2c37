"""Whoever reads an interaction, a service or a table finds the page of the standard it follows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CITING = ("fhir_server/rest", "dicom_bridge/dimse", "dicom_bridge/dicomweb")
"""Packages that speak a protocol somebody else has written down."""

SOURCE = re.compile(
    r"FHIR (R4 )?[A-Za-z]+|PS3\.\d+|RFC \d+|IHE [A-Z]+|SMART [A-Z]|HL7 [A-Z]|docs/[\w/-]+\.md"
)
"""The known forms of a citation."""

BELOW_THE_PROTOCOL = frozenset({"dicom_bridge/dimse/portal.py", "dicom_bridge/dimse/waking.py"})
"""Modules about the operating system alone."""


def modules() -> Iterator[Path]:
    for package in CITING:
        for path in sorted((ROOT / package).rglob("*.py")):
            known = str(path.relative_to(ROOT))
            if path.name != "__init__.py" and known not in BELOW_THE_PROTOCOL:
                yield path


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_that_speaks_a_protocol_cites_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    told = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    told += [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]

    assert any(SOURCE.search(text) for text in told)


def marks(kind: str) -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{kind}":
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        yield str(path.relative_to(ROOT)), str(argument.value)


@pytest.mark.parametrize(
    ("kind", "form", "page"),
    [
        ("requirement", re.compile(r"[RWG]\d+(?:\.\d+)?"), "docs/requirements.md"),
        ("standard", re.compile(r"\b[TF]\d+"), "docs/threats.md"),
    ],
)
def test_every_mark_names_a_row_of_the_page_that_lists_them(
    kind: str, form: re.Pattern[str], page: str
) -> None:
    rows = set(re.findall(r"^\| (\w+(?:\.\d+)?) \|", (ROOT / page).read_text(), re.MULTILINE))
    named = {
        (path, name)
        for path, told in marks(kind)
        if kind == "requirement" or told.startswith("threats")
        for name in form.findall(told) or [told]
    }

    assert named
    assert {(path, name) for path, name in named if name not in rows} == set()
